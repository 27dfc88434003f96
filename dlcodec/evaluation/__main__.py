"""python -m dlcodec.evaluation: timings, the pixel blend as the baseline of tau, crops for documents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, cast

import torch
import typer

from dlcodec.errors import WeightsError
from dlcodec.evaluation.benchmark import time_compressai, time_fusion, time_stages
from dlcodec.evaluation.blend import measure_blend, on_the_line
from dlcodec.evaluation.crops import crop_strip
from dlcodec.evaluation.metrics import load_measure
from dlcodec.fusion.fuse import Precision, choose_dtype
from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import Device, choose_device

app = typer.Typer(
    help="Time the shipped codec; compare tau with a pixel blend.", add_completion=False, no_args_is_help=True
)


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


@app.command(name="blend")
def compare_blend(
    folder: Annotated[Path, typer.Argument(help="Folder of images.")],
    metric_weights: Annotated[Path, typer.Option(envvar="DLCODEC_METRIC_WEIGHTS", help="Folder of LPIPS weights.")],
    level: Annotated[float, typer.Option("-q", help="Rate level.")] = 3.0,
) -> None:
    """Tau in the latent against blending the pictures of tau 0 and tau 1: LPIPS at equal PSNR."""
    metrics = {name: load_measure(name, "cpu", metric_weights) for name in ("psnr", "lpips-alex", "lpips-squeeze")}
    images = [load(path, DEFAULT_LIMITS) for path in sorted(folder.iterdir()) if path.is_file()]
    points = measure_blend(images, level, [n / 10 for n in range(11)], metrics)
    print(f"{folder.name}, {len(images)} images, level {level:g}")
    print("tau   latent: PSNR    alex  squeeze   pixel blend at that PSNR: alex  squeeze")
    for point in points:
        latent = point.latent
        alex, squeeze = (on_the_line(points, latent["psnr"], name) for name in ("lpips-alex", "lpips-squeeze"))
        figures = f"{latent['psnr']:12.3f}  {latent['lpips-alex']:.4f}   {latent['lpips-squeeze']:.4f}"
        print(f"{point.tau:3.1f} {figures} {alex:31.4f}   {squeeze:.4f}")


@app.command()
def crops(
    image: Annotated[Path, typer.Argument(help="An image.")],
    output: Annotated[Path, typer.Option("-o", help="Picture to write; WebP is kept lossless.")],
    box: Annotated[str, typer.Option(help="LEFT,TOP,RIGHT,BOTTOM in pixels.")],
    level: Annotated[float, typer.Option("-q", help="Rate level.")] = 3.0,
    taus: Annotated[str, typer.Option("--tau", help="Values of tau.")] = "1,0.5,0",
    zoom: Annotated[int, typer.Option(help="Screen pixels to a pixel.")] = 2,
) -> None:
    """The original and its decodes along tau, cropped, side by side."""
    left, top, right, bottom = map(int, box.split(","))
    values = [float(tau) for tau in taus.split(",")]
    strip = crop_strip(load(image, DEFAULT_LIMITS), level, values, (left, top, right, bottom), zoom)
    strip.save(output, lossless=True)  # what WebP needs to be told, and other formats do not mind


if __name__ == "__main__":
    app()
