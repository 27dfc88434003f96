"""The networks of Cheng et al. 2020 with attention and gain units, and nothing of files, devices or coding."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcodec.codecs.hyperprior_network import ExactGroups, HyperpriorNetwork, HyperpriorParams
from dlcodec.codecs.layers import GDN, MaskedConv, conv
from dlcodec.entropy.context import KERNEL, waves
from dlcodec.entropy.exact import LayerPlan


def conv3(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution that divides the resolution by ``stride``."""
    return conv(in_channels, out_channels, kernel=3, stride=stride)


def conv1(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Conv2d:
    """A 1 x 1 convolution that divides the resolution by ``stride``."""
    return conv(in_channels, out_channels, kernel=1, stride=stride)


def add_to(out: Tensor, x: Tensor) -> Tensor:
    """``out + x``; in inference mode ``out`` itself is overwritten and returned."""
    return out.add_(x) if torch.is_inference_mode_enabled() else out + x


def sub_pixel(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 3 x 3 convolution that doubles the resolution by giving each output four channels (Shi et al. 2016)."""
    return nn.Sequential(conv3(in_channels, out_channels * 4), nn.PixelShuffle(2))


class ResidualDown(nn.Module):
    """``gdn(conv2(leaky(conv1(x)))) + skip(x)`` at half the resolution; (B, C, H, W) to (B, C', H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = conv3(in_channels, out_channels, stride=2)
        self.conv2 = conv3(out_channels, out_channels)
        self.gdn = GDN(out_channels)
        self.skip = conv1(in_channels, out_channels, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the resolution."""
        out: Tensor = self.gdn(self.conv2(F.leaky_relu(self.conv1(x), inplace=True)))
        return add_to(out, self.skip(x))


class ResidualUp(nn.Module):
    """``igdn(conv(leaky(subpel_conv(x)))) + upsample(x)`` at twice the resolution; (B, C, H, W) to (B, C, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.subpel_conv = sub_pixel(channels, channels)
        self.conv = conv3(channels, channels)
        self.igdn = GDN(channels, inverse=True)
        self.upsample = sub_pixel(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Double the resolution."""
        out: Tensor = self.igdn(self.conv(F.leaky_relu(self.subpel_conv(x), inplace=True)))
        return add_to(out, self.upsample(x))


class Residual(nn.Module):
    """``leaky(conv2(leaky(conv1(x)))) + x``, shapes unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3(channels, channels)
        self.conv2 = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Change ``x`` a little."""
        out = self.conv2(F.leaky_relu(self.conv1(x), inplace=True))
        return add_to(F.leaky_relu(out, inplace=True), x)


class _Bottleneck(nn.Module):
    """``relu(conv(x) + x)`` with half the channels inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv = nn.Sequential(
            conv1(channels, half),
            nn.ReLU(inplace=True),
            conv3(half, half),
            nn.ReLU(inplace=True),
            conv1(half, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(add_to(self.conv(x), x), inplace=True)


class Attention(nn.Module):
    """``conv_a(x) * sigmoid(conv_b(x)) + x``: the simplified attention of the paper; it sees 3 positions far."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(_Bottleneck(channels) for _ in range(3)))
        self.conv_b = nn.Sequential(*(_Bottleneck(channels) for _ in range(3)), conv1(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Weigh ``conv_a(x)`` position by position."""
        return torch.addcmul(x, self.conv_a(x), torch.sigmoid(self.conv_b(x)))


class Cheng2020Network(HyperpriorNetwork):
    """Cheng et al. 2020 (arXiv:2001.01568), CompressAI's ``Cheng2020Attention(N)`` key for key; M = N.

    ::

        z_hat --h_s--> features --------------------------------------┐
        y_hat' before the position --context_prediction (5 x 5)-------┴--entropy_parameters (1 x 1)--> sigma, mu

    One Gaussian a symbol, as in CompressAI, not the paper's mixture of three. The context sees the latent times its
    gain, as it is coded.
    """

    family = "cheng2020"
    channels = (128, 128)
    exact_groups: ClassVar[ExactGroups] = {
        "h_s": (
            LayerPlan("h_s.0", "none", activate=True),
            LayerPlan("h_s.2.0", "shuffled", activate=True),
            LayerPlan("h_s.4", "none", activate=True),
            LayerPlan("h_s.6.0", "shuffled", activate=True),
            LayerPlan("h_s.8", "none", activate=False),
        ),
        "context": (
            LayerPlan("context_prediction", "none", activate=False),
            LayerPlan("entropy_parameters.0", "none", activate=True),
            LayerPlan("entropy_parameters.2", "none", activate=True),
            LayerPlan("entropy_parameters.4", "none", activate=False),
        ),
    }
    autoregressive = True
    training_format = torch.contiguous_format
    """In channels_last, torch 2.13 corrupts its heap in the backward pass on a CPU."""

    @staticmethod
    def build_transforms(params: HyperpriorParams) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
        """``g_a``, ``g_s`` and ``h_a``. Raises ValueError unless M = N."""
        N = params.N
        if params.M != N:
            raise ValueError(f"cheng2020 has as many channels in y as in z, not {params.M} and {N}")
        g_a = nn.Sequential(
            ResidualDown(3, N),
            Residual(N),
            ResidualDown(N, N),
            Attention(N),
            Residual(N),
            ResidualDown(N, N),
            Residual(N),
            conv3(N, N, stride=2),
            Attention(N),
        )
        g_s = nn.Sequential(
            Attention(N),
            Residual(N),
            ResidualUp(N),
            Residual(N),
            ResidualUp(N),
            Attention(N),
            Residual(N),
            ResidualUp(N),
            Residual(N),
            sub_pixel(N, 3),
        )
        h_a = nn.Sequential(
            conv3(N, N),
            nn.LeakyReLU(),
            conv3(N, N),
            nn.LeakyReLU(),
            conv3(N, N, stride=2),
            nn.LeakyReLU(),
            conv3(N, N),
            nn.LeakyReLU(),
            conv3(N, N, stride=2),
        )
        return g_a, g_s, h_a

    def build_coding(self, params: HyperpriorParams) -> None:
        """Set ``h_s``, ``context_prediction`` and ``entropy_parameters``."""
        N = params.N
        self.h_s = nn.Sequential(
            conv3(N, N),
            nn.LeakyReLU(),
            sub_pixel(N, N),
            nn.LeakyReLU(),
            conv3(N, N * 3 // 2),
            nn.LeakyReLU(),
            sub_pixel(N * 3 // 2, N * 3 // 2),
            nn.LeakyReLU(),
            conv3(N * 3 // 2, N * 2),
        )
        self.context_prediction = MaskedConv(N, N * 2, KERNEL)
        self.entropy_parameters = nn.Sequential(
            conv1(N * 4, N * 10 // 3),
            nn.LeakyReLU(),
            conv1(N * 10 // 3, N * 8 // 3),
            nn.LeakyReLU(),
            conv1(N * 8 // 3, N * 2),
        )

    def predict(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``sigma`` and ``mu``, all positions at once."""
        both: Tensor = self.entropy_parameters(torch.cat([features, self.context_prediction(y)], 1))
        sigma, mu = both.chunk(2, 1)
        return sigma, mu

    @torch.no_grad()
    def receive(self, features: Tensor, y: Tensor) -> Tensor:
        """``y`` rounded around its means, wave by wave."""
        height, width = y.shape[2:]
        reach = KERNEL // 2
        padded = F.pad(torch.zeros_like(y), (reach, reach, reach, reach))
        context = self.context_prediction
        weight = (context.weight * context.mask).flatten(1).T
        for wave in waves(height, width):
            rows, columns = (torch.from_numpy(place).to(y.device) for place in divmod(wave, width))
            # (B, M, n, 5, 5): the window of each position of the wave
            across = torch.arange(KERNEL, device=y.device)
            seen = padded[:, :, (rows[:, None] + across)[:, :, None], (columns[:, None] + across)[:, None, :]]
            found = seen.movedim(2, 1).flatten(2) @ weight + cast(Tensor, context.bias)
            known = torch.cat([features[:, :, rows, columns], found.transpose(1, 2)], 1)[..., None]
            _, mu = self.entropy_parameters(known)[..., 0].chunk(2, 1)
            padded[:, :, rows + reach, columns + reach] = (y[:, :, rows, columns] - mu).round() + mu
        return padded[:, :, reach:-reach, reach:-reach]
