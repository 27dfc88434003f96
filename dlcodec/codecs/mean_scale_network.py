"""The networks of the mean-scale hyperprior with gain units, and nothing of files, devices or coding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dlcodec.codecs.layers import GDN, conv, deconv


@dataclass(frozen=True, slots=True)
class MeanScaleParams:
    """What fixes the shapes: N channels inside the transforms and in z, M channels in y, L rate levels."""

    N: int
    M: int
    levels: int


class MeanScaleTransforms(nn.Module):
    """The transforms that run in floating point: analysis, synthesis and hyper-analysis.

    ::

        x --g_a--> y --* gain--> y' --h_a--> z --* hgain--> z'     (encoder)
        x_hat <--g_s-- y_hat <--* inv_gain-- y_hat'                (decoder)

    Minnen et al. 2018 (arXiv:1809.02736), CompressAI's ``MeanScaleHyperprior(N, M)`` key for key,
    with the gain units of Cui et al. 2021 (arXiv:2003.02012), one row per rate level.
    """

    def __init__(self, params: MeanScaleParams) -> None:
        super().__init__()
        N, M = params.N, params.M
        self.params = params
        self.g_a = nn.Sequential(conv(3, N), GDN(N), conv(N, N), GDN(N), conv(N, N), GDN(N), conv(N, M))
        self.g_s = nn.Sequential(
            deconv(M, N),
            GDN(N, inverse=True),
            deconv(N, N),
            GDN(N, inverse=True),
            deconv(N, N),
            GDN(N, inverse=True),
            deconv(N, 3),
        )
        self.h_a = nn.Sequential(conv(M, N, kernel=3, stride=1), nn.LeakyReLU(), conv(N, N), nn.LeakyReLU(), conv(N, N))
        self.gain = nn.Parameter(torch.ones(params.levels, M))
        self.inv_gain = nn.Parameter(torch.ones(params.levels, M))
        self.hgain = nn.Parameter(torch.ones(params.levels, N))


class MeanScaleNetwork(MeanScaleTransforms):
    """The whole network in floating point, as it is trained; ``h_s`` runs as integers once exported.

    ::

        z_hat' --* hinv--> z_hat --h_s--> (sigma, mu)
    """

    def __init__(self, params: MeanScaleParams) -> None:
        super().__init__(params)
        N, M = params.N, params.M
        self.h_s = nn.Sequential(
            deconv(N, M),
            nn.LeakyReLU(),
            deconv(M, M * 3 // 2),
            nn.LeakyReLU(),
            conv(M * 3 // 2, M * 2, kernel=3, stride=1),
        )
        self.hinv = nn.Parameter(torch.ones(params.levels, N))


def level_gain(gains: Tensor, level: float) -> Tensor:
    """The gain vector of a real-valued level, (1, C, 1, 1), by geometric interpolation (Cui et al. 2021, eq. 8).

    ``gains`` is (L, C); the sign of an entry carries no meaning.
    """
    low = min(int(level), gains.shape[0] - 1)
    high = min(low + 1, gains.shape[0] - 1)
    weight = level - low
    mixed = gains[low].abs() ** (1.0 - weight) * gains[high].abs() ** weight
    return mixed[None, :, None, None]
