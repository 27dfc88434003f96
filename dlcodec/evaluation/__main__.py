"""python -m dlcodec.evaluation: the pixel blend as the baseline of tau, crops for documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlcodec.evaluation.blend import measure_blend, on_the_line
from dlcodec.evaluation.crops import crop_strip
from dlcodec.evaluation.metrics import load_measure
from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS

app = typer.Typer(
    help="Compare tau with a pixel blend; cut crops for documents.", add_completion=False, no_args_is_help=True
)


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
