"""Layers of learned transform coding: GDN, strided convolutions, a masked one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PEDESTAL = (2.0**-18) ** 2
_BETA_MIN = 1e-6
_POSITIONS = 2**12
"""What GDN takes at a time on a CPU: its values stay in the cache from the first operation to the last."""


class _LowerBound(torch.autograd.Function):
    """max(x, bound) whose gradient still pulls a value that lies below the bound back up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        keep = (x >= ctx.bound) | (grad < 0)
        return grad * keep, None


def _non_negative(raw: Tensor, minimum: float) -> Tensor:
    bounded: Tensor = _LowerBound.apply(raw, (minimum + _PEDESTAL) ** 0.5)  # type: ignore[no-untyped-call]
    return bounded**2 - _PEDESTAL


class GDN(nn.Module):
    """Generalised divisive normalisation, or its inverse (Ballé et al. 2016, arXiv:1511.06281).

    ``y[i] = x[i] / sqrt(beta[i] + sum_j gamma[i, j] x[j]^2)``; the inverse multiplies by the root.
    Parameters are stored in CompressAI's square-root form, under its names.

    Shapes: (B, channels, H, W) float in, the same out.
    """

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.full((channels,), (1.0 + _PEDESTAL) ** 0.5))
        gamma = torch.full((channels, channels), _PEDESTAL**0.5)
        self.gamma = nn.Parameter(gamma.fill_diagonal_((0.1 + _PEDESTAL) ** 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` over its channels; in inference mode ``x`` itself is overwritten and returned."""
        beta = _non_negative(self.beta, _BETA_MIN)
        gamma = _non_negative(self.gamma, 0.0)[:, :, None, None]
        if not torch.is_inference_mode_enabled():
            norm = F.conv2d(x * x, gamma, beta)
            return x * (norm.sqrt() if self.inverse else norm.rsqrt())
        rows = max(1, _POSITIONS // (x.shape[0] * x.shape[3])) if x.device.type == "cpu" else x.shape[2]
        for row in range(0, x.shape[2], rows):
            part = x[:, :, row : row + rows]
            norm = F.conv2d(part * part, gamma, beta)
            part.mul_(norm.sqrt_() if self.inverse else norm.rsqrt_())
        return x


def conv(in_channels: int, out_channels: int, *, kernel: int = 5, stride: int = 2) -> nn.Conv2d:
    """A convolution that divides the resolution by ``stride``."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)


def deconv(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles the resolution."""
    return nn.ConvTranspose2d(in_channels, out_channels, 5, stride=2, padding=2, output_padding=1)


class MaskedConv(nn.Conv2d):
    """A convolution that sees only what comes before its centre in raster order."""

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2)
        mask = torch.ones(kernel * kernel)
        mask[kernel * kernel // 2 :] = 0
        self.register_buffer("mask", mask.view(kernel, kernel), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)
