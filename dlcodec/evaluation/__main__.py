"""python -m dlcodec.evaluation: timings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, cast

import torch
import typer

from dlcodec.errors import WeightsError
from dlcodec.evaluation.benchmark import time_compressai, time_fusion, time_stages
from dlcodec.fusion.fuse import Precision, choose_dtype
from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import Device, choose_device

app = typer.Typer(help="Time the shipped codec.", add_completion=False, no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def benchmark(
    image: Annotated[Path, typer.Argument(help="An image.")],
    level: Annotated[float, typer.Option("-q", help="Rate level; CompressAI gets its whole part.")] = 5.0,
    repeats: Annotated[int, typer.Option(help="Runs of which the median is printed.")] = 7,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of the fusion network: auto, fp32 or bf16.")] = "auto",
) -> None:
    """Median seconds of every stage, warm; on the CPU beside CompressAI's on the same weights."""
    rgb = load(image, DEFAULT_LIMITS)
    where = choose_device(cast(Device, device))
    dtype = choose_dtype(cast(Precision, precision), where)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{image.name}, {rgb.shape[1]} x {rgb.shape[0]}, {name}, torch {torch.__version__}, fusion in {dtype}")
    timings = time_stages(rgb, level, repeats, cast(Device, device))
    try:
        timings.update(time_fusion(rgb, level, repeats, cast(Device, device), cast(Precision, precision)))
    except WeightsError as error:
        print(error, file=sys.stderr)
    try:
        if where.type == "cpu":
            timings.update(time_compressai(rgb, level, max(3, repeats // 2)))
    except (ImportError, RuntimeError) as error:
        print(f"CompressAI does not import here: {error}", file=sys.stderr)
    for stage, seconds in timings.items():
        print(f"{stage:<32} {seconds * 1000:8.1f} ms")


if __name__ == "__main__":
    app()
