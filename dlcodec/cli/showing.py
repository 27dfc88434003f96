"""The commands that show and measure: ``demo``, ``explore``, ``eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlcodec.cli.options import Device, Force, MaxPixels, Model, count_steps, parse_taus
from dlcodec.console import say


def demo(
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the files go.")] = Path(
        "dlcodec-demo"
    ),
    level: Annotated[
        float | None,
        typer.Option(
            "--level", "-q", metavar="LEVEL", help="Rate level, 0 to 7.", show_default="3, or the model's last"
        ),
    ] = None,
    model: Model = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Round-trip a bundled photograph: write the .dlc, decodes at tau 1, .5 and 0, and all of them side by side."""
    from dlcodec.cli.measures import find_lpips
    from dlcodec.demo import run_demo
    from dlcodec.selection import base_to_encode

    run_demo(folder, base_to_encode(model), level, device, find_lpips(), force=force)


def evaluate(context: typer.Context) -> None:
    """Measure the codec and its peers on a folder of images; plots, comparisons and a report. See eval --help."""
    from dlcodec.evaluation.commands import app as evaluation

    raise typer.Exit(evaluation(context.args, prog_name="dlcodec eval", standalone_mode=False) or 0)


def explore(
    source: Annotated[Path, typer.Argument(metavar="IN.dlc", help="The file to look into.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.html", help="The page to write.")],
    original: Annotated[
        Path | None, typer.Option("--original", metavar="IMG", help="The picture that was encoded, to compare with.")
    ] = None,
    tau: Annotated[
        str | None,
        typer.Option(metavar="TAU[,TAU...]", help="Values of tau; 1 is always added.", show_default="0,0.1,...,1"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of the fusion sampler, 1 to 50.", show_default="the model's")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the sampler's noise.")] = 0,
    model: Model = None,
    max_mb: Annotated[float, typer.Option(metavar="MB", help="The most that the page may take, in 10^6 bytes.")] = 24.0,
    device: Device = "auto",
    force: Force = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Write a page that shows a .dlc file along tau: a slider, comparisons, a map of what was invented."""
    from dlcodec.explore.command import choose_taus, run_explore
    from dlcodec.limits import DEFAULT_LIMITS

    taus = choose_taus(None if tau is None else parse_taus(tau))
    page = run_explore(
        source,
        output,
        original=original,
        taus=taus,
        model=model,
        steps=steps,
        seed=seed,
        most_megabytes=max_mb,
        device=device,
        force=force,
        limits=DEFAULT_LIMITS.allow(max_pixels, None),
        count_steps=count_steps,
    )
    kept = "lossless" if page.quality == 100 else f"WebP quality {page.quality}"
    say(f"{output}: {len(taus)} values of tau, {len(page.data) / 1e6:.1f} MB, pictures {kept}")
