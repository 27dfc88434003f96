"""CompressAI's ``MeanScaleHyperprior`` of any width as a ``mean-scale`` codec of one rate level."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.models import MeanScaleHyperprior
from compressai.models.utils import remap_old_keys
from compressai.zoo.pretrained import load_pretrained
from torch import Tensor

from dlcodec.codecs.hyperprior_network import HyperpriorParams
from dlcodec.codecs.mean_scale_network import MeanScaleNetwork
from dlcodec.entropy.exact import LATENT_BITS
from dlcodec.errors import WeightsError
from dlcodec.importing.families import Converted, check_shape, take_parameters, tensor_of
from dlcodec.training.export import (
    SCALES,
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


def _channels(tensors: Mapping[str, Tensor], name: str) -> int:
    shape = tensor_of(tensors, name).shape
    if not (len(shape) == 4 and 1 <= shape[0] <= _MOST_CHANNELS):
        raise WeightsError(f"{name} has the shape {tuple(shape)}, not 1 to {_MOST_CHANNELS} kernels")
    return shape[0]


@torch.no_grad()
def hyper_likelihoods(bottleneck: EntropyBottleneck) -> Tensor:
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


def convert_mean_scale(tensors: Mapping[str, Tensor]) -> Converted:
    """Convert a state dict of ``MeanScaleHyperprior(N, M)``, N and M read from its shapes, old names included.

    The transforms are copied as they are, float32; the hyper-synthesis is rounded to the integer grid; the tables are
    built as ours are before they are fitted, z's of the entropy bottleneck; gains are one. Raises WeightsError.
    """
    state = remap_old_keys("entropy_bottleneck", load_pretrained(dict(tensors)))
    N, M = _channels(state, "g_a.0.weight"), _channels(state, "g_a.6.weight")
    # The largest layers are there in full before a network of their size is built.
    check_shape(state, "g_a.2.weight", (N, N, 5, 5))
    check_shape(state, "h_s.2.weight", (M, M * 3 // 2, 5, 5))
    original = MeanScaleHyperprior(N, M)
    parameters = take_parameters(state, original)
    torch.nn.Module.load_state_dict(original, parameters, strict=False)  # CompressAI's own wants its buffers too
    original.eval().requires_grad_(False)
    network = MeanScaleNetwork(HyperpriorParams(N, M, levels=1)).requires_grad_(False)
    inside = {name: t for name, t in parameters.items() if name.startswith(("g_a.", "g_s.", "h_a.", "h_s."))}
    network.load_state_dict(inside, strict=False)
    medians = original.entropy_bottleneck.quantiles[:, 0, 1]
    quantised, arrays = quantise_network(network, medians, len(SCALES), torch.float32)
    likelihoods = hyper_likelihoods(original.entropy_bottleneck).numpy()
    priors = [*hyper_priors(likelihoods), *scale_priors(len(SCALES))]
    arrays |= table_arrays(tables_from(priors))
    arrays |= {f"train.{n}": t.numpy() for n, t in parameters.items() if n.startswith("entropy_bottleneck.")}
    return Converted(base_config(quantised, [None], 0.0, "distortion"), arrays, original)
