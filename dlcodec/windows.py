"""Windows of pictures that are worth a look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlcodec.picture import RGB

SIDE = 160  # pixels: details show, and a few windows fit beside each other
Window = tuple[slice, slice]
"""Rows and columns."""


def most_different(reference: RGB, others: Sequence[RGB], side: int = SIDE) -> Window:
    """The window of at most ``side`` pixels a side where (H, W, 3) pictures differ most in mean square.

    The squares are of ``others`` less ``reference``, summed over ``others``; all have one size.
    """
    error = np.zeros(reference.shape[:2], np.int64)
    for other in others:
        for channel in range(3):
            error += np.square(other[..., channel].astype(np.int32) - reference[..., channel])
    sums = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = (min(side, length) for length in error.shape)
    totals = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(totals.argmax()), totals.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)
