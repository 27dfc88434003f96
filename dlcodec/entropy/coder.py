"""The range coder over integer tables, with exact escapes; the only place that knows constriction.

The coder is constriction's range coder (32-bit words, 64-bit state, 24-bit precision). A step's symbols are coded
grouped by table, in ascending table order and raster order within a table. Symbols outside a table's support are
coded as the escape; their excess follows after the step's last symbol, in the same order, as an Elias-gamma code:
the bit length under a uniform model of 32, then the bits below the leading one, at most 16 at a time, high part first.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from dlcodec.entropy.tables import LARGEST, Integers, TableSet
from dlcodec.errors import LatentMismatchError, WeightsError


@cache
def _uniform(size: int) -> Any:
    return constriction.stream.model.Uniform(size)


class Models:
    """constriction's models of a table set, built when first used."""

    def __init__(self, tables: TableSet) -> None:
        self.tables = tables
        self._built: dict[int, Any] = {}

    def __getitem__(self, index: int) -> Any:
        if index not in self._built:
            # The library gives every symbol one part and shares out the rest in proportion. Counts less one
            # sum to just that rest, so its scale is exactly 1 and its integers are exactly ours.
            counts = self.tables.counts[index].astype(np.float64) - 1
            self._built[index] = constriction.stream.model.Categorical(counts, perfect=False)
        return self._built[index]


def _groups(index: Integers) -> tuple[npt.NDArray[np.intp], Iterator[tuple[int, slice]]]:
    """The coding order of the positions, and each used table with its run in that order."""
    order = np.argsort(index.astype(np.int16), kind="stable")
    counts = np.bincount(index)
    ends = counts.cumsum()
    return order, ((t, slice(int(ends[t] - counts[t]), int(ends[t]))) for t in np.flatnonzero(counts).tolist())


def _out_of_range(symbols: Integers) -> bool:
    return bool(symbols.size and max(int(symbols.max()), -int(symbols.min())) > LARGEST)


def _pieces(bits: int) -> list[int]:
    """How ``bits`` are cut into pieces of at most 16, high part first."""
    return [bits % 16] * (bits % 16 > 0) + [16] * (bits // 16)


class Encoder:
    """Codes integer arrays under a table set; ``finish`` gives the bytes."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: Integers, index: Integers) -> None:
        """Code ``symbols`` (n,), each under the table that ``index`` (n,) names."""
        if _out_of_range(symbols):
            raise WeightsError("the weights give a latent that is too large to be coded")
        tables = self._models.tables
        order, groups = _groups(index)
        excesses: list[int] = []
        for table, run in groups:
            values = symbols[order[run]]
            low, high = int(tables.minimum[table]), int(tables.maximum[table])
            outside = (values < low) | (values > high)
            self.encode_run(np.where(outside, high - low + 1, values - low).astype(np.int32), table)
            excesses += (2 * (v - high) - 1 if v > high else 2 * (low - v) for v in values[outside].tolist())
        for excess in excesses:
            self.encode_excess(excess)

    def encode_run(self, offsets: Integers, table: int) -> None:
        """Code symbols of one table, counted from its smallest; the escape is one more than its largest."""
        self._coder.encode(offsets, self._models[table])

    def encode_excess(self, excess: int) -> None:
        """Code by how much an escaped symbol lies outside its table: 1, 3, 5, ... above it, 2, 4, 6, ... below."""
        bits = excess.bit_length()
        self._coder.encode(bits, _uniform(32))
        left = bits - 1
        for piece in _pieces(left):
            left -= piece
            self._coder.encode(excess >> left & (1 << piece) - 1, _uniform(1 << piece))

    @property
    def least_bytes(self) -> int:
        """What ``finish`` gives at the least, whatever is still to come: the words that are settled."""
        settled, _ = self._coder.pos()
        return 4 * int(settled)

    def finish(self) -> bytes:
        """The compressed bytes, whole 32-bit words in little-endian order."""
        words: npt.NDArray[np.uint32] = self._coder.get_compressed()
        return words.astype("<u4").tobytes()


_ESCAPES = 2**16
"""After so many escapes a decoder looks whether the payload has ended."""


class Decoder:
    """The inverse of ``Encoder``, in the same sequence of calls.

    What is decoded is encoded again beside, and must give the payload word for word: the last words of a range coder
    have bits that change no symbol, and what lies beyond the end reads as zeros.
    Its methods raise LatentMismatchError when the bytes cannot come from an encoder with these tables.
    """

    def __init__(self, models: Models, data: bytes) -> None:
        if len(data) % 4:
            raise LatentMismatchError("the payload is not a whole number of 32-bit words")
        self._models = models
        self._data = data
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
        self._again = Encoder(models)

    def _take(self, model: Any, count: int) -> Integers:
        try:
            taken: Integers = self._coder.decode(model, count)
        except BaseException as error:
            # Damaged input surfaces as AssertionError or as a PanicException, which is no Exception.
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            raise LatentMismatchError("the payload does not decode with this model") from error
        return taken

    def decode(self, index: Integers) -> Integers:
        """The symbols (n,) int32 coded under ``index`` (n,)."""
        tables = self._models.tables
        order, groups = _groups(index)
        symbols = np.empty(len(index), dtype=np.int32)
        escapes: list[tuple[Integers, int]] = []
        for table, run in groups:
            low, high = int(tables.minimum[table]), int(tables.maximum[table])
            places, offsets = order[run], self._take(self._models[table], run.stop - run.start)
            self._again.encode_run(offsets, table)
            symbols[places] = offsets + low
            if (beyond := offsets > high - low).any():
                escapes.append((places[beyond], table))
        for places, table in escapes:
            low, high = int(tables.minimum[table]), int(tables.maximum[table])
            for count, place in enumerate(places):
                excess = self._decode_excess()
                self._again.encode_excess(excess)
                symbols[place] = low - excess // 2 if excess % 2 == 0 else high + (excess + 1) // 2
                if count % _ESCAPES == 0 and self._again.least_bytes > len(self._data):
                    raise LatentMismatchError("the payload ends before the last latent")
        if _out_of_range(symbols):
            raise LatentMismatchError("the payload holds a latent that no encoder writes")
        if self._again.least_bytes > len(self._data):
            raise LatentMismatchError("the payload ends before the last latent")
        return symbols

    def _decode_excess(self) -> int:
        bits = int(self._take(_uniform(32), 1)[0])
        if bits == 0:
            raise LatentMismatchError("the payload holds an escape of no length")
        excess = 1
        for piece in _pieces(bits - 1):
            excess = excess << piece | int(self._take(_uniform(1 << piece), 1)[0])
        if excess > 2 * LARGEST + 2**20:
            raise LatentMismatchError("the payload holds a latent that no encoder writes")
        return excess

    def finish(self) -> None:
        """Check that the payload is what an encoder writes for what was decoded, to its last bit."""
        if self._again.finish() != self._data:
            raise LatentMismatchError("the payload is not the one that an encoder writes for its latents")
