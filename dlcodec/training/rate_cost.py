"""What exactness costs in rate: the integer networks and their tables against the floating-point path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcodec.arguments import LEVEL_STEPS
from dlcodec.codecs.base import CodingStep, Integers
from dlcodec.codecs.hyperprior import HyperpriorCodec
from dlcodec.codecs.hyperprior_network import HyperpriorNetwork
from dlcodec.coding import run_steps
from dlcodec.entropy.exact import LATENT_BITS
from dlcodec.entropy.length import CodeLength
from dlcodec.training.export import SCALES


@dataclass(frozen=True, slots=True)
class RateCost:
    """Ideal bits of y for one image.

    ``floating``: float32 networks, a Gaussian of its own sigma per symbol. ``integer``: exact networks, a Gaussian of
    the sigma of its scale index. ``tables``: exact networks and the checkpoint's tables, as coded.
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
def rate_cost(codec: HyperpriorCodec, network: HyperpriorNetwork, x: Tensor, level: int) -> RateCost:
    """Measure one padded image (1, 3, H, W) in [0, 1] at an integer level; ``network`` is the codec's float source."""
    latents = codec.analyse(x, level * LEVEL_STEPS)
    exact = codec.hyper_synthesis
    z_hat = torch.from_numpy(latents.z_symbols).float() + (exact.medians / (1 << LATENT_BITS)).float()[:, None, None]
    features = network.h_s((z_hat * network.hinv[level].abs()[:, None, None])[None])
    y = torch.from_numpy(latents.y)[None]
    sigma, mu = (t.double().numpy() for t in network.predict(features, network.receive(features, y)))
    floating = _gaussian_bits(np.rint(y.numpy() - mu), sigma)
    length, integer = CodeLength(codec.models.tables), 0.0

    def code(step: CodingStep) -> Integers:
        nonlocal integer
        assert step.symbols is not None
        if step.index.max() >= codec.hyper_tables:
            length.encode(step.symbols.ravel(), step.index.ravel())
            integer += _gaussian_bits(step.symbols.astype(np.float64), SCALES[step.index - codec.hyper_tables])
        return step.symbols

    run_steps(codec.coding_steps(x.shape[2], x.shape[3], level * LEVEL_STEPS, latents), code)
    return RateCost(floating, integer, length.bits)
