"""What another network changes of a synthesis transform while it draws one picture."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def add_change(weight: Tensor, change: Tensor) -> Tensor:
    """``weight`` (in, out, k, k) plus ``change`` (in, out k k), in the weight's memory format.

    Raises RuntimeError where their sizes differ.
    """
    return (weight + change.view(weight.shape)).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class SynthesisChanges:
    """Changes of weights and additional layers.

    ``weights`` are added to those that they name, each as a matrix of the same number of elements. ``blocks`` act on
    what the layers of these numbers give, all but the last layer. A pixel then depends on latents by ``reach``
    positions farther.
    """

    weights: Mapping[str, Tensor]
    blocks: tuple[tuple[int, nn.Module], ...] = ()
    reach: int = 0

    def apply(self, layers: nn.Sequential, channels: int) -> None:
        """Change ``layers``, a synthesis transform of latents of so many channels; the blocks are copied.

        Raises AttributeError, IndexError or RuntimeError where something does not fit.
        """
        for name, change in self.weights.items():
            parameter = layers.get_parameter(name)
            parameter.data = add_change(parameter, change)
        if not self.blocks:
            return
        last = len(layers) - 1
        for after, block in reversed(sorted(self.blocks, key=lambda item: item[0])):
            if after >= last:
                raise IndexError(f"no layer follows layer {after}")
            layers.insert(after + 1, copy.deepcopy(block))
        copy.deepcopy(layers).to("meta")(torch.empty(1, channels, 2, 2, device="meta"))
