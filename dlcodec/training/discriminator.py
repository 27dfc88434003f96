"""A patch discriminator for fusion: the one loss that asks how a picture looks, not how near it is to the original."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

_WIDTHS = (32, 64, 128, 128)
_LATENT_WIDTH = 64


class PatchDiscriminator(nn.Module):
    """How real patches of a picture look beside its decoded latent; 0.7 million parameters for M = 192.

    Four strided convolutions bring the picture to the latent's resolution, a sixteenth, where it meets the standardised
    ``y_hat`` (conditioned on the latent as in HiFiC, Mentzer et al. 2020). Spectral normalisation throughout.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inner, outer in zip((3, *_WIDTHS), _WIDTHS, strict=False):
            layers += [spectral_norm(nn.Conv2d(inner, outer, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        self.picture = nn.Sequential(*layers)
        self.latent = spectral_norm(nn.Conv2d(channels, _LATENT_WIDTH, 1))
        self.head = nn.Sequential(
            spectral_norm(nn.Conv2d(_WIDTHS[-1] + _LATENT_WIDTH, 128, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(128, 1, 1)),
        )

    def forward(self, picture: Tensor, y_hat: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] and (B, M, H/16, W/16) to scores (B, 1, H/16, W/16), without bounds."""
        features = torch.cat([self.picture(picture * 2 - 1), self.latent(y_hat)], 1)
        scores: Tensor = self.head(features)
        return scores


def relativistic_loss(discriminator: PatchDiscriminator, better: Tensor, worse: Tensor, y_hat: Tensor) -> Tensor:
    """``softplus(d(worse) - d(better))`` of a discriminator d, a mean over the patches of each pair, (B,).

    The relativistic pairing loss (Jolicoeur-Martineau 2018): ``better`` is the original when the discriminator learns,
    and the decoded picture when the network learns to deceive it. Both show the same scene, patch against patch.
    """
    loss = F.softplus(discriminator(worse, y_hat) - discriminator(better, y_hat))
    return loss.float().mean((1, 2, 3))
