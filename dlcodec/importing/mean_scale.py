"""CompressAI's ``MeanScaleHyperprior`` of any width as a ``mean-scale`` codec of one rate level."""

from __future__ import annotations

from collections.abc import Mapping

from compressai.models import MeanScaleHyperprior
from torch import Tensor

from dlcodec.importing.conversion import Converted, Outcome, check_shape
from dlcodec.importing.hyperprior import convert_hyperprior, count_channels, load_original, rename


def convert_mean_scale(tensors: Mapping[str, Tensor]) -> Converted:
    """Convert a state dict of ``MeanScaleHyperprior(N, M)``, N and M read from its shapes; raises WeightsError."""
    state = rename(tensors)
    N, M = count_channels(state, "g_a.0.weight"), count_channels(state, "g_a.6.weight")
    # The largest layers are there in full before a network of their size is built.
    check_shape(state, "g_a.2.weight", (N, N, 5, 5))
    check_shape(state, "h_s.2.weight", (M, M * 3 // 2, 5, 5))
    original = MeanScaleHyperprior(N, M)
    config, arrays = convert_hyperprior("mean-scale", N, M, original, load_original(original, state))

    def reconstruct(x: Tensor, _: Tensor) -> Outcome:
        answer = original(x)
        return Outcome(answer["x_hat"], tuple(answer["likelihoods"].values()))

    return Converted(config, arrays, reconstruct)
