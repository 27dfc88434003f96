"""python -m dlcodec.evaluation: timings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from dlcodec.evaluation.benchmark import time_compressai, time_stages
from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS

app = typer.Typer(help="Time the shipped codec.", add_completion=False, no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def benchmark(
    image: Annotated[Path, typer.Argument(help="An image.")],
    level: Annotated[float, typer.Option("-q", help="Rate level; CompressAI gets its whole part.")] = 5.0,
    repeats: Annotated[int, typer.Option(help="Runs of which the median is printed.")] = 7,
) -> None:
    """Median seconds of every stage, warm, on the CPU, beside CompressAI's on the same weights."""
    rgb = load(image, DEFAULT_LIMITS)
    print(
        f"{image.name}, {rgb.shape[1]} x {rgb.shape[0]}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    timings = time_stages(rgb, level, repeats)
    try:
        timings.update(time_compressai(rgb, level, max(3, repeats // 2)))
    except (ImportError, RuntimeError) as error:
        print(f"CompressAI does not import here: {error}", file=sys.stderr)
    for name, seconds in timings.items():
        print(f"{name:<32} {seconds * 1000:8.1f} ms")


if __name__ == "__main__":
    app()
