"""A range decoder written from the algorithm's description, on Python integers: the truth that the coder is held to.

32-bit words, 64-bit state, 24-bit precision (Martin 1979; as in the ``constriction`` library's documentation).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_MASK = 2**64 - 1


class ReferenceDecoder:
    """Decodes one symbol at a time from cumulative counts out of 2^24."""

    def __init__(self, words: list[int]) -> None:
        self._words = iter(words)
        self._low, self._range = 0, _MASK
        self._point = next(self._words, 0) << 32 | next(self._words, 0)

    def take(self, cdf: Sequence[int]) -> int:
        """The index of the interval of ``cdf`` in which the next quantile falls."""
        scale = self._range >> 24
        quantile = ((self._point - self._low) & _MASK) // scale
        assert quantile < 2**24
        index = bisect_right(cdf, quantile) - 1
        self._low = (self._low + scale * cdf[index]) & _MASK
        self._range = scale * (cdf[index + 1] - cdf[index])
        if self._range < 2**32:
            self._low = self._low << 32 & _MASK
            self._range = self._range << 32
            self._point = (self._point << 32 & _MASK) | next(self._words, 0)
        return index


def words_of(data: bytes) -> list[int]:
    """Little-endian 32-bit words."""
    words: npt.NDArray[np.uint32] = np.frombuffer(data, "<u4")
    return [int(word) for word in words]


def decode(cdfs: list[list[int]], minimum: list[int], index: list[int], data: bytes) -> list[int]:
    """Decode one step as ``docs/format.md`` says: by table, then raster order, then the escapes' excess."""
    decoder = ReferenceDecoder(words_of(data))
    order = sorted(range(len(index)), key=lambda position: (index[position], position))
    values = {}
    for position in order:
        values[position] = decoder.take(cdfs[index[position]])
    for position in order:
        table = index[position]
        escape = len(cdfs[table]) - 2
        if values[position] < escape:
            values[position] += minimum[table]
            continue
        bits = decoder.take(range(0, 2**24 + 1, 2**19))
        excess, left = 1, bits - 1
        pieces = ([left % 16] if left % 16 else []) + [16] * (left // 16)
        for piece in pieces:
            excess = excess << piece | decoder.take(range(0, 2**24 + 1, 2 ** (24 - piece)))
        most = minimum[table] + escape - 1
        values[position] = minimum[table] - excess // 2 if excess % 2 == 0 else most + (excess + 1) // 2
    return [values[position] for position in range(len(index))]
