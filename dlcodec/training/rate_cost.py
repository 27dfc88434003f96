"""What exactness costs in rate: the integer hyper-synthesis and its tables against the floating-point path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcodec.codecs.mean_scale import MeanScaleCodec
from dlcodec.codecs.mean_scale_network import MeanScaleNetwork
from dlcodec.entropy.exact import LATENT_BITS, LEVEL_STEPS
from dlcodec.training.export import SCALES


@dataclass(frozen=True, slots=True)
class RateCost:
    """Ideal bits of y for one image.

    ``floating``: float32 h_s, a Gaussian of its own sigma per symbol. ``integer``: exact h_s, a Gaussian of the
    sigma of its scale index. ``tables``: exact h_s and the checkpoint's tables, as coded.
    """

    floating: float
    integer: float
    tables: float


def _gaussian_bits(distance: npt.NDArray[np.float64], sigma: npt.NDArray[np.float64]) -> float:
    normal = torch.special.ndtr
    value, scale = torch.from_numpy(np.abs(distance)), torch.from_numpy(np.maximum(sigma, SCALES[0]))
    likelihood = normal((0.5 - value) / scale) - normal((-0.5 - value) / scale)
    return float(-likelihood.clamp_min(1e-9).log2().sum())


@torch.inference_mode()
def rate_cost(codec: MeanScaleCodec, network: MeanScaleNetwork, x: Tensor, level: int) -> RateCost:
    """Measure one padded image (1, 3, H, W) in [0, 1] at an integer level; ``network`` is the codec's float source."""
    latents = codec.analyse(x, level * LEVEL_STEPS)
    exact = codec.hyper_synthesis
    z_hat = torch.from_numpy(latents.z_symbols).float() + (exact.medians / (1 << LATENT_BITS)).float()[:, None, None]
    sigma, mu = (
        t[0].double().numpy() for t in network.h_s((z_hat * network.hinv[level].abs()[:, None, None])[None]).chunk(2, 1)
    )
    floating = _gaussian_bits(np.rint(latents.y - mu), sigma)
    tables = codec.models.tables
    driver = codec.coding_steps(x.shape[2], x.shape[3], level * LEVEL_STEPS, latents)
    step = next(driver)
    assert step.symbols is not None
    step = driver.send(step.symbols)
    symbols = step.symbols
    assert symbols is not None
    scale = step.index - codec.hyper_tables
    integer = _gaussian_bits(symbols.astype(np.float64), SCALES[scale])
    low, high = tables.minimum[step.index], tables.maximum[step.index]
    offset = np.where((symbols < low) | (symbols > high), high - low + 1, symbols - low)
    start = tables.start[step.index] + offset
    coded = float(-np.log2((tables.cdf[start + 1] - tables.cdf[start]) / 2.0**24).sum())
    return RateCost(floating, integer, coded)
