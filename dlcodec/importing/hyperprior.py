"""What all hyperprior codecs share on the way from CompressAI, and on the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.models.base import CompressionModel
from compressai.models.utils import remap_old_keys
from compressai.zoo.pretrained import load_pretrained
from torch import Tensor, nn

from dlcodec.codecs import codec_class
from dlcodec.codecs.hyperprior_network import HyperpriorNetwork, HyperpriorParams
from dlcodec.entropy.exact import ACTIVATION_BITS, GAIN_BITS, LATENT_BITS
from dlcodec.errors import WeightsError
from dlcodec.importing.conversion import take_parameters, tensor_of
from dlcodec.training.export import (
    SCALES,
    Arrays,
    base_config,
    hyper_priors,
    quantise_network,
    scale_priors,
    table_arrays,
    tables_from,
)

_MOST_CHANNELS = 1024
_MOST_REACH = 2**12
_LEAST_REACH = 8


def rename(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A state dict of any version of CompressAI, of DataParallel too, under the names of today; raises WeightsError."""
    state: Mapping[str, Tensor] = load_pretrained(dict(tensors))
    for name in state:
        if name.startswith("entropy_bottleneck") and not name.startswith("entropy_bottleneck."):
            raise WeightsError(f"it has {name}, which no hyperprior codec has")
    renamed: Mapping[str, Tensor] = remap_old_keys("entropy_bottleneck", state)
    return renamed


def count_channels(tensors: Mapping[str, Tensor], name: str) -> int:
    """The output channels of a convolution; raises WeightsError."""
    shape = tensor_of(tensors, name).shape
    if not (len(shape) == 4 and 1 <= shape[0] <= _MOST_CHANNELS):
        raise WeightsError(f"{name} has the shape {tuple(shape)}, not 1 to {_MOST_CHANNELS} kernels")
    return shape[0]


@torch.no_grad()
def _hyper_likelihoods(bottleneck: EntropyBottleneck) -> Tensor:
    """The probabilities of z's symbols, (N, 2 r + 1) float64, at -r..r around the medians as the codec rounds them.

    ``r`` covers the quantiles of CompressAI's tail mass. Raises WeightsError when those make no sense.
    """
    quantiles = bottleneck.quantiles[:, 0].double()
    medians = quantiles[:, 1:2]
    widest = (quantiles - medians).abs().max().item()
    if not (widest <= _MOST_REACH and (quantiles.diff() >= 0).all()):
        raise WeightsError(f"the quantiles of its entropy bottleneck are out of order or wider than {_MOST_REACH}")
    reach = max(_LEAST_REACH, math.ceil(widest))
    fixed = (medians * 2**LATENT_BITS).round() / 2**LATENT_BITS
    grid = torch.arange(-reach, reach + 1, dtype=torch.float64) + fixed
    likelihoods, _, _ = bottleneck.double()._likelihood(grid[:, None])
    bottleneck.float()
    return likelihoods[:, 0]


def load_original(original: CompressionModel, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give CompressAI's module the parameters of a renamed state dict, which are returned; raises WeightsError."""
    parameters = take_parameters(state, original)
    torch.nn.Module.load_state_dict(original, parameters, strict=False)  # CompressAI's own wants its buffers too
    original.eval().requires_grad_(False)
    return parameters


def convert_hyperprior(
    family: str, N: int, M: int, original: CompressionModel, parameters: Mapping[str, Tensor]
) -> tuple[dict[str, object], Arrays]:
    """The config and arrays of a loaded original, as one rate level of a family.

    The transforms are copied as they are, float32; what decides a bit is rounded to the integer grid; the tables are
    built as ours are before they are fitted, z's of the entropy bottleneck; gains are one. Raises WeightsError.
    """
    network: HyperpriorNetwork = codec_class(family).network(HyperpriorParams(N, M, levels=1)).requires_grad_(False)
    bottleneck = original.entropy_bottleneck
    inside = {name: t for name, t in parameters.items() if not name.startswith("entropy_bottleneck.")}
    _, left = network.load_state_dict(inside, strict=False)
    if left:
        raise WeightsError(f"it has {left[0]}, which {family} lacks")
    quantised, arrays = quantise_network(network, bottleneck.quantiles[:, 0, 1], len(SCALES), torch.float32)
    priors = [*hyper_priors(_hyper_likelihoods(bottleneck).numpy()), *scale_priors(len(SCALES))]
    arrays |= table_arrays(tables_from(priors))
    arrays |= {f"train.{n}": t.numpy() for n, t in parameters.items() if n.startswith("entropy_bottleneck.")}
    return base_config(quantised, [None], 0.0, "distortion"), arrays


class _Gain(nn.Module):
    """One factor a channel."""

    gain: Tensor

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.register_buffer("gain", gain.float()[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) float32."""
        return x * self.gain


def restore_hyperprior(
    original: CompressionModel, family: str, config: Mapping[str, Any], arrays: Arrays, level: int
) -> CompressionModel:
    """Give CompressAI's network the weights of a base checkpoint; it is returned, ready to compress.

    The gains of the whole level ``level`` stand around its transforms. What a checkpoint lacks of the prior of z
    (``train.*``) stays as it was: of no matter for the picture and the time, but for the rate.
    """
    tensors = {name.removeprefix("train."): torch.from_numpy(array).float() for name, array in arrays.items()}
    state = dict(original.state_dict())
    state |= {name: tensor for name, tensor in tensors.items() if name in state}
    for group, plans in codec_class(family).network.exact_groups.items():
        for plan, shift in zip(plans, config[f"{group}_shifts"], strict=True):
            for kind, bits in (("weight", shift), ("bias", shift + ACTIVATION_BITS)):
                state[f"{plan.name}.{kind}"] = tensors[f"exact.{plan.name}.{kind}"] / 2.0**bits
    original.load_state_dict(state)
    original.g_a = nn.Sequential(original.g_a, _Gain(tensors["gain"][level]))
    original.h_a = nn.Sequential(original.h_a, _Gain(tensors["hgain"][level]))
    original.h_s = nn.Sequential(_Gain(tensors["exact.hinv"][level] / 2.0**GAIN_BITS), original.h_s)
    original.g_s = nn.Sequential(_Gain(tensors["inv_gain"][level]), original.g_s)
    original.update(force=True)
    return original.eval()
