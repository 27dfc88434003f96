"""What decides the outcome of stages 2 and 3, and what both begin with: crops, and a judge of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from dlcodec.lpips import load_lpips
from dlcodec.training.data import CropSampler, load_tiles
from dlcodec.training.frozen import FrozenBase
from dlcodec.training.loop import Optimisation
from dlcodec.training.perceptual import PictureLoss
from dlcodec.training.runs import steps_done

Noised = Literal["decoded", "auxiliary", "nothing"]


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


def prepare(
    recipe: FusionRecipe, base: FrozenBase, metric: Path, output: Path, device: torch.device
) -> tuple[Iterator[Tensor], PictureLoss]:
    """The crops that a run takes one batch after the other, (B, 3, S, S) in [0, 1], and what judges its pictures."""
    seed = recipe.seed + steps_done(output)
    torch.manual_seed(seed)
    lpips = load_lpips("alex", metric).to(device) if base.orientation == "distortion" else None
    if lpips is not None:
        convert_conv2d_weight_memory_format(lpips, torch.channels_last)
        if recipe.compile:
            lpips.compile()
    loss = PictureLoss(lpips, recipe.distortion, recipe.smoothness)
    tiles = load_tiles([Path(p) for p in recipe.data], recipe.crop)
    sampler = CropSampler(tiles, recipe.batch, recipe.crop, device, seed, recipe.reduce)
    return (sampler.batch().to(device).contiguous(memory_format=base.memory_format) for _ in count()), loss
