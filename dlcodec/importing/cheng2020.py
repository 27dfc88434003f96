"""CompressAI's ``Cheng2020Attention`` of any width as a ``cheng2020`` codec of one rate level."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from compressai.models import Cheng2020Attention
from torch import Tensor

from dlcodec.importing.conversion import Converted, Outcome, check_shape
from dlcodec.importing.hyperprior import convert_hyperprior, count_channels, load_original, rename


def convert_cheng2020(tensors: Mapping[str, Tensor]) -> Converted:
    """Convert a state dict of ``Cheng2020Attention(N)``, N read from its shapes; raises WeightsError."""
    state = rename(tensors)
    N = count_channels(state, "g_a.0.conv1.weight")
    # The largest layers are there in full before a network of their size is built.
    check_shape(state, "g_a.1.conv1.weight", (N, N, 3, 3))
    check_shape(state, "context_prediction.weight", (2 * N, N, 5, 5))
    original = Cheng2020Attention(N)
    config, arrays = convert_hyperprior("cheng2020", N, N, original, load_original(original, state))

    def reconstruct(x: Tensor, y_hat: Tensor) -> Outcome:
        # CompressAI's forward rounds without the means; its decompress, as ours, around them, one position after the
        # other. Given a latent decoded so, all its positions are predicted at once.
        y = original.g_a(x)
        z_hat, z_likelihoods = original.entropy_bottleneck(original.h_a(y))
        context = torch.cat([original.h_s(z_hat), original.context_prediction(y_hat)], 1)
        scales, means = original.entropy_parameters(context).chunk(2, 1)
        own, y_likelihoods = original.gaussian_conditional(y, scales, means=means)
        return Outcome(original.g_s(own), (y_likelihoods, z_likelihoods))

    return Converted(config, arrays, reconstruct)
