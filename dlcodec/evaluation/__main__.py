"""python -m dlcodec.evaluation: rate-distortion tables and timings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import typer

from dlcodec import checkpoint
from dlcodec.errors import WeightsError
from dlcodec.evaluation.benchmark import time_compressai, time_fusion, time_stages
from dlcodec.evaluation.curves import Curve, mean_gap, psnr_at, published
from dlcodec.fusion.fuse import Precision, choose_dtype
from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import Device, choose_device, decode_image, encode_image

app = typer.Typer(help="Measure the shipped codec on real files.", add_completion=False, no_args_is_help=True)


@app.command()
def rate_distortion(
    folder: Annotated[Path, typer.Argument(help="Folder of images.")],
    levels: Annotated[str, typer.Option("-q", help="Rate levels, separated by commas.")] = "0,1,2,3,4,5,6,7",
    anchor: Annotated[str, typer.Option(help="Published curve of anchors.json to compare with.")] = "mbt2018-mean",
    output: Annotated[Path | None, typer.Option("-o", help="Also write every image's figures as JSON.")] = None,
) -> None:
    """Encode and decode every image at every level; print mean bpp of the files and mean PSNR."""
    found = checkpoint.find("mean-scale")
    print(f"model {found.short_digest.hex()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("level     bpp     PSNR   against " + anchor)
    reference = published(anchor)
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    rows, means = [], []
    for level in map(float, levels.split(",")):
        figures = []
        for number, path in enumerate(paths):
            if sys.stderr.isatty():
                print(f"\r\x1b[Klevel {level:g}, {number + 1} of {len(paths)}", end="", file=sys.stderr)
            rgb = load(path, DEFAULT_LIMITS)
            data = encode_image(rgb, level, "cpu")
            mse = float(np.square(decode_image(data, 1.0, "cpu").astype(np.float64) - rgb).mean())
            figures.append((8 * len(data) / (rgb.shape[0] * rgb.shape[1]), 10 * np.log10(255**2 / mse)))
            rows.append({"image": path.name, "level": level, "bpp": figures[-1][0], "psnr": figures[-1][1]})
        bpp, psnr = (float(value) for value in np.mean(figures, 0))
        means.append((bpp, psnr))
        print(f"{level:5g} {bpp:7.4f} {psnr:8.3f} {psnr - psnr_at(reference, [bpp])[0]:+8.2f} dB", flush=True)
    if len(means) > 1:
        curve = Curve(*zip(*means, strict=True))
        gap, first, last = mean_gap(curve, reference)
        print(f"mean over {first:.3f} to {last:.3f} bpp: {gap:+.2f} dB against {anchor}")
    if output:
        output.write_text(json.dumps({"model": found.digest, "rows": rows}, indent=1) + "\n")


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
