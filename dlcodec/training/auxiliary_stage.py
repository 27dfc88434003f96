"""Stage 2: the auxiliary encoder, trained against a frozen synthesis."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dlcodec.training.frozen import FrozenBase
from dlcodec.training.fusion_recipe import FusionRecipe, prepare
from dlcodec.training.loop import optimise
from dlcodec.training.runs import TrainingRun, load_into, load_prefixed


def train_auxiliary(
    recipe: FusionRecipe, base: FrozenBase, metric: Path, output: Path, device: torch.device, save_every: float
) -> None:
    """Stage 2: ``g_a'`` starts as ``g_a``; ``min LPIPS(x, g_s(g_a'(x)))`` and a little distortion, unquantised.

    For a base oriented towards perception the distortion term is all there is. At its start ``g_a'`` lacks the gains
    that ``FrozenBase.unquantised`` has: it learns them.
    """
    images, picture_loss = prepare(recipe, base, metric, output, device)
    encoder = copy.deepcopy(base.g_a).requires_grad_(True).train()
    if recipe.compile:
        encoder.compile()

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
