"""What stage 3 trains: denoiser, standardisation, adapters and blocks in one module, as they are exported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dlcodec import checkpoint
from dlcodec.errors import UsageError, WeightsError
from dlcodec.fusion.adapters import SynthesisAdapters
from dlcodec.fusion.blocks import BlockPlace, ResidualBlock, read_places
from dlcodec.fusion.denoiser import Denoiser, DenoiserParams
from dlcodec.fusion.schedule import CosineSchedule, schedule_from
from dlcodec.training.frozen import FrozenBase
from dlcodec.training.runs import TrainingRun, is_exported, load_prefixed

_DEVIATION_FLOOR = 0.1
_STATISTICS_BATCHES = 24


def _floored(deviation: Tensor) -> Tensor:
    """The deviations (C,) of channels, where near-constant ones count as a tenth of the median."""
    return deviation.clamp_min(max(_DEVIATION_FLOOR * deviation.median().item(), 1e-6))


@dataclass(frozen=True, slots=True)
class FusionDesign:
    """What there is to train: ``rank`` is that of the change of the synthesis' weights, ``places`` are the blocks'."""

    denoiser: DenoiserParams
    rank: int
    places: tuple[BlockPlace, ...]
    schedule: CosineSchedule

    def record(self) -> dict[str, object]:
        """The design as JSON-ready metadata."""
        return {
            "params": asdict(self.denoiser),
            "rank": self.rank,
            "blocks": [asdict(place) for place in self.places],
            "schedule": {"kind": "cosine", **asdict(self.schedule)},
        }

    def check_start(self, path: Path | None, *, resumed: bool) -> None:
        """Raise UsageError where the blocks in ``path`` are not the first of these, or, ``resumed``, not all of them.

        A design without blocks drops those of a start.
        """
        theirs = tuple(places_of(path)) if path else ()
        dropped = not self.places and not resumed
        if (not dropped and self.places[: len(theirs)] != theirs) or (resumed and len(self.places) != len(theirs)):
            has = ",".join(f"{place.after}:{place.hidden}" for place in theirs) or "none"
            raise UsageError(f"{path} has blocks {has}; --blocks must begin with the same")


class TrainableFusion(nn.Module):
    """The denoiser, the standardisation of its latents, the synthesis' adapters and blocks; as it is exported."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, design: FusionDesign, base: FrozenBase) -> None:
        super().__init__()
        params, rank, places = design.denoiser, design.rank, design.places
        self.denoiser = Denoiser(params)
        self.adapters = SynthesisAdapters(base.synthesis_shapes if rank else {}, rank, base.levels)
        stages = base.stages(torch.zeros(1, params.M, 2, 2, device=base.device)) if places else []
        self.blocks = nn.ModuleList(
            ResidualBlock(stages[place.after].shape[1], place.hidden, base.levels) for place in places
        )
        self._places = places
        self.register_buffer("mean", torch.zeros(params.M))
        self.register_buffer("deviation", torch.ones(params.M))

    def standardise(self, y: Tensor) -> Tensor:
        """A raw latent (B, M, h, w) per channel to mean 0 and deviation 1 (or less: the deviation has a floor)."""
        return (y - self.mean[:, None, None]) / self.deviation[:, None, None]

    def restore(self, y: Tensor) -> Tensor:
        """The inverse of ``standardise``."""
        return y * self.deviation[:, None, None] + self.mean[:, None, None]

    def placed_blocks(self) -> Iterator[tuple[BlockPlace, ResidualBlock]]:
        """Each block with its place."""
        for place, block in zip(self._places, self.blocks, strict=True):
            assert isinstance(block, ResidualBlock)
            yield place, block

    def amounts(self, level: Tensor, part: Tensor) -> list[Tensor]:
        """What each block takes for pictures of ``level`` (B,) in [0, 1] and ``part`` = 1 - tau^2 (B,)."""
        return [block.amount(level, part) for _, block in self.placed_blocks()]

    def forward(self, y_t: Tensor, y_hat: Tensor, time: Tensor, level: Tensor) -> Tensor:
        """Both branches at once; arguments as in Denoiser."""
        out: Tensor = self.denoiser(y_t, y_hat, self.denoiser.condition(y_hat, level), time, level)
        return out

    @torch.no_grad()
    def fit(self, base: FrozenBase, images: Iterator[Tensor]) -> None:
        """Measure mean and deviation of decoded latents, and the scale of what blocks act on, at random levels."""
        total = square = torch.zeros_like(self.mean)
        blocks = list(self.placed_blocks())
        squares = [torch.zeros_like(block.rms) for _, block in blocks]
        for _ in range(_STATISTICS_BATCHES):
            x = next(images)
            y_hat = base.decode(base.analyse(x), torch.rand(len(x), device=x.device) * (base.levels - 1))
            total, square = total + y_hat.mean((0, 2, 3)), square + y_hat.square().mean((0, 2, 3))
            stages = base.stages(y_hat) if blocks else []
            for mean_square, (place, _) in zip(squares, blocks, strict=True):
                mean_square += stages[place.after].square().mean((0, 2, 3)) / _STATISTICS_BATCHES
        for mean_square, (_, block) in zip(squares, blocks, strict=True):
            block.rms.copy_(_floored(mean_square.sqrt()))
        mean = total / _STATISTICS_BATCHES
        deviation = (square / _STATISTICS_BATCHES - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(_floored(deviation))

    def begin_from(self, start: Path, base: FrozenBase) -> None:
        """Take the weights of a checkpoint; what it lacks of adapters and blocks stays fresh.

        Beside another base than its own what was measured stays: other latents have another mean. Raises WeightsError
        where it has adapters of a higher rank, or is of another network.
        """
        begun = len(places_of(start))
        tensors, its_base = load_start(start)
        if its_base != base.digest:
            tensors |= dict(self.named_buffers())
        try:
            self.adapters.widen(tensors)
            missing, _ = self.load_state_dict(tensors, strict=False)
        except RuntimeError as error:
            raise WeightsError(f"{start} has adapters of a higher rank, or another network; see --rank") from error
        fresh = tuple(f"blocks.{number}." for number in range(begun, len(self.blocks)))
        if any(not name.startswith(("adapters.", *fresh)) for name in missing):
            raise WeightsError(f"{start} lacks {', '.join(missing[:3])}")


def rank_of(path: Path) -> int:
    """The rank of the adapters in a training checkpoint or an exported one, 0 where it has none."""
    tensors, _ = load_start(path)
    return next((len(tensor) for name, tensor in tensors.items() if name.startswith("adapters.up.")), 0)


def places_of(path: Path) -> list[BlockPlace]:
    """The places of the blocks in a training checkpoint or an exported one; raises WeightsError."""
    recipe = checkpoint.read_metadata(path).config if is_exported(path) else TrainingRun.read(path).recipe
    try:
        return read_places(recipe)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} names blocks that cannot be: {error}") from error


def read_design(path: Path) -> FusionDesign:
    """The design of a training checkpoint of stage 3; raises WeightsError."""
    recipe = TrainingRun.read(path).recipe
    schedule = schedule_from(recipe["schedule"])
    return FusionDesign(DenoiserParams(**recipe["params"]), recipe.get("rank", 0), tuple(places_of(path)), schedule)


def load_start(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The weights of a training checkpoint's moving average, or of an exported one; and their base's digest, if any."""
    if is_exported(path):
        its_base = checkpoint.read_metadata(path).config.get("base")
        return {name: t.float() for name, t in load_prefixed(path, "").items()}, its_base
    return load_prefixed(path, "ema."), TrainingRun.read(path).recipe.get("base")
