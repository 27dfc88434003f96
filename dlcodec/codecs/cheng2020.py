"""The codec of Cheng et al. 2020: an autoregressive context model, decoded wave by wave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dlcodec.codecs.base import CodingStep, CodingSteps, Integers
from dlcodec.codecs.cheng2020_network import Cheng2020Network
from dlcodec.codecs.hyperprior import HyperpriorCodec, latent_of, round_to_symbols
from dlcodec.entropy.context import ContextModel, waves


class Cheng2020Codec(HyperpriorCodec):
    """Cheng et al. 2020 with attention and gain units; implements ``codecs.base.Codec``.

    ::

        for each wave:  features, latent so far -> exact context model -> sigma, mu -> scale index of sigma
                        y*gain - mu -> round -> symbols            a table per scale index
                                          └> + mu -> latent so far
    """

    network = Cheng2020Network
    analysis_halo = 128
    """g_a reaches 117 pixels to the left and 102 to the right."""
    hyper_analysis_halo = 8
    """h_a reaches 7 latents."""
    hyper_synthesis_reach = 4
    synthesis_halo = 11
    """g_s reaches 10.25 latents beyond each edge of a pixel's own."""
    synthesis_cut, cut_ratio = 5, 4
    """The first half of the layers takes 15 % of the operations."""
    late_halo = 2
    usual_bytes_per_latent = 680 * HyperpriorCodec.latent_stride**2

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], device: torch.device):
        """Build from a checkpoint's config and arrays; raises WeightsError where they do not fit."""
        super().__init__(config, tensors, device)
        masked, *others = self.exact_layers["context"]
        self.context = ContextModel(masked, others)

    def code_latent(self, features: Integers, y: npt.NDArray[np.float32] | None) -> CodingSteps:
        """A step a wave: of each position, from the top row down, all channels."""
        area = self.context.start(features)
        wanted = None if y is None else y.reshape(len(y), -1)
        for wave in waves(*features.shape[1:]):
            sigma, mu = area.predict(wave)
            index = self.scales.index(sigma[None])[0]
            index += self.hyper_tables
            symbols = None if wanted is None else round_to_symbols(wanted[:, wave].T, mu)
            area.settle(wave, latent_of((yield CodingStep(index, symbols)), mu))
        return area.latent
