"""A transform in bfloat16: half the time where a processor has it, hardly a change of the picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def subpixel(layer: nn.ConvTranspose2d) -> nn.Sequential:
    """A transposed convolution of kernel 5 and stride 2 as a 3 x 3 convolution and a pixel shuffle (Shi et al. 2016).

    It computes the same sums in another order. With few output channels it is more than twice as fast, since the four
    phases of the output fill the lanes of a vector together.
    """
    inputs, outputs = layer.weight.shape[:2]
    weight = layer.weight.new_zeros(outputs, 2, 2, inputs, 3, 3)
    by_output = layer.weight.transpose(0, 1)
    for row in (0, 1):
        for column in (0, 1):
            # Output 2i + row takes tap k = row + 2 - 2d of input i + d.
            taps = by_output[:, :, row::2, column::2].flip(2, 3)
            weight[:, row, column, :, row : row + taps.shape[2], column : column + taps.shape[3]] = taps
    convolution = nn.Conv2d(inputs, 4 * outputs, 3, padding=1, device="meta")
    convolution.weight = nn.Parameter(weight.flatten(0, 2).contiguous(memory_format=torch.channels_last), False)
    assert layer.bias is not None
    convolution.bias = nn.Parameter(layer.bias.repeat_interleave(4), False)
    return nn.Sequential(convolution, nn.PixelShuffle(2))


class HalvedTransform(nn.Module):
    """All of ``layers`` but the last in bfloat16, the last in float32: its output has to be finer than 8 bits.

    ``layers`` themselves are changed.
    """

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        *body, last = layers
        self.body = nn.Sequential(*body).bfloat16()
        self.last = subpixel(last) if isinstance(last, nn.ConvTranspose2d) else last

    def forward(self, x: Tensor) -> Tensor:
        """What ``layers`` give for ``x``, both float32."""
        y: Tensor = self.last(self.body(x.bfloat16()).float())
        return y
