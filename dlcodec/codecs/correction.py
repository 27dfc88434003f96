"""Correct a latent while encoding: what the analysis of the decoded picture lacks is given back where that pays.

Let ``d`` be ``y`` less what ``g_a`` makes of the decoded picture, in steps of the quantiser. Were ``g_a`` and ``g_s``
each other's inverse, ``d`` would be what rounding took from each symbol. They are not: neighbouring symbols share what
they say, and ``d`` knows how much of a loss the others have made up for. On photographs ``-2 ERROR_WEIGHT d`` is about
the gradient of the squared error, for one synthesis and one analysis (docs/effort.md). Where ``d`` is far from what
rounding took, as in drawn text at high rates, it says nothing of the error, and all is left as it is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlcodec.codecs.base import Integers
from dlcodec.entropy.length import CodeLength

ERROR_WEIGHT = 11.0
"""In bits: what a squared error of one step of the quantiser costs at a level's lambda, measured at 10.6 to 12.8.

Were rounding all that is lost, and the rate that of high rates, the best step would make it 6 / ln 2."""
OVERSHOOT = 1.15
"""Symbols move as if ``d`` were so many times as large: many share an error, and each moves a whole step or none."""
TRUST = 0.25
"""What rounding must have taken from the symbols that move, in steps and in the mean of a block."""
BLOCK = 8
"""In latents."""
_AT_ONCE = 2**15
"""Symbols at a time: float64 is large, and a cache is small."""


def correct(
    symbols: Integers,
    index: Integers,
    offset: npt.NDArray[np.float32],
    lost: npt.NDArray[np.float32],
    length: CodeLength,
) -> None:
    """Move each of ``symbols`` by one to the other side of ``offset`` where rate and error together fall by that.

    ``symbols`` are ``offset``, ``y`` less its means, rounded; ``lost`` is ``d`` above, ``index`` has the table of each
    symbol, whose bits ``length`` knows. All are (M, h, w).
    """
    moves = np.empty(symbols.shape, np.int8)
    agreed, moved = np.zeros((2, *symbols.shape[1:]))
    channels = max(1, _AT_ONCE // agreed.size)
    for first in range(0, len(symbols), channels):
        part = slice(first, first + channels)
        values, move = symbols[part], moves[part]
        move[...] = _cheapest(values, index[part], 2 * ERROR_WEIGHT * OVERSHOOT * lost[part], length)
        support = move * (offset[part] - values)
        agreed += support.sum(0)
        moved += np.abs(move).sum(0)
        move[support <= 0] = 0
    moves *= _of_blocks(agreed) > TRUST * _of_blocks(moved)
    symbols += moves


def _cheapest(
    values: Integers, tables: Integers, gain: npt.NDArray[np.float32], length: CodeLength
) -> npt.NDArray[np.int8]:
    """Which of -1, 0 and 1 makes bits and error smallest; ``gain`` is what a step up takes from the error."""
    bits = length.costs(values, tables)
    moves = np.zeros(values.shape, np.int8)
    near = np.nonzero(bits + np.abs(gain) > ERROR_WEIGHT)  # the others would have to cost less than nothing
    here, table, gain, least, best = values[near], tables[near], gain[near], bits[near], moves[near]
    for move in (-1, 1):
        total = length.costs(here + np.int32(move), table) + ERROR_WEIGHT - move * gain
        best[total < least] = move
        least = np.minimum(total, least)
    moves[near] = best
    return moves


def _of_blocks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sum of (h, w) over the block of each position."""
    for axis, length in enumerate(values.shape):
        sums = np.add.reduceat(values, range(0, length, BLOCK), axis)
        values = sums.repeat(BLOCK, axis).take(range(length), axis)
    return values
