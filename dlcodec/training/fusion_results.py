"""The commands that judge and export what stages 2 and 3 made."""

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
from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.lpips import load_lpips
from dlcodec.training.auxiliary_stage import load_auxiliary
from dlcodec.training.export import fusion_parts
from dlcodec.training.frozen import FrozenBase
from dlcodec.training.fusion_commands import Base, Lpips, read_base
from dlcodec.training.fusion_network import TrainableFusion, read_design
from dlcodec.training.perceptual import grain, weave
from dlcodec.training.runs import TrainingRun, current_commit, load_prefixed

app = typer.Typer(add_completion=False)


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
    frozen = FrozenBase(read_base(base).path, cpu, bf16=False, compile_=False)
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
    trained = TrainableFusion(read_design(run), frozen)
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
    found = read_base(base)
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
