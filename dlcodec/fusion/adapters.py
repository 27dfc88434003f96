"""Low-rank changes of a frozen synthesis transform's weights, which fade out towards tau = 1."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's own name may hold no dot


class SynthesisAdapters(nn.Module):
    """``W + (1 - tau^2) down @ up`` for each adapted weight W, seen as a matrix (first dimension, all others).

    ``shapes`` names the weights. A fresh adapter changes nothing: ``up`` is zero.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for name, shape in shapes.items():
            self.down[_key(name)] = nn.Parameter(torch.randn(shape[0], rank) * shape[0] ** -0.5)
            self.up[_key(name)] = nn.Parameter(torch.zeros(rank, shape[1:].numel()))

    def forward(self) -> dict[str, Tensor]:
        """The whole change (tau = 0) of each weight by its name, as a matrix."""
        return {key.replace("/", "."): self.down[key] @ self.up[key] for key in self.down}
