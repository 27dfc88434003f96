"""Low-rank changes of a frozen synthesis transform's weights: they follow the level and fade out towards tau = 1."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's own name may hold no dot


def scale_at(table: Tensor, level: Tensor) -> Tensor:
    """The scales (B, rank) at real-valued ``level`` (B,) in [0, 1], linear between the rows of ``table``."""
    last = table.shape[0] - 1
    position = level * last
    low = position.floor().long().clamp(0, max(0, last - 1))
    return torch.lerp(table[low], table[(low + 1).clamp_max(last)], (position - low)[:, None].to(table.dtype))


class SynthesisAdapters(nn.Module):
    """``W + (1 - tau^2) down @ diag(scale[q]) @ up`` for each adapted weight W, a matrix (first dimension, all others).

    ``shapes`` names the weights, ``levels`` is the number of rows of ``scale``, between which it is linear in the
    level. A fresh adapter changes nothing: ``up`` is zero, every scale one.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], rank: int, levels: int) -> None:
        super().__init__()
        self.down, self.scale, self.up = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for name, shape in shapes.items():
            self.down[_key(name)] = nn.Parameter(torch.randn(shape[0], rank) * shape[0] ** -0.5)
            self.scale[_key(name)] = nn.Parameter(torch.ones(levels, rank))
            self.up[_key(name)] = nn.Parameter(torch.zeros(rank, shape[1:].numel()))

    def widen(self, tensors: dict[str, Tensor]) -> None:
        """Give factors of a lower rank, in a checkpoint's ``tensors``, the rank of these: the new part does nothing."""
        for kind in ("down", "scale", "up"):
            for name, own in getattr(self, kind).items():
                old = tensors.get(key := f"adapters.{kind}.{name}")
                if old is not None and old.shape != own.shape:
                    wide = own.detach().cpu().clone()
                    wide[: old.shape[0], : old.shape[1]] = old
                    tensors[key] = wide

    def forward(self, level: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """At tau = 0 and ``level`` (B,), the factors of each weight's change by its name.

        The first is ``down`` with its columns scaled, (B, rows, rank), the second ``up``.
        """
        return {
            key.replace("/", "."): (self.down[key] * scale_at(self.scale[key], level)[:, None], self.up[key])
            for key in self.down
        }
