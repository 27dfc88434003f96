"""Residual blocks within a frozen synthesis transform: they follow the level and fade out towards tau = 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcodec.fusion.adapters import scale_at

MOST_BLOCKS = 16
MOST_HIDDEN = 1024
_REACH = 2
"""Positions that two 3 x 3 convolutions see beside their own."""


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """Where a block acts, and how wide it is.

    It acts on what layer ``after`` of the synthesis gives, which has ``ratio`` positions a side for each of the latent;
    inside it has ``hidden`` channels. Raises ValueError for numbers that make no sense.
    """

    after: int
    ratio: int
    hidden: int

    def __post_init__(self) -> None:
        if any(type(number) is not int for number in (self.after, self.ratio, self.hidden)):
            raise ValueError("a block's place is told by whole numbers")
        if not (0 <= self.after < 1000 and 1 <= self.ratio <= 64 and 1 <= self.hidden <= MOST_HIDDEN):
            raise ValueError("a block's place makes no sense")


def read_places(config: Mapping[str, Any]) -> list[BlockPlace]:
    """The places in a config or recipe, none where it names none; raises TypeError or ValueError."""
    found = config.get("blocks", [])
    if not isinstance(found, list) or len(found) > MOST_BLOCKS:
        raise ValueError(f"blocks are no list of at most {MOST_BLOCKS}")
    return [BlockPlace(**place) for place in found]


def reach(places: Sequence[BlockPlace]) -> int:
    """By how many latents farther a pixel depends on the latent when these blocks act."""
    return math.ceil(sum(_REACH / place.ratio for place in places))


class FixedBlock(nn.Module):
    """``x + second(leaky(first(x)))``: a block at one level and one tau; (B, C, H, W) in and out."""

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        """Change ``x``."""
        change: Tensor = self.second(F.leaky_relu_(self.first(x)))
        return change.add_(x)


class ResidualBlock(nn.Module):
    """``x + rms * second(amount * leaky(first(x / rms)))`` with 3 x 3 convolutions.

    ``amount`` is ``(1 - tau^2) scale[q]``, with a row of ``scale`` for each of ``levels``; ``rms`` is the root
    mean square of each channel of ``x`` in the unchanged synthesis. A fresh block changes nothing: ``second`` is zero.
    """

    rms: Tensor

    def __init__(self, channels: int, hidden: int, levels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.second.weight)
        self.scale = nn.Parameter(torch.ones(levels, hidden))
        self.register_buffer("rms", torch.ones(channels))

    def amount(self, level: Tensor, part: Tensor) -> Tensor:
        """(B, hidden) at ``level`` (B,) in [0, 1], with ``part`` = 1 - tau^2 (B,)."""
        return scale_at(self.scale, level) * part[:, None]

    def forward(self, x: Tensor, amount: Tensor) -> Tensor:
        """Change ``x`` (B, C, H, W), each picture by its ``amount`` (B, hidden)."""
        rms = self.rms[:, None, None].to(x.dtype)
        inside = F.leaky_relu(self.first(x / rms)) * amount[:, :, None, None].to(x.dtype)
        change: Tensor = self.second(inside) * rms
        return x + change

    @property
    def bytes_per_position(self) -> int:
        """About how much memory it takes for each position, in float32."""
        hidden, channels = self.first.weight.shape[:2]
        return 4 * (hidden + 3 * channels)

    @torch.no_grad()
    def at(self, level: float, part: float) -> FixedBlock:
        """The same at one level in [0, 1] and one ``part``, as two convolutions of their own."""
        hidden, channels = self.first.weight.shape[:2]
        amount = self.amount(torch.tensor([level], device=self.rms.device), self.rms.new_tensor([part]))
        first = nn.Conv2d(channels, hidden, 3, padding=1, device="meta")
        second = nn.Conv2d(hidden, channels, 3, padding=1, bias=False, device="meta")
        assert self.first.bias is not None
        weights = (
            (first, "weight", self.first.weight / self.rms[:, None, None]),
            (first, "bias", self.first.bias.clone()),
            (second, "weight", self.second.weight * amount[0, :, None, None] * self.rms[:, None, None, None]),
        )
        for layer, name, value in weights:
            if value.ndim == 4:
                value = value.contiguous(memory_format=torch.channels_last)
            setattr(layer, name, nn.Parameter(value, requires_grad=False))
        return FixedBlock(first, second)
