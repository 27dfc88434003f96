"""Stage 3: the fusion network, trained beside a frozen base codec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from dlcodec.training.auxiliary_stage import load_auxiliary
from dlcodec.training.discriminator import PatchDiscriminator, relativistic_loss
from dlcodec.training.frozen import FrozenBase
from dlcodec.training.fusion_network import FusionDesign, TrainableFusion
from dlcodec.training.fusion_recipe import FusionRecipe, prepare
from dlcodec.training.loop import SideLoss, optimise
from dlcodec.training.perceptual import PictureLoss
from dlcodec.training.runs import refuse_start

_DISCRIMINATOR_RATE = 2e-4


def train_fusion(
    recipe: FusionRecipe,
    base: FrozenBase,
    design: FusionDesign,
    metric: Path,
    output: Path,
    device: torch.device,
    save_every: float,
    *,
    auxiliary: Path | None = None,
    start: Path | None = None,
) -> None:
    """Stage 3 (eq. 2): ``min lambda ||y_bar - D||^2 + L(x, g_s(D))`` at random times and real-valued levels.

    A discriminator, where the recipe wants one, takes a step after each of the network's, on the same pictures.
    ``auxiliary`` may be None where the recipe needs no ``y_bar``: ``latent`` = 0 and nothing auxiliary is noised.
    ``start`` has weights to begin from. Raises UsageError, WeightsError where a checkpoint does not fit.
    """
    refuse_start(start, output)
    design.check_start(output if output.exists() else start, resumed=output.exists())
    images, picture_loss = prepare(recipe, base, metric, output, device)
    encoder = load_auxiliary(auxiliary, base) if auxiliary else None
    fusion = TrainableFusion(design, base).to(device).train()
    discriminator = PatchDiscriminator(design.denoiser.M).to(device).train() if recipe.adversarial else None
    for network in filter(None, (fusion, discriminator)):
        convert_conv2d_weight_memory_format(network, torch.channels_last)
    convert_conv2d_weight_memory_format(fusion.blocks, base.memory_format)
    if not output.exists():
        fusion.fit(base, images)
    base.attach(fusion.placed_blocks())
    if start is not None:
        fusion.begin_from(start, base)
    if recipe.noised == "nothing":
        # And so it stays, without a gradient: D must not see the sampler's noise either.
        torch.nn.init.zeros_(fusion.denoiser.stem.weight)
    if recipe.compile:
        base.g_a.compile()
        fusion.compile()
        if encoder is not None:
            encoder.compile()
    objective = _Objective(recipe, base, design, fusion, encoder, discriminator, images, picture_loss)
    side = None
    if discriminator is not None:
        side = SideLoss(list(discriminator.parameters()), objective.criticise, _DISCRIMINATOR_RATE, discriminator)
    record = recipe.record(base, **design.record())
    optimise(fusion, objective, recipe.optimisation, output, record, device, save_every, side)


def _parts(count: int, between: float, device: torch.device) -> Tensor:
    """``1 - tau^2`` of each crop, (count,): 1, and for a random ``between`` of them that of a tau uniform in (0, 1)."""
    tau = torch.rand(count, device=device)
    return 1 - torch.where(torch.rand(count, device=device) < between, tau.square(), 0)


class _Objective:
    """The loss of the next batch at each call, with what to show, and the discriminator's of the same pictures."""

    def __init__(
        self,
        recipe: FusionRecipe,
        base: FrozenBase,
        design: FusionDesign,
        fusion: TrainableFusion,
        encoder: nn.Module | None,
        discriminator: PatchDiscriminator | None,
        images: Iterator[Tensor],
        picture_loss: PictureLoss,
    ) -> None:
        self._recipe, self._base, self._schedule = recipe, base, design.schedule
        self._fusion, self._encoder, self._discriminator = fusion, encoder, discriminator
        self._images, self._picture_loss = images, picture_loss
        self._judged: tuple[Tensor, Tensor, Tensor] | None = None  # x_hat, x, y_hat, for the discriminator

    def _autocast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self._recipe.bf16)

    def _noised(self, y: Tensor, time: Tensor) -> Tensor:
        if self._recipe.noised == "nothing":
            return torch.zeros_like(y)
        alpha = self._schedule.alpha_of(time)[:, None, None, None]
        return alpha.sqrt() * y + (1 - alpha).sqrt() * torch.randn_like(y)

    def __call__(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        recipe, base, fusion = self._recipe, self._base, self._fusion
        x = next(self._images)
        level = torch.rand(len(x), device=x.device) * (base.levels - 1)
        share = level / max(1, base.levels - 1)
        time = 1 - torch.rand(len(x), device=x.device)
        y_hat = fusion.standardise(base.decode(base.analyse(x), level))
        y_bar = y_hat
        with self._autocast(x):
            if self._encoder is not None:
                with torch.no_grad():
                    y_bar = fusion.standardise(self._encoder(x).float())
            y_t = self._noised(y_bar if recipe.noised == "auxiliary" else y_hat, time)
            clean = fusion(y_t, y_hat, time, share).float()
            weight = recipe.rising ** (share - 0.5)
            part = _parts(len(x), recipe.between, x.device)
            mixed = torch.lerp(y_hat, clean, part[:, None, None, None])
            changes = {name: (down * part[:, None, None], up) for name, (down, up) in fusion.adapters(share).items()}
            x_hat = base.synthesise(fusion.restore(mixed), changes, fusion.amounts(share, part))
            loss, lpips, log_mse = self._picture_loss(x, x_hat, weight)
            shown = {"lpips": lpips, "dB": -4.3429 * log_mse}
            if self._discriminator is not None:
                shown["deceit"] = (weight * relativistic_loss(self._discriminator, x_hat, x, y_hat)).mean()
                loss = loss + recipe.adversarial * shown["deceit"]
                self._judged = x_hat.detach(), x, y_hat
        latent = (y_bar - clean).square().mean()
        return loss + recipe.latent * latent, {**shown, "latent": latent}

    def criticise(self) -> Tensor:
        """The discriminator's loss: it is to tell the original from the decoded picture."""
        assert self._discriminator is not None
        assert self._judged is not None
        x_hat, x, y_hat = self._judged
        with self._autocast(x):
            return relativistic_loss(self._discriminator, x, x_hat, y_hat).mean()
