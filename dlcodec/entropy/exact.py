"""Convolutional networks over integers: the same bits on every device, thread count and kernel.

Weights and activations are integers held in float64. Every partial sum stays below 2^53, so a sum has no rounding
and its order cannot matter; each layer ends in a rounding to the nearest integer, which absorbs what an FFT or
Winograd kernel may add. Nothing here calls ``exp``, ``pow`` or ``log``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from dlcodec.arguments import LEVEL_STEPS
from dlcodec.entropy.winograd import Winograd
from dlcodec.errors import WeightsError
from dlcodec.tiles import run_by_tiles

ACTIVATION_BITS = 10
"""Fractional bits of every activation, of mu and of the scale thresholds."""

LATENT_BITS = 8
"""Fractional bits of the hyper-latent's medians."""

GAIN_BITS = 12
"""Fractional bits of the hyper-latent's inverse gains."""

ACTIVATION_LIMIT = 2.0**23
"""No activation is larger in magnitude."""

SLOPE_BITS = 16
SLOPE = 655
"""LeakyReLU's slope for negative values, with SLOPE_BITS."""

_HYPER_LIMIT = 2.0**22
_EXACT = 2.0**53
_MOST_SHIFT = 52
_TILE = 24
_MOST_LOOKUP = 2**20

Upsampling = Literal["none", "transposed", "shuffled"]
"""How a layer doubles the sides: not, as a transposed convolution, or by giving each output four channels."""


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """A layer of a floating-point network that runs in integers once exported.

    ``name`` is that of its weight and bias in the network's state dict, without their last part; ``activate`` says
    that LeakyReLU follows.
    """

    name: str
    upsampling: Upsampling
    activate: bool


@dataclass(frozen=True, slots=True)
class ExactLayer:
    """One convolution. ``weight`` and ``bias`` hold integers in float64.

    ``weight`` is scaled by 2^shift and ``bias`` by 2^(shift + ACTIVATION_BITS). A transposed convolution has stride 2;
    ``activate`` ends the layer with LeakyReLU of slope 655/65536.
    Raises WeightsError when a sum or a product could pass 2^53 for any input within the activations' limit.
    """

    weight: Tensor
    bias: Tensor
    shift: int
    upsampling: Upsampling
    activate: bool
    _fast: Winograd | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if type(self.shift) is not int or not 0 <= self.shift <= _MOST_SHIFT:
            raise WeightsError(f"the shift of an integer layer is no integer from 0 to {_MOST_SHIFT}")
        out = (0, 2, 3) if self.upsampling == "transposed" else (1, 2, 3)
        largest = (self.weight.abs().sum(out) * ACTIVATION_LIMIT + self.bias.abs()).max().item()
        leaked = (largest * 2.0**-self.shift + 1) * SLOPE if self.activate else 0.0
        if not (largest < _EXACT and leaked < _EXACT):
            raise WeightsError("an integer layer could exceed 2^53 and lose exactness")
        fast = None if self.upsampling == "transposed" else Winograd.of(self.weight, ACTIVATION_LIMIT, _EXACT)
        object.__setattr__(self, "_fast", fast)

    def to(self, device: torch.device) -> ExactLayer:
        """The same layer on a device."""
        if self.weight.device == device:
            return self  # it has been checked, and its filters transformed
        return replace(self, weight=self.weight.to(device), bias=self.bias.to(device))

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) integers in float64, to the same kind."""
        padding = self.weight.shape[-1] // 2
        if self.upsampling == "transposed":
            total = F.conv_transpose2d(x, self.weight, stride=2, padding=padding, output_padding=1)
        elif self._fast:
            total = self._fast(x)
        else:
            total = F.conv2d(x, self.weight, padding=padding)
        y = total.round_().add_(self.bias[None, :, None, None]).mul_(2.0**-self.shift).round_()
        if self.activate:
            leak = (y * SLOPE).mul_(2.0**-SLOPE_BITS).round_()
            y = torch.where(y < 0, leak, y)
        y = y.clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        return F.pixel_shuffle(y, 2) if self.upsampling == "shuffled" else y


def load_layers(
    plans: Sequence[LayerPlan], shifts: Sequence[int], tensors: Mapping[str, Tensor]
) -> tuple[ExactLayer, ...]:
    """The layers of ``plans`` from ``tensors``, integers in float64 under ``exact.<name>.weight`` and ``.bias``.

    Raises KeyError where one is missing, ValueError where there are more or fewer shifts than layers, WeightsError.
    """
    return tuple(
        ExactLayer(
            tensors[f"exact.{plan.name}.weight"],
            tensors[f"exact.{plan.name}.bias"],
            shift,
            plan.upsampling,
            plan.activate,
        )
        for plan, shift in zip(plans, shifts, strict=True)
    )


@dataclass(frozen=True, slots=True)
class ScaleLadder:
    """What separates the S scale indices: ``thresholds`` (S - 1,) int32 with ACTIVATION_BITS, rising."""

    thresholds: npt.NDArray[np.int32]
    _lookup: npt.NDArray[np.int32] | None = field(init=False, repr=False, compare=False)
    """The index of every scale from one below the first threshold to the last; None where they are far apart."""

    def __post_init__(self) -> None:
        if self.thresholds.ndim != 1 or not (np.diff(self.thresholds.astype(np.int64)) > 0).all():
            raise WeightsError("the scale thresholds do not rise")
        lookup = None
        if len(self.thresholds):
            first, last = int(self.thresholds[0]) - 1, int(self.thresholds[-1])
            if last - first < _MOST_LOOKUP and abs(first) < _MOST_LOOKUP:
                scales = np.arange(first, last + 1)
                lookup = np.searchsorted(self.thresholds, scales, side="right").astype(np.int32)
        object.__setattr__(self, "_lookup", lookup)

    def __len__(self) -> int:
        return len(self.thresholds) + 1

    def index(self, sigma: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The scale indices of ``sigma`` (C, ...) int32 with ACTIVATION_BITS."""
        index = np.empty_like(sigma)
        for scales, found in zip(sigma, index, strict=True):  # one channel at a time: it stays in the cache
            if self._lookup is None:
                found[...] = np.searchsorted(self.thresholds, scales, side="right")
            else:
                first = self.thresholds[0] - 1
                np.clip(scales, first, self.thresholds[-1], out=found)
                found -= first
                found[...] = self._lookup[found]
        return index


