"""The commands that train stages 2 and 3: auxiliary encoder and fusion network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlcodec import checkpoint
from dlcodec.errors import UsageError
from dlcodec.fusion.blocks import BlockPlace
from dlcodec.fusion.denoiser import DenoiserParams
from dlcodec.fusion.schedule import CosineSchedule
from dlcodec.loading import choose_device
from dlcodec.selection import base_to_encode
from dlcodec.training.auxiliary_stage import train_auxiliary
from dlcodec.training.frozen import FrozenBase
from dlcodec.training.fusion_network import FusionDesign, places_of, rank_of
from dlcodec.training.fusion_recipe import FusionRecipe, Noised
from dlcodec.training.fusion_stage import train_fusion
from dlcodec.training.options import (
    Batch,
    Compile,
    Crop,
    Data,
    DeviceName,
    Minutes,
    Output,
    Rate,
    Reduce,
    SaveEvery,
    Steps,
    optimisation,
)

app = typer.Typer(add_completion=False)


Base = Annotated[
    Path, typer.Option(help="The base checkpoint, frozen: its file, or a folder of weights with one base.")
]
Lpips = Annotated[Path, typer.Option(exists=True, help="LPIPS-alex weights, safetensors.")]
Distortion = Annotated[float, typer.Option(help="Weight of ln MSE; LPIPS weighs 1.")]
Seed = Annotated[int, typer.Option(help="Of crops, times, noise and initial weights.")]
Bf16 = Annotated[bool, typer.Option(help="Run the networks under bf16 autocast.")]


def read_base(path: Path) -> checkpoint.Checkpoint:
    """A base by its file or its folder, never a family; raises UsageError, WeightsError."""
    return base_to_encode(f"{path}/" if path.is_dir() else str(path))


def _places(text: str, base: FrozenBase) -> list[BlockPlace]:
    """What ``--blocks`` says; raises UsageError."""
    if text == "none":
        return []
    try:
        pairs = [[int(number) for number in item.split(":")] for item in text.split(",")]
        return [base.place(after, hidden) for after, hidden in pairs]
    except ValueError as error:
        raise UsageError(f"blocks {text!r}: give layer and channels, as in 1:128,3:48") from error


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
    reduce: Reduce = 1.0,
    learning_rate: Rate = 3e-4,
    distortion: Distortion = 0.02,
    seed: Seed = 0,
    bf16: Bf16 = True,
    compile_: Compile = True,
    device: DeviceName = "cpu",
    save_every: SaveEvery = 5.0,
) -> None:
    """Stage 2: train the auxiliary encoder against the frozen synthesis."""
    where = choose_device(device)
    how = optimisation(learning_rate, 20, steps, minutes)
    names = tuple(map(str, data))
    recipe = FusionRecipe(
        data=names,
        batch=batch,
        crop=crop,
        reduce=reduce,
        seed=seed,
        bf16=bf16,
        compile=compile_,
        distortion=distortion,
        smoothness=0.0,
        adversarial=0.0,
        latent=0.0,
        rising=1.0,
        noised="nothing",
        between=0.0,
        optimisation=how,
    )
    frozen = FrozenBase(read_base(base).path, where, bf16=bf16, compile_=compile_)
    train_auxiliary(recipe, frozen, lpips, output, where, save_every)


@app.command()
def fusion(
    output: Output,
    base: Base,
    data: Data,
    lpips: Lpips,
    auxiliary: Annotated[Path | None, typer.Option(exists=True, help="Checkpoint of stage 2.")] = None,
    start: Annotated[Path | None, typer.Option(exists=True, help="Fusion training checkpoint to begin from.")] = None,
    steps: Steps = None,
    minutes: Minutes = None,
    batch: Batch = 8,
    crop: Crop = 256,
    reduce: Reduce = 1.0,
    learning_rate: Rate = 1e-3,
    distortion: Distortion = 0.02,
    smoothness: Annotated[
        float, typer.Option(help="Weight of grain and regular patterns that the original lacks.")
    ] = 0.0,
    adversarial: Annotated[float, typer.Option(help="Weight of a patch discriminator that is trained along.")] = 0.0,
    latent: Annotated[float, typer.Option(help="Weight of the distance to the auxiliary latent.")] = 0.1,
    rising: Annotated[
        float, typer.Option(help="Weight of the last level's crops, where the first level's is 1.")
    ] = 1.0,
    noised: Annotated[Noised, typer.Option(help="What the noise is added to.")] = "decoded",
    between: Annotated[
        float, typer.Option(min=0, max=1, help="Share of crops judged at a tau between 0 and 1, the others at 0.")
    ] = 0.0,
    width: Annotated[int, typer.Option(help="Channels of the denoiser.")] = 160,
    rank: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Rank of the change of the synthesis' weights; 0 for none.",
            show_default="that of --start, or 16",
        ),
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER:CHANNELS,...",
            help="Residual blocks after these layers of the synthesis, with so many channels inside; none for none.",
            show_default="those of --start, or none",
        ),
    ] = None,
    seed: Seed = 0,
    bf16: Bf16 = True,
    compile_: Compile = True,
    device: DeviceName = "cpu",
    save_every: SaveEvery = 5.0,
) -> None:
    """Stage 3: train the fusion network; every other network is frozen."""
    if auxiliary is None and (latent or noised == "auxiliary"):
        raise UsageError("give --auxiliary, or --latent 0 and something else to noise")
    where = choose_device(device)
    how = optimisation(learning_rate, 50, steps, minutes)
    names = tuple(map(str, data))
    recipe = FusionRecipe(
        data=names,
        batch=batch,
        crop=crop,
        reduce=reduce,
        seed=seed,
        bf16=bf16,
        compile=compile_,
        distortion=distortion,
        smoothness=smoothness,
        adversarial=adversarial,
        latent=latent,
        rising=rising,
        noised=noised,
        between=between,
        optimisation=how,
    )
    frozen = FrozenBase(read_base(base).path, where, bf16=bf16, compile_=compile_)
    try:
        params = DenoiserParams(frozen.channels, width, units=3, heads=width // 32, window=8)
    except ValueError as error:
        raise UsageError(f"width {width}: {error}") from error
    begun = output if output.exists() else start
    if rank is None:
        rank = rank_of(begun) if begun else 16
    if begun and blocks is None:
        places = [frozen.place(place.after, place.hidden) for place in places_of(begun)]
    else:
        places = _places("none" if blocks is None else blocks, frozen)
    design = FusionDesign(params, rank, tuple(places), CosineSchedule(offset=0.008, minimum=1e-4))
    train_fusion(recipe, frozen, design, lpips, output, where, save_every, auxiliary=auxiliary, start=start)
