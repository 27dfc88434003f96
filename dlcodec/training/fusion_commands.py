"""The commands of stages 2 and 3: auxiliary encoder and fusion network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from dlcodec import checkpoint
from dlcodec.arguments import MOST_STEPS
from dlcodec.console import show
from dlcodec.errors import UsageError
from dlcodec.files import refuse_input
from dlcodec.fusion.blocks import BlockPlace
from dlcodec.fusion.denoiser import DenoiserParams
from dlcodec.fusion.schedule import CosineSchedule
from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import choose_device
from dlcodec.lpips import load_lpips
from dlcodec.selection import base_to_encode
from dlcodec.training.export import fusion_parts
from dlcodec.training.frozen import FrozenBase
from dlcodec.training.fusion_network import TrainableFusion, places_of, rank_of
from dlcodec.training.fusion_stages import (
    FusionRecipe,
    Noised,
    load_auxiliary,
    train_auxiliary,
    train_fusion,
)
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
from dlcodec.training.perceptual import grain, weave
from dlcodec.training.runs import TrainingRun, current_commit, load_prefixed

app = typer.Typer(add_completion=False)


Base = Annotated[
    Path, typer.Option(help="The base checkpoint, frozen: its file, or a folder of weights with one base.")
]
Lpips = Annotated[Path, typer.Option(exists=True, help="LPIPS-alex weights, safetensors.")]
Distortion = Annotated[float, typer.Option(help="Weight of ln MSE; LPIPS weighs 1.")]
Seed = Annotated[int, typer.Option(help="Of crops, times, noise and initial weights.")]
Bf16 = Annotated[bool, typer.Option(help="Run the networks under bf16 autocast.")]


def _base(path: Path) -> checkpoint.Checkpoint:
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
    frozen = FrozenBase(_base(base).path, where, bf16=bf16, compile_=compile_)
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
    frozen = FrozenBase(_base(base).path, where, bf16=bf16, compile_=compile_)
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
    schedule = CosineSchedule(offset=0.008, minimum=1e-4)
    train_fusion(recipe, frozen, auxiliary, start, params, rank, places, schedule, lpips, output, where, save_every)


@app.command()
@torch.no_grad()
def validate_fusion(
    run: Annotated[Path, typer.Argument(exists=True, help="Training checkpoint of stage 2 or 3.")],
    images: Annotated[Path, typer.Argument(exists=True, help="Folder of images.")],
    base: Base,
    lpips: Lpips,
    levels: Annotated[
        str, typer.Option("-q", help="Rate levels, separated by commas.", show_default="1,3,5, or 0 where there is one")
    ] = "",
    most: Annotated[int, typer.Option(help="Use at most this many images.")] = 24,
) -> None:
    """How far the floating-point networks come: stage 2's upper bound, or stage 3 in one step of its sampler.

    Prints PSNR, LPIPS, and how far grain and weave exceed those of the original.
    """
    cpu = torch.device("cpu")
    frozen = FrozenBase(_base(base).path, cpu, bf16=False, compile_=False)
    metric = load_lpips("alex", lpips)
    found = TrainingRun.read(run)
    found.check_base(frozen.digest)
    show(f"step {found.steps}")
    pictures = []
    for path in sorted(images.iterdir())[:most]:
        rgb = torch.from_numpy(load(path, DEFAULT_LIMITS)).permute(2, 0, 1)[None].float() / 255
        pictures.append(rgb[:, :, : rgb.shape[2] // 64 * 64, : rgb.shape[3] // 64 * 64])

    def judge(name: str, decode: Callable[[Tensor], Tensor]) -> None:
        rows = []
        for x in pictures:
            x_hat = decode(x).clamp(0, 1)
            psnr = -10 * (x - x_hat).square().mean().log10()
            excess = [(f(x_hat) - f(x)).relu().mean().item() for f in (grain, weave)]
            rows.append([psnr.item(), metric(x * 2 - 1, x_hat * 2 - 1).item(), *excess])
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        show(f"{name:<18} PSNR {means[0]:7.3f}   LPIPS {means[1]:.4f}   grain {means[2]:.3f}   weave {means[3]:.3f}")

    if not found.is_fusion:
        encoder = load_auxiliary(run, frozen)
        judge("g_s(g_a(x))", lambda x: frozen.synthesise(frozen.unquantised(x)))
        judge("g_s(g_a'(x))", lambda x: frozen.synthesise(encoder(x)))
        return
    params, rank = DenoiserParams(**found.recipe["params"]), found.recipe.get("rank", 0)
    trained = TrainableFusion(params, frozen, rank, places_of(run))
    trained.load_state_dict(load_prefixed(run, "ema."))
    frozen.attach(trained.placed_blocks())
    torch.manual_seed(0)
    for q in map(float, (levels or ("1,3,5" if frozen.levels > 1 else "0")).split(",")):
        level, one = torch.tensor([q]), torch.ones(1)

        def plain(x: Tensor, level: Tensor = level) -> Tensor:
            return frozen.synthesise(frozen.decode(frozen.analyse(x), level))

        def transform(x: Tensor, level: Tensor = level, one: Tensor = one) -> Tensor:
            y_hat = trained.standardise(frozen.decode(frozen.analyse(x), level))
            share = level / max(1, frozen.levels - 1)
            clean = trained(torch.randn_like(y_hat), y_hat, one, share)
            return frozen.synthesise(trained.restore(clean), trained.adapters(share), trained.amounts(share, one))

        judge(f"level {q:g}, tau 1", plain)
        judge(f"level {q:g}, tau 0", transform)


@app.command()
def export_fusion(
    run: Annotated[Path, typer.Argument(exists=True, help="Training checkpoint of stage 3.")],
    base: Base,
    output: Annotated[
        Path | None,
        typer.Argument(help="Checkpoint to write.", show_default="fusion.safetensors beside the base"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=MOST_STEPS, help="Default steps of the sampler.")] = 10,
    strength: Annotated[
        float, typer.Option(min=0, max=1, help="What of the trained change tau 0 stands for.", show_default="all")
    ] = 1.0,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the output.")] = False,
) -> None:
    """Write the fusion checkpoint that ships: the moving average in float16, tied to its base by digest."""
    found = _base(base)
    if output is None:
        name = found.path.name
        output = found.path.with_name(f"fusion{name.removeprefix('base') if name.startswith('base') else f'-{name}'}")
    for source in (found.path, run):
        refuse_input(output, source)
    checkpoint.refuse_overwriting(output, force=force)
    trained = TrainingRun.read(run)
    trained.check_base(found.digest)
    if not trained.is_fusion:
        raise UsageError(f"{run} is no fusion network but an auxiliary encoder")
    recipe = dict(trained.recipe)
    config, arrays = fusion_parts(
        load_prefixed(run, "ema."),
        found.digest,
        recipe.pop("params"),
        recipe.pop("schedule"),
        steps,
        strength,
        recipe.pop("blocks", ()),
    )
    record = {**recipe, **trained.state, "strength": strength, "commit": current_commit()}
    digest = checkpoint.save(output, found.family, config, arrays, record, force=force)
    show(f"{output}: {checkpoint.read_metadata(output).file_bytes} bytes, digest {digest}")
