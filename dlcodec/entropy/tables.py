"""Integer probability tables, as they lie in a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dlcodec.errors import WeightsError

Integers = npt.NDArray[np.int32]
"""Symbols, indices of tables, latents in fixed point."""
PRECISION = 24
TOTAL = 1 << PRECISION
LARGEST = 2**29
"""The magnitude of the largest symbol, of a table or escaped."""
_MOST_TABLES = 2**15 - 1


@dataclass(frozen=True)
class TableSet:
    """Cumulative counts of several tables, end to end.

    Table ``i`` is ``cdf[start[i]:start[i + 1]]``: strictly increasing from 0 to 2^24. Its symbols are
    ``minimum[i], minimum[i] + 1, ...``, none beyond +-2^29; the last entry is the escape for everything else.

    ``cdf`` int32 (sum of lengths,), ``start`` int32 (T + 1,), ``minimum`` int32 (T,).
    Raises WeightsError when they break a rule.
    """

    cdf: Integers
    start: Integers
    minimum: Integers

    def __post_init__(self) -> None:
        if any(array.dtype != np.int32 for array in (self.cdf, self.start, self.minimum)):
            raise WeightsError("the entropy tables are not of 32-bit integers")
        start, cdf = self.start.astype(np.int64), self.cdf.astype(np.int64)
        if start.ndim != 1 or cdf.ndim != 1 or self.minimum.shape != (len(start) - 1,) or len(start) < 2:
            raise WeightsError("the entropy tables have the wrong shapes")
        if start[0] != 0 or start[-1] != len(cdf) or (np.diff(start) < 3).any():
            raise WeightsError("the entropy tables do not tile their array")
        if len(self.minimum) > _MOST_TABLES:
            raise WeightsError(f"there are more than {_MOST_TABLES} entropy tables")
        rises = np.diff(cdf) > 0
        rises[start[1:-1] - 1] = True
        if not rises.all() or (cdf[start[:-1]] != 0).any() or (cdf[start[1:] - 1] != TOTAL).any():
            raise WeightsError(f"an entropy table does not rise strictly from 0 to {TOTAL}")
        lowest = self.minimum.astype(np.int64)
        if lowest.min() < -LARGEST or (lowest + np.diff(start) - 3).max() > LARGEST:
            raise WeightsError("an entropy table has symbols beyond 2^29")

    @cached_property
    def counts(self) -> tuple[Integers, ...]:
        """Per table, how many of the 2^24 parts each symbol has; the escape comes last."""
        pairs = zip(self.start[:-1], self.start[1:], strict=True)
        return tuple(np.diff(self.cdf[first:last]) for first, last in pairs)

    @cached_property
    def maximum(self) -> Integers:
        """Per table, its largest symbol that is not an escape."""
        largest: Integers = self.minimum + (np.diff(self.start) - 3).astype(np.int32)
        return largest

    def __len__(self) -> int:
        return len(self.minimum)


def table_from_probabilities(probabilities: npt.NDArray[np.float64]) -> Integers:
    """The cumulative counts nearest to a probability vector whose last entry is the escape; every count is at least 1.

    Used at export only; decoders read the integers.
    """
    shares = np.maximum(probabilities, 0.0)
    spare = TOTAL - len(shares)
    counts = np.floor(shares / shares.sum() * spare).astype(np.int64) + 1
    counts[int(counts.argmax())] += TOTAL - int(counts.sum())
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def table_set(tables: list[tuple[int, Integers]]) -> TableSet:
    """Join tables given as (smallest symbol, cumulative counts)."""
    lengths = [len(cdf) for _, cdf in tables]
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    minimum = np.array([low for low, _ in tables], dtype=np.int32)
    return TableSet(np.concatenate([cdf for _, cdf in tables]), start, minimum)
