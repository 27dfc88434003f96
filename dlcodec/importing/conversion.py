"""What an import makes of a foreign state dict, and the checks that every family needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dlcodec.errors import WeightsError
from dlcodec.training.export import Arrays


@dataclass(frozen=True, slots=True)
class Outcome:
    """What CompressAI makes of a picture: ``x_hat`` (1, 3, H, W) and the likelihoods of each latent's elements."""

    x_hat: Tensor
    likelihoods: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Converted:
    """A foreign network as ours: ``config`` and ``arrays`` of a base checkpoint.

    ``reconstruct`` asks CompressAI's own module with the same weights what becomes of a picture (1, 3, H, W) in [0, 1];
    it may use the latent (1, M, h, w) float32 that we decoded where CompressAI predicts from what came before.
    """

    config: Mapping[str, Any]
    arrays: Arrays
    reconstruct: Callable[[Tensor, Tensor], Outcome]


def tensor_of(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """A tensor by its name; raises WeightsError where it is missing."""
    if name not in tensors:
        raise WeightsError(f"it lacks {name}")
    return tensors[name]


def check_shape(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> None:
    """Raise WeightsError unless a tensor is there and has this shape."""
    if (found := tuple(tensor_of(tensors, name).shape)) != shape:
        raise WeightsError(f"{name} has the shape {found}, not {shape}")


def take_parameters(tensors: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The parameters of ``network`` out of a state dict, float32; what else it holds must be buffers of ``network``.

    Raises WeightsError when one is missing, left over, of another shape, or not finite.
    """
    known = network.state_dict().keys()
    for name in tensors:
        if name not in known:
            raise WeightsError(f"it has {ascii(name)[:80]}, which {type(network).__name__} lacks")
    taken = {}
    for name, parameter in network.named_parameters():
        check_shape(tensors, name, tuple(parameter.shape))
        tensor = tensors[name]
        if not (tensor.is_floating_point() and tensor.float().isfinite().all()):
            raise WeightsError(f"{name} is not made of finite floating-point numbers")
        taken[name] = tensor.float().contiguous()
    return taken
