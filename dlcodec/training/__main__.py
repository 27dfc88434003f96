"""python -m dlcodec.training: train, validate and export a base codec and its fusion network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from dlcodec import checkpoint
from dlcodec.checkpoint import DEFAULT_FAMILY
from dlcodec.codecs import codec_class
from dlcodec.codecs.hyperprior_network import HyperpriorParams
from dlcodec.console import complain, show
from dlcodec.errors import DlcodecError, UsageError
from dlcodec.families import FAMILIES
from dlcodec.files import refuse_input
from dlcodec.image import load, pad
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import choose_device
from dlcodec.training.base_stage import BaseRecipe, train_base
from dlcodec.training.data import CropSampler, load_tiles
from dlcodec.training.export import export_base
from dlcodec.training.fusion_commands import app as fusion_app
from dlcodec.training.fusion_results import app as fusion_results_app
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
from dlcodec.training.rate_cost import rate_cost as measure_rate_cost
from dlcodec.training.rate_distortion import TrainableCodec
from dlcodec.training.runs import TrainingRun, current_commit, load_prefixed

LADDER = (0.00045, 0.0009, 0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483)
app = typer.Typer(
    help="Train, validate and export codecs.",
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.registered_commands += fusion_app.registered_commands + fusion_results_app.registered_commands
Run = Annotated[Path, typer.Argument(exists=True, help="Training checkpoint.")]


@app.command()
def base(
    output: Output,
    data: Data,
    start: Annotated[Path | None, typer.Option(exists=True, help="Checkpoint to begin from.")] = None,
    steps: Steps = None,
    minutes: Minutes = None,
    batch: Batch = 8,
    crop: Crop = 256,
    reduce: Reduce = 1.0,
    learning_rate: Rate = 1e-3,
    warmup: Annotated[int, typer.Option(help="Steps of linear warm-up.")] = 50,
    clip: Annotated[float, typer.Option(help="Largest gradient norm.")] = 1.0,
    ema: Annotated[float, typer.Option(help="Decay of the moving average.")] = 0.995,
    seed: Annotated[int, typer.Option(help="Of crops, levels and initial weights.")] = 0,
    bf16: Annotated[bool, typer.Option(help="Run the transforms under bf16 autocast.")] = True,
    compile_: Compile = True,
    device: DeviceName = "cpu",
    save_every: SaveEvery = 5.0,
    family: Annotated[
        str, typer.Option(help=f"One of {', '.join(known.name for known in FAMILIES)}.")
    ] = DEFAULT_FAMILY,
) -> None:
    """Train a base codec for eight rate levels."""
    where = choose_device(device)
    if family not in {known.name for known in FAMILIES}:
        raise UsageError(f"family {family!r} is none of {', '.join(known.name for known in FAMILIES)}")
    N, M = codec_class(family).network.channels
    recipe = BaseRecipe(
        family=family,
        data=tuple(map(str, data)),
        lambdas=LADDER,
        N=N,
        M=M,
        batch=batch,
        crop=crop,
        reduce=reduce,
        seed=seed,
        bf16=bf16,
        compile=compile_,
        optimisation=optimisation(learning_rate, warmup, steps, minutes, clip, ema),
    )
    train_base(recipe, output, start, where, save_every)


def _load_run(run: Path) -> tuple[TrainableCodec, dict[str, object]]:
    """The moving average of a base, and how it was made; raises UsageError, WeightsError."""
    found = TrainingRun.read(run)
    found.check_base(None)
    record = {**found.recipe, **found.state}
    tensors = load_prefixed(run, "ema.")
    levels, M = tensors["network.gain"].shape
    family = record.setdefault("family", DEFAULT_FAMILY)  # the first runs name none
    model = TrainableCodec(family, HyperpriorParams(tensors["network.hgain"].shape[1], M, levels)).eval()
    model.load_state_dict(tensors, strict=False)
    return model, record


@app.command()
@torch.inference_mode()
def validate(
    run: Run,
    images: Annotated[Path, typer.Argument(help="Folder of images.")],
    most: Annotated[int, typer.Option(help="Use at most this many.")] = 24,
) -> None:
    """Estimated rate and PSNR of the floating-point network, per level; sides are cut to multiples of 64."""
    model, state = _load_run(run)
    show(f"step {state['step']}, {state['seconds']:.0f} s")
    show("level     bpp   bpp z     PSNR")
    paths = sorted(images.iterdir())[:most]
    for level in range(model.network.params.levels):
        rows = []
        for path in paths:
            rgb = load(path, DEFAULT_LIMITS)
            x = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
            outcome = model(x[:, :, : x.shape[2] // 64 * 64, : x.shape[3] // 64 * 64], torch.tensor([level]), None)
            rows.append([outcome.bpp.item(), outcome.bpp_z.item(), -10 * outcome.mse.log10().item()])
        bpp, bpp_z, psnr = np.mean(rows, 0)
        show(f"{level:5d} {bpp:7.4f} {bpp_z:7.4f} {psnr:8.3f}")


@app.command()
@torch.inference_mode()
def rate_cost(
    run: Run,
    weights: Annotated[Path, typer.Argument(help="The checkpoint that was exported from it.")],
    images: Annotated[Path, typer.Argument(help="Folder of images.")],
) -> None:
    """Bits of y by the integer path and its tables against the floating-point path, per level."""
    model, _ = _load_run(run)
    found = checkpoint.read_metadata(weights)
    codec = codec_class(found.family)(found.config, checkpoint.load_arrays(found), torch.device("cpu"))
    show("level   float path (bits)   integer path   fitted tables")
    for level in range(codec.levels):
        total = np.zeros(3)
        for path in sorted(images.iterdir()):
            x = torch.from_numpy(pad(load(path, DEFAULT_LIMITS), 64)).permute(2, 0, 1)[None].float() / 255
            cost = measure_rate_cost(codec, model.network, x, level)
            total += cost.floating, cost.integer, cost.tables
        change = 100 * (total / total[0] - 1)
        show(f"{level:5d} {total[0]:19.0f} {change[1]:+13.3f} % {change[2]:+13.3f} %")


@app.command()
@torch.no_grad()
def export(
    run: Run,
    output: Annotated[Path, typer.Argument(help="Checkpoint to write, as weights/mean-scale/base.safetensors.")],
    data: Annotated[list[Path], typer.Option(help="Training images on which the tables are fitted; repeatable.")],
    crops: Annotated[int, typer.Option(help="How many crops of them.")] = 800,
    crop: Crop = 256,
    default_level: Annotated[float, typer.Option(help="Level of encode without -q.")] = 5.0,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the output.")] = False,
) -> None:
    """Quantise the networks of the entropy path, fit the tables and write the checkpoint that ships."""
    refuse_input(output, run)
    checkpoint.refuse_overwriting(output, force=force)
    model, record = _load_run(run)
    bottleneck = model.entropy_bottleneck
    medians = bottleneck.quantiles[:, 0, 1]
    fixed = (medians * 256).round() / 256
    grid = torch.arange(-40, 41)[None, None, :] + fixed[:, None, None]
    likelihoods, _, _ = bottleneck._likelihood(grid)
    sampler = CropSampler(load_tiles(data, crop), 1, crop, torch.device("cpu"), seed=1)
    images = ((sampler.batch()[0] * 255).round().to(torch.uint8) for _ in range(crops))
    config, arrays = export_base(
        model.network, medians, likelihoods[:, 0].double().numpy(), LADDER, default_level, images
    )
    arrays.update(
        {f"train.entropy_bottleneck.{n}": t.numpy() for n, t in bottleneck.state_dict().items() if n[0] != "_"}
    )
    record = {**record, "commit": current_commit()}
    digest = checkpoint.save(output, model.network.family, config, arrays, record, force=force)
    show(f"{output}: {checkpoint.read_metadata(output).file_bytes} bytes, digest {digest}")


if __name__ == "__main__":
    try:
        app()
    except DlcodecError as error:
        complain(str(error))
        sys.exit(error.exit_code)
