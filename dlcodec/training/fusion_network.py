"""What stage 3 trains: denoiser, standardisation and adapters in one module, as they are exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dlcodec import checkpoint
from dlcodec.fusion.adapters import SynthesisAdapters
from dlcodec.fusion.denoiser import Denoiser, DenoiserParams
from dlcodec.training.frozen import FrozenBase
from dlcodec.training.runs import TrainingRun, is_exported, load_prefixed

_DEVIATION_FLOOR = 0.1
_STATISTICS_BATCHES = 24


class TrainableFusion(nn.Module):
    """The denoiser, the standardisation of its latents and the synthesis' adapters; as it is exported.

    ``synthesis`` are the shapes of the weights to adapt, ``rank`` that of their change, 0 for none; ``levels`` the
    number of the base's rate levels.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, params: DenoiserParams, synthesis: Mapping[str, torch.Size], rank: int, levels: int) -> None:
        super().__init__()
        self.denoiser = Denoiser(params)
        self.adapters = SynthesisAdapters(synthesis if rank else {}, rank, levels)
        self.register_buffer("mean", torch.zeros(params.M))
        self.register_buffer("deviation", torch.ones(params.M))

    def standardise(self, y: Tensor) -> Tensor:
        """A raw latent (B, M, h, w) per channel to mean 0 and deviation 1 (or less: the deviation has a floor)."""
        return (y - self.mean[:, None, None]) / self.deviation[:, None, None]

    def restore(self, y: Tensor) -> Tensor:
        """The inverse of ``standardise``."""
        return y * self.deviation[:, None, None] + self.mean[:, None, None]

    def forward(self, y_t: Tensor, y_hat: Tensor, time: Tensor, level: Tensor) -> Tensor:
        """Both branches at once; arguments as in Denoiser."""
        out: Tensor = self.denoiser(y_t, y_hat, self.denoiser.condition(y_hat, level), time, level)
        return out

    @torch.no_grad()
    def fit(self, base: FrozenBase, images: Iterator[Tensor]) -> None:
        """Measure mean and deviation of decoded latents at random levels; near-constant channels get a floor."""
        total = square = torch.zeros_like(self.mean)
        for _ in range(_STATISTICS_BATCHES):
            x = next(images)
            y_hat = base.decode(base.analyse(x), torch.rand(len(x), device=x.device) * (base.levels - 1))
            total, square = total + y_hat.mean((0, 2, 3)), square + y_hat.square().mean((0, 2, 3))
        mean = total / _STATISTICS_BATCHES
        deviation = (square / _STATISTICS_BATCHES - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp_min(_DEVIATION_FLOOR * deviation.median()))


def rank_of(path: Path) -> int:
    """The rank of the adapters in a training checkpoint or an exported one, 0 where it has none."""
    tensors, _ = load_start(path)
    return next((len(tensor) for name, tensor in tensors.items() if name.startswith("adapters.up.")), 0)


def load_start(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The weights of a training checkpoint's moving average, or of an exported one; and their base's digest, if any."""
    if is_exported(path):
        its_base = checkpoint.read_metadata(path).config.get("base")
        return {name: t.float() for name, t in load_prefixed(path, "").items()}, its_base
    return load_prefixed(path, "ema."), TrainingRun.read(path).recipe.get("base")
