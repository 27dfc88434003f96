"""The mean-scale hyperprior codec: its latent is coded in one step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlcodec.codecs.base import CodingStep, CodingSteps, Integers
from dlcodec.codecs.hyperprior import HyperpriorCodec, latent_of, round_by_channels
from dlcodec.codecs.mean_scale_network import MeanScaleNetwork


class MeanScaleCodec(HyperpriorCodec):
    """Minnen et al. 2018 with gain units; implements ``codecs.base.Codec``.

    ::

        features = sigma, mu -> scale index of sigma
        y*gain - mu -> round -> symbols            a table per scale index
    """

    network = MeanScaleNetwork
    analysis_halo = 32
    """g_a reaches 30 pixels to the left and 15 to the right."""
    hyper_analysis_halo = 8
    """h_a reaches 7 latents."""
    hyper_synthesis_reach = 2
    synthesis_halo = late_halo = 2
    usual_bytes_per_latent = 560 * HyperpriorCodec.latent_stride**2

    def predict(self, features: Integers) -> tuple[Integers, Integers]:
        """The table and the mean of each symbol."""
        sigma, mu = np.split(features, 2)
        index = self.scales.index(sigma)
        index += self.hyper_tables
        return index, mu

    def code_latent(self, features: Integers, y: npt.NDArray[np.float32] | None) -> CodingSteps:
        """One step, in the shape of the latent."""
        index, mu = self.predict(features)
        symbols = None if y is None else round_by_channels(y, mu)
        return latent_of((yield CodingStep(index, symbols)), mu)
