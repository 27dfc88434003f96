"""How many bits the coder will take, counted from the integer tables without coding."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dlcodec.entropy.tables import PRECISION, Integers, TableSet

_ESCAPE_BITS = 5
_WORD_BITS = 32


class CodeLength:
    """Takes what an ``Encoder`` takes and adds up its ideal length; ``bits`` is the sum so far.

    A symbol costs ``24 - log2(count)`` bits, an escape besides 5 bits for the bit length ``b`` of its excess and the
    ``b - 1`` bits below the leading one.
    """

    def __init__(self, tables: TableSet) -> None:
        self._tables = tables
        self._costs = PRECISION - np.log2(np.concatenate(tables.counts))
        self._first = tables.start[:-1] - np.arange(len(tables))  # a table has one count less than bounds
        self.bits = 0.0

    def costs(self, symbols: Integers, index: Integers) -> npt.NDArray[np.float64]:
        """The bits of each of ``symbols`` int32, under the table that ``index`` int32 of its shape names."""
        low, high = self._tables.minimum[index], self._tables.maximum[index]
        outside = (symbols < low) | (symbols > high)
        offsets = np.where(outside, high - low + 1, symbols - low)
        costs: npt.NDArray[np.float64] = self._costs[self._first[index] + offsets]
        if outside.any():
            values, least, most = (array[outside].astype(np.int64) for array in (symbols, low, high))
            excess = np.where(values > most, 2 * (values - most) - 1, 2 * (least - values))
            costs[outside] += _ESCAPE_BITS + np.frexp(excess)[1] - 1
        return costs

    def encode(self, symbols: Integers, index: Integers) -> None:
        """Count ``symbols`` (n,) int32, each under the table that ``index`` (n,) int32 names."""
        self.bits += float(self.costs(symbols, index).sum())

    @property
    def payload_bytes(self) -> int:
        """The bytes that ``Encoder.finish`` is expected to give: whole words, a word or 0.1 % more at times."""
        return math.ceil(self.bits / _WORD_BITS) * (_WORD_BITS // 8)
