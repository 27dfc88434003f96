"""Stages 2 and 3: the auxiliary encoder, then the fusion network, beside a frozen base codec."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from dlcodec.errors import UsageError, WeightsError
from dlcodec.fusion.blocks import BlockPlace
from dlcodec.fusion.denoiser import DenoiserParams
from dlcodec.fusion.schedule import CosineSchedule
from dlcodec.lpips import load_lpips
from dlcodec.training.data import CropSampler, load_tiles
from dlcodec.training.discriminator import PatchDiscriminator, relativistic_loss
from dlcodec.training.frozen import FrozenBase
from dlcodec.training.fusion_network import TrainableFusion, load_start, places_of
from dlcodec.training.loop import Optimisation, SideLoss, optimise
from dlcodec.training.perceptual import PictureLoss
from dlcodec.training.runs import TrainingRun, load_into, load_prefixed, refuse_start, steps_done

Noised = Literal["decoded", "auxiliary", "nothing"]
_DISCRIMINATOR_RATE = 2e-4


@dataclass(frozen=True, slots=True)
class FusionRecipe:
    """Everything that decides the outcome of stages 2 and 3; it is written into their checkpoints.

    ``distortion`` and ``smoothness`` weigh ln MSE and grain that the original has not, where LPIPS weighs 1;
    ``adversarial`` weighs what a discriminator says that is trained against the network (discriminator.py), 0 for none;
    ``latent`` weighs the distance to the auxiliary latent (lambda of the paper's eq. 2). A crop at the last level
    weighs ``rising`` times one at the first, in even ratios between, so that the small distances of high rates are not
    drowned. ``noised`` says what the noise is added to: the decoded latent (the paper), the auxiliary one, or nothing
    (its Variant-1: no diffusion). ``between`` is the share of crops that are judged at a tau uniform in (0, 1), where
    D, adapters and blocks act in part; the others are judged at 0.
    """

    data: tuple[str, ...]
    batch: int
    crop: int
    reduce: float
    seed: int
    bf16: bool
    compile: bool
    distortion: float
    smoothness: float
    adversarial: float
    latent: float
    rising: float
    noised: Noised
    between: float
    optimisation: Optimisation

    def record(self, base: FrozenBase, **more: object) -> dict[str, object]:
        """The recipe as JSON-ready metadata; data by file name only."""
        return {**asdict(self), "data": [Path(p).name for p in self.data], "base": base.digest, **more}


def _setting(
    recipe: FusionRecipe, base: FrozenBase, metric: Path, output: Path, device: torch.device
) -> tuple[CropSampler, PictureLoss]:
    seed = recipe.seed + steps_done(output)
    torch.manual_seed(seed)
    lpips = load_lpips("alex", metric).to(device) if base.orientation == "distortion" else None
    if lpips is not None:
        convert_conv2d_weight_memory_format(lpips, torch.channels_last)
        if recipe.compile:
            lpips.compile()
    loss = PictureLoss(lpips, recipe.distortion, recipe.smoothness)
    tiles = load_tiles([Path(p) for p in recipe.data], recipe.crop)
    return CropSampler(tiles, recipe.batch, recipe.crop, device, seed, recipe.reduce), loss


def _parts(count: int, between: float, device: torch.device) -> Tensor:
    """``1 - tau^2`` of each crop, (count,): 1, and for a random ``between`` of them that of a tau uniform in (0, 1)."""
    tau = torch.rand(count, device=device)
    return 1 - torch.where(torch.rand(count, device=device) < between, tau.square(), 0)


def _batches(sampler: CropSampler, base: FrozenBase, device: torch.device) -> Iterator[Tensor]:
    while True:
        yield sampler.batch().to(device).contiguous(memory_format=base.memory_format)


def train_auxiliary(
    recipe: FusionRecipe, base: FrozenBase, metric: Path, output: Path, device: torch.device, save_every: float
) -> None:
    """Stage 2: ``g_a'`` starts as ``g_a``; ``min LPIPS(x, g_s(g_a'(x)))`` and a little distortion, unquantised.

    For a base oriented towards perception the distortion term is all there is. At its start ``g_a'`` lacks the gains
    that ``FrozenBase.unquantised`` has: it learns them.
    """
    sampler, picture_loss = _setting(recipe, base, metric, output, device)
    encoder = copy.deepcopy(base.g_a).requires_grad_(True).train()
    if recipe.compile:
        encoder.compile()
    images = _batches(sampler, base, device)

    def compute_loss() -> tuple[Tensor, Mapping[str, Tensor]]:
        x = next(images)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.bf16):
            y = encoder(x)
            loss, lpips, log_mse = picture_loss(x, base.synthesise(y))
        return loss, {"lpips": lpips, "dB": -4.3429 * log_mse}

    optimise(encoder, compute_loss, recipe.optimisation, output, recipe.record(base), device, save_every)


def load_auxiliary(path: Path, base: FrozenBase) -> nn.Module:
    """The moving average of a stage-2 checkpoint, frozen; raises UsageError where it is another base's."""
    TrainingRun.read(path).check_base(base.digest)
    encoder = copy.deepcopy(base.g_a)
    load_into(encoder, load_prefixed(path, "ema."), path)
    return encoder.requires_grad_(False).eval()


