"""What the imports of all hyperprior codecs share: channel counts, the prior of z, the integer grid, the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.models.base import CompressionModel
from compressai.models.utils import remap_old_keys
from compressai.zoo.pretrained import load_pretrained
from torch import Tensor

from dlcodec.codecs import codec_class
from dlcodec.codecs.hyperprior_network import HyperpriorNetwork, HyperpriorParams
from dlcodec.entropy.exact import LATENT_BITS
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
