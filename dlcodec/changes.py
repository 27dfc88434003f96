"""What another network changes of a synthesis transform while it draws one picture."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call


def add_change(weight: Tensor, change: Tensor) -> Tensor:
    """``weight`` (in, out, k, k) plus ``change`` (in, out k k), in the weight's memory format.

    Raises RuntimeError where their sizes differ.
    """
    return (weight + change.view(weight.shape)).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class PlacedBlock:
    """``block`` acts on what layer ``after`` gives, which has ``ratio`` positions a side for each of the latent."""

    after: int
    ratio: int
    block: nn.Module


@dataclass(frozen=True, slots=True)
class SynthesisChanges:
    """Changes of weights, and further layers; false where there is neither.

    ``weights`` are added to those that they name, each as a matrix of the same number of elements. A pixel depends on
    latents by ``reach`` positions farther than without the ``blocks``, which take about ``bytes_per_latent`` of memory
    for each position of the latent.
    """

    weights: Mapping[str, Tensor]
    blocks: tuple[PlacedBlock, ...] = ()
    reach: int = 0
    bytes_per_latent: int = 0

    def __bool__(self) -> bool:
        return bool(self.weights or self.blocks)

    def apply(self, layers: nn.Sequential, channels: int) -> nn.Sequential:
        """A copy of ``layers``, a synthesis transform of latents of so many channels, with these changes.

        Raises AttributeError, IndexError or RuntimeError where something does not fit.
        """
        layers = copy.deepcopy(layers)
        for name, change in self.weights.items():
            parameter = layers.get_parameter(name)
            parameter.data = add_change(parameter, change)
        if not self.blocks:
            return layers
        for placed in self.blocks:
            if not 0 <= placed.after < len(layers) - 1:
                raise IndexError(f"no layer follows layer {placed.after}")
        changed = nn.Sequential()
        x = torch.empty(1, channels, 1, 1, device="meta")
        for number, layer in enumerate(layers):
            x = _outline(layer, x)
            changed.append(layer)
            for placed in self.blocks:
                if placed.after == number:
                    if x.shape[2] != placed.ratio:
                        raise RuntimeError(f"layer {number} has {x.shape[2]} positions for one, not {placed.ratio}")
                    x = _outline(placed.block, x)
                    changed.append(copy.deepcopy(placed.block))  # whoever runs it in another type changes it
        return changed


UNCHANGED = SynthesisChanges({})


def _outline(layer: nn.Module, x: Tensor) -> Tensor:
    """The shape of what a layer gives, as a tensor without memory."""
    tensors = {name: tensor.to("meta") for name, tensor in (*layer.named_parameters(), *layer.named_buffers())}
    out: Tensor = functional_call(layer, tensors, (x,))
    return out
