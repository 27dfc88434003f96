"""Convolutional networks over integers: the same bits on every device, thread count and kernel.

Weights and activations are integers held in float64. Every partial sum stays below 2^53, so a sum has no rounding
and its order cannot matter; each layer ends in a rounding to the nearest integer, which absorbs what an FFT or
Winograd kernel may add. Nothing here calls ``exp``, ``pow`` or ``log``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from dlcodec.errors import WeightsError
from dlcodec.tiles import run_by_tiles

ACTIVATION_BITS = 10
"""Fractional bits of every activation, of mu and of the scale thresholds."""

LATENT_BITS = 8
"""Fractional bits of the hyper-latent's medians."""

GAIN_BITS = 12
"""Fractional bits of the hyper-latent's inverse gains."""

LEVEL_STEPS = 256
"""A rate level is coded in steps of 1/256."""

_ACTIVATION_LIMIT = 2.0**23
_HYPER_LIMIT = 2.0**22
_EXACT = 2.0**53
_MOST_SHIFT = 52
_SLOPE_BITS = 16
_SLOPE = 655
_TILE = 24
_HALO = 2


def _check_integers(*tensors: Tensor) -> None:
    if not all((tensor == tensor.round()).all() and tensor.isfinite().all() for tensor in tensors):
        raise WeightsError("the integer networks have weights that are no integers")


@dataclass(frozen=True, slots=True)
class ExactLayer:
    """One convolution. ``weight`` and ``bias`` hold integers in float64.

    ``weight`` is scaled by 2^shift and ``bias`` by 2^(shift + ACTIVATION_BITS). ``upsample`` makes it a transposed
    convolution of stride 2; ``activate`` ends it with LeakyReLU of slope 655/65536.
    """

    weight: Tensor
    bias: Tensor
    shift: int
    upsample: bool
    activate: bool

    def __post_init__(self) -> None:
        channels = self.weight.shape[1 if self.upsample else 0] if self.weight.ndim == 4 else 0
        if 0 in self.weight.shape or self.bias.shape != (channels,):
            raise WeightsError("an integer layer has the wrong shape")
        if type(self.shift) is not int or not 0 <= self.shift <= _MOST_SHIFT:
            raise WeightsError(f"an integer layer has a shift of {str(self.shift)[:20]}, not 0 to {_MOST_SHIFT}")
        _check_integers(self.weight, self.bias)
        out = (0, 2, 3) if self.upsample else (1, 2, 3)
        largest = (self.weight.abs().sum(out) * _ACTIVATION_LIMIT + self.bias.abs()).max().item()
        if not largest < _EXACT:
            raise WeightsError("an integer layer could exceed 2^53 and lose exactness")

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) integers in float64, to the same kind."""
        padding = self.weight.shape[-1] // 2
        if self.upsample:
            total = F.conv_transpose2d(x, self.weight, stride=2, padding=padding, output_padding=1)
        else:
            total = F.conv2d(x, self.weight, padding=padding)
        total = total.round() + self.bias[None, :, None, None]
        y = (total * 2.0**-self.shift).round()
        if self.activate:
            leak = ((y * _SLOPE) * 2.0**-_SLOPE_BITS).round()
            y = torch.where(y < 0, leak, y)
        return y.clamp(-_ACTIVATION_LIMIT, _ACTIVATION_LIMIT)


@dataclass(frozen=True, slots=True)
class HyperSynthesis:
    """The exact path from decoded hyper-latent symbols to ``(mu, scale index)``.

    ``medians`` (N,) with LATENT_BITS and ``inverse_gains`` (L, N) with GAIN_BITS are integers in float64;
    ``thresholds`` (S - 1,) with ACTIVATION_BITS separate the S scale indices.
    """

    layers: tuple[ExactLayer, ...]
    medians: Tensor
    inverse_gains: Tensor
    thresholds: Tensor

    def __post_init__(self) -> None:
        if self.medians.ndim != 1 or self.inverse_gains.ndim != 2 or self.thresholds.ndim != 1:
            raise WeightsError("the integer hyper-synthesis has tensors of the wrong shape")
        if not self.inverse_gains.numel() or self.inverse_gains.shape[1:] != self.medians.shape:
            raise WeightsError("medians and inverse gains are not those of the same hyper-latent")
        _check_integers(self.medians, self.inverse_gains, self.thresholds)
        if not self.inverse_gains.abs().max().item() * LEVEL_STEPS * _HYPER_LIMIT < _EXACT:
            raise WeightsError("an inverse gain could exceed 2^53 and lose exactness")
        if not (self.thresholds.diff() > 0).all():
            raise WeightsError("the scale thresholds do not rise")

    def level_gain(self, level: int) -> Tensor:
        """The inverse gain of a level in steps of 1/256: (N,) integers with GAIN_BITS + 8 fractional bits."""
        low, weight = divmod(level, LEVEL_STEPS)
        high = min(low + 1, len(self.inverse_gains) - 1)
        return self.inverse_gains[low] * (LEVEL_STEPS - weight) + self.inverse_gains[high] * weight

    @torch.inference_mode()
    def __call__(
        self, symbols: npt.NDArray[np.int32], level: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """``mu`` with ACTIVATION_BITS and the scale index, each (M, 4h, 4w) int32, of ``symbols`` (N, h, w)."""
        z = torch.from_numpy(symbols.astype(np.float64)).to(self.medians.device) * 2.0**LATENT_BITS
        z = (z + self.medians[:, None, None]).clamp(-_HYPER_LIMIT, _HYPER_LIMIT)
        z = z * self.level_gain(level)[:, None, None]
        x = (z * 2.0 ** -(LATENT_BITS + GAIN_BITS + 8 - ACTIVATION_BITS)).round()[None]
        x = x.clamp(-_ACTIVATION_LIMIT, _ACTIVATION_LIMIT)
        # A position sees at most 2 hyper-latents around it. Integers are exact, so tiles change no bit.
        mu, index = run_by_tiles(self._predict, (x,), tile=_TILE, halo=_HALO, ratio=4)[0].chunk(2)
        return mu.cpu().numpy(), index.cpu().numpy()

    def _predict(self, x: Tensor) -> Tensor:
        """``mu`` and the scale index over each other, (1, 2M, 4h, 4w) int32."""
        for layer in self.layers:
            x = layer(x)
        sigma, mu = x.chunk(2, 1)
        index = torch.bucketize(sigma.contiguous(), self.thresholds, right=True, out_int32=True)
        return torch.cat([mu.to(torch.int32), index], 1)