@dataclass(frozen=True, slots=True)
class HyperSynthesis:
    """The exact path from decoded hyper-latent symbols through the layers of h_s.

    ``medians`` (N,) with LATENT_BITS and ``inverse_gains`` (L, N) with GAIN_BITS are integers in float64. A position
    of the output sees hyper-latents at most ``reach`` away from its own.
    Raises WeightsError when a product could pass 2^53.
    """

    layers: tuple[ExactLayer, ...]
    medians: Tensor
    inverse_gains: Tensor
    reach: int

    def __post_init__(self) -> None:
        if not self.inverse_gains.abs().max().item() * LEVEL_STEPS * _HYPER_LIMIT < _EXACT:
            raise WeightsError("an inverse gain could exceed 2^53 and lose exactness")
        if not self.medians.abs().max().item() <= _HYPER_LIMIT:
            raise WeightsError("a median lies beyond the limit of the hyper-latents")

    def level_gain(self, level: int) -> Tensor:
        """The inverse gain of a level in steps of 1/256: (N,) integers with GAIN_BITS + 8 fractional bits."""
        low, weight = divmod(level, LEVEL_STEPS)
        high = min(low + 1, len(self.inverse_gains) - 1)
        return self.inverse_gains[low] * (LEVEL_STEPS - weight) + self.inverse_gains[high] * weight

    @torch.inference_mode()
    def __call__(self, symbols: npt.NDArray[np.int32], level: int) -> npt.NDArray[np.int32]:
        """What the last layer gives, (C, 4h, 4w) int32 with ACTIVATION_BITS, of ``symbols`` (N, h, w)."""
        z = torch.from_numpy(symbols.astype(np.float64)).to(self.medians.device) * 2.0**LATENT_BITS
        z = (z + self.medians[:, None, None]).clamp(-_HYPER_LIMIT, _HYPER_LIMIT)
        z = z * self.level_gain(level)[:, None, None]
        x = (z * 2.0 ** -(LATENT_BITS + GAIN_BITS + 8 - ACTIVATION_BITS)).round()[None]
        x = x.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        # Integers are exact, so tiles change no bit.
        return run_by_tiles(self._run, (x,), tile=_TILE, halo=self.reach, ratio=4)[0].cpu().numpy()

    def _run(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x.to(torch.int32)