def _blocks_to_begin_with(path: Path | None, places: Sequence[BlockPlace], *, resumed: bool) -> int:
    """How many of the blocks at ``places`` have weights in ``path``; raises UsageError where those have others."""
    theirs = places_of(path) if path else []
    dropped = not places and not resumed
    if (not dropped and list(places)[: len(theirs)] != theirs) or (resumed and len(places) != len(theirs)):
        has = ",".join(f"{place.after}:{place.hidden}" for place in theirs) or "none"
        raise UsageError(f"{path} has blocks {has}; --blocks must begin with the same")
    return min(len(theirs), len(places))


def train_fusion(
    recipe: FusionRecipe,
    base: FrozenBase,
    auxiliary: Path | None,
    start: Path | None,
    params: DenoiserParams,
    rank: int,
    places: Sequence[BlockPlace],
    schedule: CosineSchedule,
    metric: Path,
    output: Path,
    device: torch.device,
    save_every: float,
) -> None:
    """Stage 3 (eq. 2): ``min lambda ||y_bar - D||^2 + L(x, g_s(D))`` at random times and real-valued levels.

    A discriminator, where the recipe wants one, takes a step after each of the network's, on the same pictures.
    ``auxiliary`` may be None where the recipe needs no ``y_bar``: ``latent`` = 0 and nothing auxiliary is noised.
    """
    refuse_start(start, output)
    begun = _blocks_to_begin_with(output if output.exists() else start, places, resumed=output.exists())
    sampler, picture_loss = _setting(recipe, base, metric, output, device)
    images = _batches(sampler, base, device)
    encoder = load_auxiliary(auxiliary, base) if auxiliary else None
    fusion = TrainableFusion(params, base, rank, places).to(device).train()
    discriminator = PatchDiscriminator(params.M).to(device).train() if recipe.adversarial else None
    pair: list[Tensor] = []  # original, decoded picture and latent, for the discriminator
    for network in filter(None, (fusion, discriminator)):
        convert_conv2d_weight_memory_format(network, torch.channels_last)
    convert_conv2d_weight_memory_format(fusion.blocks, base.memory_format)
    if not output.exists():
        fusion.fit(base, images)
    base.attach(fusion.placed_blocks())
    if start is not None:
        tensors, its_base = load_start(start)
        if its_base != base.digest:  # other latents
            tensors |= dict(fusion.named_buffers())
        try:
            fusion.adapters.widen(tensors)
            missing, _ = fusion.load_state_dict(tensors, strict=False)
        except RuntimeError as error:
            raise WeightsError(f"{start} has adapters of a higher rank, or another network; see --rank") from error
        fresh = tuple(f"blocks.{number}." for number in range(begun, len(places)))
        if any(not name.startswith(("adapters.", *fresh)) for name in missing):
            raise WeightsError(f"{start} lacks {', '.join(missing[:3])}")
    if recipe.noised == "nothing":
        # And so it stays, without a gradient: D must not see the sampler's noise either.
        torch.nn.init.zeros_(fusion.denoiser.stem.weight)
    if recipe.compile:
        base.g_a.compile()
        fusion.compile()
        if encoder is not None:
            encoder.compile()

    def noised(y: Tensor, time: Tensor) -> Tensor:
        if recipe.noised == "nothing":
            return torch.zeros_like(y)
        alpha = schedule.alpha_of(time)[:, None, None, None]
        return alpha.sqrt() * y + (1 - alpha).sqrt() * torch.randn_like(y)

    def compute_loss() -> tuple[Tensor, Mapping[str, Tensor]]:
        x = next(images)
        level = torch.rand(len(x), device=device) * (base.levels - 1)
        share = level / max(1, base.levels - 1)
        time = 1 - torch.rand(len(x), device=device)
        y_hat = fusion.standardise(base.decode(base.analyse(x), level))
        y_bar = y_hat
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.bf16):
            if encoder is not None:
                with torch.no_grad():
                    y_bar = fusion.standardise(encoder(x).float())
            y_t = noised(y_bar if recipe.noised == "auxiliary" else y_hat, time)
            clean = fusion(y_t, y_hat, time, share).float()
            weight = recipe.rising ** (share - 0.5)
            part = _parts(len(x), recipe.between, device)
            mixed = torch.lerp(y_hat, clean, part[:, None, None, None])
            changes = {name: (down * part[:, None, None], up) for name, (down, up) in fusion.adapters(share).items()}
            x_hat = base.synthesise(fusion.restore(mixed), changes, fusion.amounts(share, part))
            loss, lpips, log_mse = picture_loss(x, x_hat, weight)
            shown = {"lpips": lpips, "dB": -4.3429 * log_mse}
            if discriminator is not None:
                shown["deceit"] = (weight * relativistic_loss(discriminator, x_hat, x, y_hat)).mean()
                loss = loss + recipe.adversarial * shown["deceit"]
                pair[:] = x, x_hat.detach(), y_hat
        latent = (y_bar - clean).square().mean()
        return loss + recipe.latent * latent, {**shown, "latent": latent}

    def criticise() -> Tensor:
        assert discriminator is not None
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.bf16):
            return relativistic_loss(discriminator, *pair).mean()

    side = None
    if discriminator is not None:
        side = SideLoss(list(discriminator.parameters()), criticise, _DISCRIMINATOR_RATE, discriminator)
    record = recipe.record(
        base,
        params=asdict(params),
        rank=rank,
        blocks=[asdict(p) for p in places],
        schedule={"kind": "cosine", **asdict(schedule)},
    )
    optimise(fusion, compute_loss, recipe.optimisation, output, record, device, save_every, side)
