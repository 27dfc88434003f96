"""The command ``bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlcodec.arguments import Precision
from dlcodec.cli.options import Device, Model
from dlcodec.console import show


def bench(
    picture: Annotated[
        Path | None, typer.Argument(metavar="IMG", help="An image; without it the bundled photograph, mirrored.")
    ] = None,
    model: Model = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="kodak (768x512), 1080p, 4k or WIDTHxHEIGHT: cut, or filled up with mirror images.",
            show_default="the image's own, else kodak",
        ),
    ] = None,
    level: Annotated[
        float | None, typer.Option("--level", "-q", metavar="LEVEL", help="Rate level.", show_default="5")
    ] = None,
    tau: Annotated[float, typer.Option(metavar="TAU", help="0 (realism) to 1 (fidelity).")] = 0.0,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of the fusion sampler, 1 to 50.", show_default="the model's")
    ] = None,
    precision: Annotated[Precision, typer.Option(help="As for encode and decode.")] = "auto",
    device: Device = "auto",
    repeats: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Runs whose median is shown.")] = 7,
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="PEER", help="Beside ours, in turns: compressai, jxl or avif; may be repeated."),
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Also whole commands, each in a new process.")] = False,
    batch: Annotated[
        int, typer.Option(metavar="N", min=0, max=9999, help="Also one decode of N files against N cold ones.")
    ] = 0,
    sweep: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="Also cost against pixels, 0.1 to 50 megapixels, for so long."),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time every stage of encode and decode, and say on what."""
    from dlcodec.bench.measure import Wanted, measure
    from dlcodec.bench.subject import choose_subject
    from dlcodec.bench.table import as_lines
    from dlcodec.selection import base_to_encode

    subject = choose_subject(
        base_to_encode(model),
        picture,
        size,
        level=level,
        tau=tau,
        steps=steps,
        device=device,
        precision=precision,
    )
    report = measure(subject, Wanted(repeats, tuple(peer or ()), cold, batch, sweep))
    if as_json:
        import json
        from dataclasses import asdict

        show(json.dumps(asdict(report)))
    else:
        show("\n".join(as_lines(report)))
