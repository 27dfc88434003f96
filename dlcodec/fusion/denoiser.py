"""The fusion network D: two equal branches of time-aware residual blocks and windowed attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcodec.tiles import run_by_tiles

_FREQUENCIES = 16
BLOCKS_HALO = 4
"""What the four convolutions of two residual blocks reach."""
_CONV_HALO = 1


@dataclass(frozen=True, slots=True)
class DenoiserParams:
    """What fixes the shapes: M latent channels, width C, units a branch, attention heads, side of a window.

    Raises ValueError for sizes that no sound checkpoint has, before anything is built from them.
    """

    M: int
    C: int
    units: int
    heads: int
    window: int

    def __post_init__(self) -> None:
        bounds = {"M": 4096, "C": 1024, "units": 16, "heads": 64, "window": 64}
        for name, most in bounds.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"{name} of the denoiser is {value!r}, not 1 to {most}")
        if self.C % self.heads:
            raise ValueError(f"{self.C} channels do not divide into {self.heads} heads")


class _ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each position: unlike group norm, blind to the rest of the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        positions = x.permute(0, 2, 3, 1)
        return F.layer_norm(positions, self.weight.shape, self.weight, self.bias, 1e-5).permute(0, 3, 1, 2)


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class ResBlock(nn.Module):
    """Two 3 x 3 convolutions; the embedding of time and level scales and shifts between them."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _ChannelNorm(channels), _conv(channels, channels)
        self.norm2, self.conv2 = _ChannelNorm(channels), _conv(channels, channels)
        self.modulate = nn.Linear(embedding, 2 * channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``x`` (B, C, h, w), ``embedding`` (B, E); the same shape as ``x``."""
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, 1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.norm2(h) * (1 + scale) + shift
        return x + self.conv2(F.silu(h))


class WindowAttention(nn.Module):
    """Self-attention inside windows on a fixed grid: its cost is linear in the number of positions."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = _ChannelNorm(channels)
        self.qkv, self.project = _conv(channels, 3 * channels, 1), _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (B, C, h, w), any h and w; positions beyond the image's edge are masked."""
        B, C, h, w = x.shape
        side = self.window
        bottom, right = -h % side, -w % side
        qkv = F.pad(self.qkv(self.norm(x)), (0, right, 0, bottom))
        rows, columns = (h + bottom) // side, (w + right) // side
        qkv = qkv.reshape(B, 3, self.heads, C // self.heads, rows, side, columns, side)
        q, k, v = qkv.permute(1, 0, 4, 6, 2, 5, 7, 3).reshape(3, B * rows * columns, self.heads, side * side, -1)
        mask = None
        if bottom or right:
            inside = F.pad(x.new_ones(h, w, dtype=torch.bool), (0, right, 0, bottom))
            inside = inside.reshape(rows, side, columns, side).permute(0, 2, 1, 3).reshape(-1, 1, 1, side * side)
            mask = inside.repeat(B, 1, 1, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = out.reshape(B, rows, columns, self.heads, side, side, C // self.heads).permute(0, 3, 6, 1, 4, 2, 5)
        out = out.reshape(B, C, h + bottom, w + right)[:, :, :h, :w]
        return x + self.project(out.contiguous(memory_format=torch.channels_last))


class Unit(nn.Module):
    """Two time-aware residual blocks and one attention block (the paper's figure 4)."""

    def __init__(self, params: DenoiserParams, embedding: int) -> None:
        super().__init__()
        self.block1, self.block2 = ResBlock(params.C, embedding), ResBlock(params.C, embedding)
        self.attention = WindowAttention(params.C, params.heads, params.window)

    def forward(self, x: Tensor, embedding: Tensor, tile: int | None = None) -> Tensor:
        """Shapes as in ResBlock; ``tile`` as in Denoiser."""

        def blocks(part: Tensor) -> Tensor:
            return self.block2(self.block1(part, embedding), embedding)

        # The windows are a fixed grid: tiles that keep to it need no neighbours.
        x = run_by_tiles(blocks, (x,), tile=tile, halo=BLOCKS_HALO)
        return run_by_tiles(self.attention, (x,), tile=tile, halo=0, align=self.attention.window)


def _merging(merge: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda h, condition: merge(torch.cat([h, condition], 1))


def _embedder(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())


def _features(scalar: Tensor) -> Tensor:
    """(B,) in [0, 1] -> (B, 16): cosines of pi k s."""
    steps = torch.arange(_FREQUENCIES, device=scalar.device, dtype=scalar.dtype)
    return (math.pi * scalar[:, None] * steps).cos()


class Denoiser(nn.Module):
    """``D(y_t, y_hat, t/T, q)``: predicts the clean transformed latent, as a change of ``y_hat``.

    ::

        y_hat -> stem -> unit -> unit -> ...           condition branch: once an image (knows the level, not the time)
                          |c1     |c2
        y_t  --> stem -> [+]unit [+]unit -> head -> + y_hat        once a step ([+]: concatenate, 1 x 1)

    Latents are standardised, (B, M, h, w). With ``tile`` each step of the diagram runs in tiles of at most that many
    positions a side (at least a window): the memory beside its input and output is a tile's, its values the same.
    """

    def __init__(self, params: DenoiserParams) -> None:
        super().__init__()
        self.params = params
        C, width = params.C, params.C
        self.level_embedding, self.time_embedding = _embedder(_FREQUENCIES, width), _embedder(2 * _FREQUENCIES, width)
        self.condition_stem, self.stem = _conv(params.M, C), _conv(params.M, C)
        self.condition_units = nn.ModuleList(Unit(params, width) for _ in range(params.units))
        self.units = nn.ModuleList(Unit(params, width) for _ in range(params.units))
        self.merge = nn.ModuleList(_conv(2 * C, C, 1) for _ in range(params.units))
        self.norm, self.head = _ChannelNorm(C), _conv(C, params.M)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def reach(self) -> int:
        """How many positions away ``y_hat`` can still matter for one run of both branches: a multiple of a window."""
        window, reach = self.params.window, _CONV_HALO
        for _ in range(self.params.units + 1):  # down one branch to some unit, and from that unit down the other
            reach = -(-reach // window) * window + BLOCKS_HALO
        return -(-(reach + _CONV_HALO) // window) * window

    def condition(self, y_hat: Tensor, level: Tensor, tile: int | None = None) -> list[Tensor]:
        """What the second branch makes of ``y_hat`` at ``level`` (B,) in [0, 1]; one (B, C, h, w) a unit."""
        embedding = self.level_embedding(_features(level).to(y_hat.dtype))
        h = run_by_tiles(self.condition_stem, (y_hat,), tile=tile, halo=_CONV_HALO)
        conditions = []
        for unit in self.condition_units:
            h = unit(h, embedding, tile)
            conditions.append(h)
        return conditions

    def forward(
        self,
        y_t: Tensor,
        y_hat: Tensor,
        conditions: list[Tensor],
        time: Tensor,
        level: Tensor,
        tile: int | None = None,
    ) -> Tensor:
        """``time`` = t/T (B,) in (0, 1]; the clean transformed latent, (B, M, h, w)."""
        embedding = self.time_embedding(torch.cat([_features(time), _features(level)], 1).to(y_t.dtype))
        h = run_by_tiles(self.stem, (y_t,), tile=tile, halo=_CONV_HALO)
        for merge, unit, condition in zip(self.merge, self.units, conditions, strict=True):
            merged = run_by_tiles(_merging(merge), (h, condition), tile=tile, halo=0)
            h = unit(merged, embedding, tile)
        return run_by_tiles(self._finish, (y_hat, h), tile=tile, halo=_CONV_HALO)

    def _finish(self, y_hat: Tensor, h: Tensor) -> Tensor:
        return y_hat + self.head(F.silu(self.norm(h)))
