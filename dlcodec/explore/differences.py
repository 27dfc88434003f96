"""Where two pictures differ: maps of the change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from dlcodec.picture import RGB

Map = npt.NDArray[np.uint8]
_LEAST_TOP = 8
_TOP_PERCENTILE = 99.5
_MOST_MAP_PIXELS = 2**20


def change(a: RGB, b: RGB) -> Map:
    """(H, W) uint8: the largest change of a channel at each pixel, 0 to 255."""
    distance: Map = (np.maximum(a, b) - np.minimum(a, b)).max(axis=2)
    return distance


def choose_top(changes: Sequence[Map]) -> int:
    """The change that every map shows in its last colour; one scale for all, so that maps can be compared."""
    return max([_LEAST_TOP, *(math.ceil(np.percentile(each, _TOP_PERCENTILE)) for each in changes)])


def draw_map(each: Map, top: int) -> Image.Image:
    """A change as a grey picture, white from ``top`` up, averaged over squares down to at most 2^20 pixels."""
    grey = Image.fromarray(np.rint(np.minimum(each, top) * np.float32(255 / top)).astype(np.uint8))
    factor = math.ceil(math.sqrt(each.size / _MOST_MAP_PIXELS))
    return grey.reduce(factor) if factor > 1 else grey
