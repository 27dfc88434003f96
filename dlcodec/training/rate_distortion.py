"""The base stage: rate plus lambda times distortion over all rate levels of a codec at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from compressai.ops import quantize_ste
from torch import Tensor, nn

from dlcodec.codecs import codec_class
from dlcodec.codecs.hyperprior_network import HyperpriorNetwork, HyperpriorParams


@dataclass(frozen=True, slots=True)
class RateDistortion:
    """Per sample: ``bpp`` of y and z together, ``bpp_z`` of z alone, and ``mse`` on the [0, 1] scale; each (B,)."""

    bpp: Tensor
    bpp_z: Tensor
    mse: Tensor


class TrainableCodec(nn.Module):
    """The networks of a family beside CompressAI's entropy models.

    The transforms may run under bf16 autocast; the entropy path always runs in float32. In evaluation mode an
    autoregressive prediction sees what a decoder would have.
    """

    def __init__(self, family: str, params: HyperpriorParams) -> None:
        super().__init__()
        self.network: HyperpriorNetwork = codec_class(family).network(params)
        self.entropy_bottleneck = EntropyBottleneck(params.N)
        self.gaussian_conditional = GaussianConditional(None)

    def forward(self, x: Tensor, level: Tensor, autocast: torch.dtype | None) -> RateDistortion:
        """Code ``x`` (B, 3, H, W) in [0, 1], H and W multiples of 64, each sample at its own integer level (B,)."""
        net, eb = self.network, self.entropy_bottleneck

        def row(gains: Tensor) -> Tensor:
            return gains[level].abs()[:, :, None, None]

        with torch.autocast(x.device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            y = net.g_a(x).float() * row(net.gain)
            z = net.h_a(y).float() * row(net.hgain)
        _, z_likelihood = eb(z)
        medians = eb._get_medians().detach()[None, :, :]
        z_hat = (quantize_ste(z - medians) + medians) * row(net.hinv)
        features = net.h_s(z_hat)
        seen = y + torch.empty_like(y).uniform_(-0.5, 0.5) if self.training else net.receive(features, y)
        sigma, mu = net.predict(features, seen)
        _, y_likelihood = self.gaussian_conditional(y, sigma, mu)
        y_hat = (quantize_ste(y - mu) + mu) * row(net.inv_gain)
        with torch.autocast(x.device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            x_hat = net.g_s(y_hat).float()
        pixels = x.shape[2] * x.shape[3]
        bpp_z = -z_likelihood.log2().sum((1, 2, 3)) / pixels
        bpp_y = -y_likelihood.log2().sum((1, 2, 3)) / pixels
        return RateDistortion(bpp_y + bpp_z, bpp_z, (x - x_hat).square().mean((1, 2, 3)))


def rate_distortion_loss(outcome: RateDistortion, lambdas: Tensor) -> Tensor:
    """``mean((bpp + lambda 255^2 mse) / sqrt(lambda))``: the weight keeps the high rates from drowning the low ones."""
    return ((outcome.bpp + lambdas * 255.0**2 * outcome.mse) * lambdas.rsqrt()).mean()
