"""The commands of stages 2 and 3: auxiliary encoder and fusion network."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer

from dlcodec.fusion.denoiser import DenoiserParams
from dlcodec.fusion.schedule import CosineSchedule
from dlcodec.training.frozen import FrozenBase
from dlcodec.training.fusion_stages import FusionRecipe, train_auxiliary, train_fusion
from dlcodec.training.loop import Budget, Optimisation

app = typer.Typer(add_completion=False)
Output = Annotated[Path, typer.Argument(help="Training checkpoint to write; training continues from it if it exists.")]
Base = Annotated[Path, typer.Option(help="The exported base checkpoint, frozen.")]
Data = Annotated[list[Path], typer.Option(help="Folder or tar of images; repeatable.")]
Lpips = Annotated[Path, typer.Option(help="LPIPS-alex weights, safetensors.")]
Steps = Annotated[int | None, typer.Option(help="Stop after this many steps.")]
Minutes = Annotated[float | None, typer.Option(help="Or after this many minutes.")]
Batch = Annotated[int, typer.Option(help="Crops a step.")]
Crop = Annotated[int, typer.Option(help="Side of a crop, pixels, a multiple of 64.")]
Rate = Annotated[float, typer.Option(help="Peak rate of SOAP.")]
Distortion = Annotated[float, typer.Option(help="Weight of ln MSE; LPIPS weighs 1.")]
Seed = Annotated[int, typer.Option(help="Of crops, times, noise and initial weights.")]
Bf16 = Annotated[bool, typer.Option(help="Run the networks under bf16 autocast.")]
Compile = Annotated[bool, typer.Option("--compile/--no-compile", help="Use torch.compile.")]
DeviceName = Annotated[str, typer.Option(help="cpu or cuda.")]
SaveEvery = Annotated[float, typer.Option(help="Minutes between saves.")]


class NoisedName(StrEnum):
    """What the noise is added to."""

    decoded = "decoded"
    auxiliary = "auxiliary"
    nothing = "nothing"


def _optimisation(rate: float, warmup: int, steps: int | None, minutes: float | None) -> Optimisation:
    if (steps is None) == (minutes is None):
        raise typer.BadParameter("give --steps or --minutes")
    return Optimisation(rate, rate / 100, warmup, clip=1.0, ema=0.995, budget=Budget(steps, minutes))


@app.command()
def auxiliary(
    output: Output,
    base: Base,
    data: Data,
    lpips: Lpips,
    steps: Steps = None,
    minutes: Minutes = None,
    batch: Batch = 8,
    crop: Crop = 256,
    learning_rate: Rate = 3e-4,
    distortion: Distortion = 0.02,
    seed: Seed = 0,
    bf16: Bf16 = True,
    compile_: Compile = True,
    device: DeviceName = "cpu",
    save_every: SaveEvery = 5.0,
) -> None:
    """Stage 2: train the auxiliary encoder against the frozen synthesis."""
    where = torch.device(device)
    optimisation = _optimisation(learning_rate, 20, steps, minutes)
    names = tuple(map(str, data))
    recipe = FusionRecipe(names, batch, crop, seed, bf16, compile_, 1.0, distortion, 0.0, "nothing", optimisation)
    frozen = FrozenBase(base, where, bf16=bf16, compile_=compile_)
    train_auxiliary(recipe, frozen, lpips, output, where, save_every)


@app.command()
def fusion(
    output: Output,
    base: Base,
    data: Data,
    lpips: Lpips,
    auxiliary: Annotated[Path | None, typer.Option(help="Checkpoint of stage 2.")] = None,
    start: Annotated[Path | None, typer.Option(help="Fusion training checkpoint to begin from.")] = None,
    steps: Steps = None,
    minutes: Minutes = None,
    batch: Batch = 8,
    crop: Crop = 256,
    learning_rate: Rate = 1e-3,
    distortion: Distortion = 0.02,
    latent: Annotated[float, typer.Option(help="Weight of the distance to the auxiliary latent.")] = 0.1,
    noised: Annotated[NoisedName, typer.Option(help="What the noise is added to.")] = NoisedName.decoded,
    width: Annotated[int, typer.Option(help="Channels of the denoiser.")] = 160,
    seed: Seed = 0,
    bf16: Bf16 = True,
    compile_: Compile = True,
    device: DeviceName = "cpu",
    save_every: SaveEvery = 5.0,
) -> None:
    """Stage 3: train the fusion network; every other network is frozen."""
    if auxiliary is None and (latent or noised == NoisedName.auxiliary):
        raise typer.BadParameter("give --auxiliary, or --latent 0 and something else to noise")
    where = torch.device(device)
    optimisation = _optimisation(learning_rate, 50, steps, minutes)
    names = tuple(map(str, data))
    recipe = FusionRecipe(names, batch, crop, seed, bf16, compile_, 1.0, distortion, latent, noised.value, optimisation)
    frozen = FrozenBase(base, where, bf16=bf16, compile_=compile_)
    params = DenoiserParams(frozen.channels, width, units=3, heads=width // 32, window=8)
    schedule = CosineSchedule(offset=0.008, minimum=1e-4)
    train_fusion(recipe, frozen, auxiliary, start, params, schedule, lpips, output, where, save_every)
