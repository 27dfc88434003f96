"""The networks of the mean-scale hyperprior with gain units, and nothing of files, devices or coding."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dlcodec.codecs.hyperprior_network import ExactGroups, HyperpriorNetwork, HyperpriorParams
from dlcodec.codecs.layers import GDN, conv, deconv
from dlcodec.entropy.exact import LayerPlan


class MeanScaleNetwork(HyperpriorNetwork):
    """Minnen et al. 2018 (arXiv:1809.02736), CompressAI's ``MeanScaleHyperprior(N, M)`` key for key."""

    family = "mean-scale"
    channels = (128, 192)
    exact_groups: ClassVar[ExactGroups] = {
        "h_s": (
            LayerPlan("h_s.0", "transposed", activate=True),
            LayerPlan("h_s.2", "transposed", activate=True),
            LayerPlan("h_s.4", "none", activate=False),
        )
    }

    @staticmethod
    def build_transforms(params: HyperpriorParams) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
        """``g_a``, ``g_s`` and ``h_a``."""
        N, M = params.N, params.M
        g_a = nn.Sequential(conv(3, N), GDN(N), conv(N, N), GDN(N), conv(N, N), GDN(N), conv(N, M))
        g_s = nn.Sequential(
            deconv(M, N),
            GDN(N, inverse=True),
            deconv(N, N),
            GDN(N, inverse=True),
            deconv(N, N),
            GDN(N, inverse=True),
            deconv(N, 3),
        )
        h_a = nn.Sequential(conv(M, N, kernel=3, stride=1), nn.LeakyReLU(), conv(N, N), nn.LeakyReLU(), conv(N, N))
        return g_a, g_s, h_a

    def build_coding(self, params: HyperpriorParams) -> None:
        """Set ``h_s``: what it gives is the prediction itself."""
        N, M = params.N, params.M
        self.h_s = nn.Sequential(
            deconv(N, M),
            nn.LeakyReLU(),
            deconv(M, M * 3 // 2),
            nn.LeakyReLU(),
            conv(M * 3 // 2, M * 2, kernel=3, stride=1),
        )

    def predict(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``sigma`` and ``mu``; no other position of ``y`` plays a part."""
        sigma, mu = features.chunk(2, 1)
        return sigma, mu

    def receive(self, features: Tensor, y: Tensor) -> Tensor:
        """``y`` rounded around its means, all at once."""
        _, mu = features.detach().chunk(2, 1)
        return (y.detach() - mu).round() + mu
