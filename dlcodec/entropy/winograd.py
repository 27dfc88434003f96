"""3 x 3 convolutions of integers by Winograd's minimal filtering: 16 products for four outputs in the place of 36.

F(2x2, 3x3) of Lavin and Gray 2015 (arXiv:1509.09308), with the filter transform doubled on each axis so that it stays
whole. Everything is an integer held in float64 below 2^53, so the sums are those of the direct convolution, bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_FILTER = ((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2))
_ROWS = 32
"""Of the output at once: what they take stays in the cache."""
_INPUT_GROWTH = 4
"""An input of the product is a sum of two values on each axis."""


def _input_rows(d: Sequence[Tensor]) -> tuple[tuple[Tensor, Tensor, int], ...]:
    """B^T d: of each of the four rows its two terms, and the sign of the second."""
    return (d[0], d[2], -1), (d[1], d[2], 1), (d[2], d[1], -1), (d[1], d[3], -1)


def _output_rows(m: Tensor) -> tuple[Tensor, Tensor]:
    """A^T m: both rows, of four."""
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]


@dataclass(frozen=True, slots=True)
class Winograd:
    """A convolution of stride 1 and padding 1; ``filters`` (16, C', C) are its weights, transformed and times 4."""

    filters: Tensor

    @classmethod
    def of(cls, weight: Tensor, largest: float, exact: float) -> Winograd | None:
        """For ``weight`` (C', C, 3, 3), integers in float64; None where the result is not certain to be exact.

        It is certain where no partial sum can reach ``exact`` with inputs of magnitude at most ``largest``.
        """
        if weight.shape[2:] != (3, 3):
            return None
        transform = torch.tensor(_FILTER, dtype=weight.dtype, device=weight.device)
        filters = torch.einsum("ai,ocij,bj->aboc", transform, weight, transform)
        sums = filters.abs().sum(3) * (_INPUT_GROWTH * largest)
        reach = torch.tensor(((1, 1, 1, 0), (0, 1, 1, 1)), dtype=weight.dtype, device=weight.device)
        if not torch.einsum("ra,abo,sb->rso", reach, sums, reach).max().item() < exact:
            return None
        return cls(filters.flatten(0, 1))

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) integers in float64 to (B, C', H, W) of the same kind."""
        B, _, H, W = x.shape
        x = F.pad(x.transpose(0, 1), (1, 1 + W % 2, 1, 1 + H % 2))
        y = x.new_empty(self.filters.shape[1], B, H + H % 2, W + W % 2)
        for top in range(0, H, _ROWS):
            bottom = min(top + _ROWS, y.shape[2])
            self._fill(y[:, :, top:bottom], x[:, :, top : bottom + 2])
        return y[:, :, :H, :W].transpose(0, 1)

    def _fill(self, y: Tensor, x: Tensor) -> None:
        """Write rows of the output, (C', B, 2h, 2w), given all that they see of the input, (C, B, 2h + 2, 2w + 2)."""
        (C, B), h, w = x.shape[:2], y.shape[2] // 2, y.shape[3] // 2
        parts = x.new_empty(4, 4, C, B, h, w)
        for row, (a, b, sign) in zip(parts, _input_rows([x[:, :, i : i + 2 * h : 2] for i in range(4)]), strict=True):
            tall = torch.add(a, b, alpha=sign)
            columns = _input_rows([tall[..., j : j + 2 * w : 2] for j in range(4)])
            for part, (c, d, sign_) in zip(row, columns, strict=True):
                torch.add(c, d, alpha=sign_, out=part)
        products = torch.bmm(self.filters, parts.view(16, C, B * h * w)).view(4, 4, -1, B, h, w)
        for i, row in enumerate(_output_rows(products)):
            for j, part in enumerate(_output_rows(row)):
                torch.mul(part, 0.25, out=y[:, :, i::2, j::2])
