"""A forecast of the level that gives a PSNR: where the search among pictures as decoders show them begins."""

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
_BESIDE = 64
"""So far from a level, in steps, the sample is looked at again, for the slope."""
_ERROR = 1.8e-4
"""The mean squared error of samples in [0, 1] for each unit that rounding takes: a first guess."""


def forecast_level(
    image: AnalysedImage,
    psnr_of: Callable[[Tensor, Crop], float],
    coded: Callable[[int], Tensor],
    low: float,
    high: float,
    last: int,
    slope: float,
) -> tuple[int, float]:
    """The level from 0 to ``last`` whose PSNR is about ``low`` to ``high``, in dB, and by how much that rises a level.

    ``slope`` is a first guess of that. ``psnr_of`` is that of a crop of the picture that a latent gives, ``coded`` the
    latent of a level as it is coded. Three looks, each near the level that the one before says: at what rounding takes
    from latents that are ``rounded`` alone, at a sample of the picture that these give, there and beside, and at the
    whole picture of the coded latent.
    """
    codec, aim = image.codec, (low + high) / 2

    def rounded(level: int) -> tuple[Tensor, npt.NDArray[np.float64]]:
        with repeatable(codec.device):
            y_hat, lost = codec.rounded(image.transformed, level)
        rows, columns = -(-image.height // codec.latent_stride), -(-image.width // codec.latent_stride)
        return y_hat, lost[0].square().sum(0)[:rows, :columns].double().cpu().numpy() + 1e-9

    def reach(level: int, psnr: float) -> int:
        return round(min(max(level + (aim - psnr) / slope, 0), last))

    _, squares = rounded(last // 2)
    level = reach(last // 2, -10 * math.log10(_ERROR * squares.mean()))
    sample = _sample(rounded(level)[1], image.width, image.height, codec.latent_stride)

    def sampled(level: int) -> float:
        y_hat, _ = rounded(level)
        error = sum(10 ** (-psnr_of(y_hat, crop) / 10) * crop.width * crop.height for _, crop in sample)
        return -10 * math.log10(error / sum(share for share, _ in sample) / (image.width * image.height))

    here, beside = sampled(level), level + (_BESIDE if level + _BESIDE <= last else -_BESIDE)
    slope = min(max((sampled(beside) - here) / (beside - level), slope / 2), 2 * slope)
    level = reach(level, here)
    whole = psnr_of(coded(level), Crop(0, 0, image.width, image.height))
    return level if low <= whole <= high else reach(level, whole), slope


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
