"""A forecast of the level that gives a PSNR, without coding any: where the search among real pictures begins."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from dlcodec.arguments import Crop
from dlcodec.painting import repeatable
from dlcodec.pipeline import AnalysedImage

_SIDE = 8
_CROPS = 2
"""A sample is so many crops of so many latents a side."""
_ERROR = 1.8e-4
"""The mean squared error of samples in [0, 1] for each unit that rounding takes: a first guess."""


def forecast_level(
    image: AnalysedImage, psnr_of: Callable[[Tensor, Crop], float], aim: float, last: int, slope: float
) -> int:
    """The level from 0 to ``last`` whose PSNR is about ``aim``, in dB; ``slope`` is about what it rises by a level.

    ``psnr_of`` is that of a crop of the picture that a latent gives. Three looks at latents that are ``rounded`` alone,
    each near the level that the one before says: at what rounding takes from them, at a sample of the picture, and at
    the whole of it.
    """
    codec = image.codec

    def rounded(level: int) -> tuple[Tensor, npt.NDArray[np.float64]]:
        with repeatable(codec.device):
            y_hat, lost = codec.rounded(image.transformed, level)
        rows, columns = -(-image.height // codec.latent_stride), -(-image.width // codec.latent_stride)
        return y_hat, lost[0].square().sum(0)[:rows, :columns].double().cpu().numpy() + 1e-9

    def reach(level: int, psnr: float) -> int:
        return round(min(max(level + (aim - psnr) / slope, 0), last))

    _, squares = rounded(last // 2)
    level = reach(last // 2, -10 * math.log10(_ERROR * squares.mean()))
    y_hat, squares = rounded(level)
    error = covered = 0.0
    for share, crop in _sample(squares, image.width, image.height, codec.latent_stride):
        error += 10 ** (-psnr_of(y_hat, crop) / 10) * crop.width * crop.height
        covered += share
    level = reach(level, -10 * math.log10(error / covered / (image.width * image.height)))
    return reach(level, psnr_of(rounded(level)[0], Crop(0, 0, image.width, image.height)))


def _sample(squares: npt.NDArray[Any], width: int, height: int, stride: int) -> list[tuple[float, Crop]]:
    """Crops of a picture that stand for parts of equal error, and the share that each has of ``squares`` (h, w).

    ``squares`` are what rounding took from each of its latents, of ``stride`` pixels a side.
    """
    tops, lefts = (range(0, length, _SIDE) for length in squares.shape)
    shares = np.add.reduceat(np.add.reduceat(squares, tops, 0), lefts, 1).ravel() / squares.sum()
    order = shares.argsort(kind="stable")[::-1]
    reached = shares[order].cumsum().searchsorted((np.arange(_CROPS) + 0.5) / _CROPS)
    sample = []
    for chosen in order[np.unique(reached)].tolist():
        top, left = tops[chosen // len(lefts)] * stride, lefts[chosen % len(lefts)] * stride
        side = _SIDE * stride
        crop = Crop(left, top, min(side, width - left), min(side, height - top))
        sample.append((float(shares[chosen]), crop))
    return sample
