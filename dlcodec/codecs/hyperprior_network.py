"""What the networks of all hyperprior codecs share: four transforms, gain units, and a prediction of the latent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dlcodec.entropy.exact import LayerPlan

ExactGroups = Mapping[str, tuple[LayerPlan, ...]]


@dataclass(frozen=True, slots=True)
class HyperpriorParams:
    """What fixes the shapes: N channels inside the transforms and in z, M channels in y, L rate levels."""

    N: int
    M: int
    levels: int


class HyperpriorNetwork(nn.Module, ABC):
    """The networks of one family, in floating point.

    ::

        x --g_a--> y --* gain--> y' --h_a--> z --* hgain--> z'     (encoder)
        x_hat <--g_s-- y_hat <--* inv_gain-- y_hat'                (decoder)
        z_hat' --* hinv--> z_hat --h_s--> features --predict--> sigma, mu of y'     (both)

    The transforms have CompressAI's keys; the gain units are those of Cui et al. 2021 (arXiv:2003.02012), one row per
    rate level. The third line is there with ``coding`` only: for training. An exported codec runs it in integers.
    """

    family: ClassVar[str]
    """Its name in the registry."""
    channels: ClassVar[tuple[int, int]]
    """N and M as it is trained."""
    exact_groups: ClassVar[ExactGroups]
    """The layers of the third line by group; ``h_s`` is one. A checkpoint's config has ``<group>_shifts``."""
    autoregressive: ClassVar[bool] = False
    """Whether the prediction of a symbol depends on other symbols of y."""
    training_format: ClassVar[torch.memory_format] = torch.channels_last
    """The memory format in which it is trained."""

    h_s: nn.Sequential
    hinv: nn.Parameter

    def __init__(self, params: HyperpriorParams, *, coding: bool = True) -> None:
        super().__init__()
        self.params = params
        self.g_a, self.g_s, self.h_a = self.build_transforms(params)
        self.gain = nn.Parameter(torch.ones(params.levels, params.M))
        self.inv_gain = nn.Parameter(torch.ones(params.levels, params.M))
        self.hgain = nn.Parameter(torch.ones(params.levels, params.N))
        if coding:
            self.build_coding(params)
            self.hinv = nn.Parameter(torch.ones(params.levels, params.N))

    @staticmethod
    @abstractmethod
    def build_transforms(params: HyperpriorParams) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
        """``g_a``, ``g_s`` and ``h_a``. Raises ValueError for parameters that the family does not have."""

    @abstractmethod
    def build_coding(self, params: HyperpriorParams) -> None:
        """Set ``h_s`` and whatever follows it."""

    @abstractmethod
    def predict(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``sigma`` and ``mu``, each like ``y``, of what ``h_s`` gives.

        ``y`` (B, M, h, w) is the latent as the decoder will have it, or a stand-in that is noised instead of rounded;
        a position's prediction depends on none but earlier positions.
        """

    @abstractmethod
    def receive(self, features: Tensor, y: Tensor) -> Tensor:
        """The latent that the decoder has of ``y`` (B, M, h, w): rounded around its means. Without gradient."""


def level_gain(gains: Tensor, level: float) -> Tensor:
    """The gain vector of a real-valued level, (1, C, 1, 1), by geometric interpolation (Cui et al. 2021, eq. 8).

    ``gains`` is (L, C); the sign of an entry carries no meaning.
    """
    low = min(int(level), gains.shape[0] - 1)
    high = min(low + 1, gains.shape[0] - 1)
    weight = level - low
    mixed = gains[low].abs() ** (1.0 - weight) * gains[high].abs() ** weight
    return mixed[None, :, None, None]
