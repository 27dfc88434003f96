"""The baseline that tau in the latent has to beat: blending two finished pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlcodec.container import unpack
from dlcodec.evaluation.metrics import Measure, load_measure
from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import RGB
from dlcodec.pipeline import decode_images, encode_image


@dataclass(frozen=True, slots=True)
class BlendPoint:
    """Means over the images at one tau: in the latent, and of the pixel blend of weight tau^2."""

    tau: float
    latent: Mapping[str, float]
    pixels: Mapping[str, float]


def blend(realistic: RGB, faithful: RGB, weight: float) -> RGB:
    """``(1 - weight) * realistic + weight * faithful``, rounded; all (H, W, 3) uint8, ``weight`` in [0, 1]."""
    mixed = (1 - weight) * realistic.astype(np.float64) + weight * faithful
    return np.rint(mixed).astype(np.uint8)


def measure_blend(
    images: Sequence[RGB], level: float, taus: Sequence[float], metrics: Mapping[str, Measure]
) -> list[BlendPoint]:
    """Both ways at every tau; two syntheses serve all pixel blends, the latent way takes one synthesis each."""
    sums = np.zeros((len(taus), 2, len(metrics)))
    for rgb in images:
        file = unpack(encode_image(rgb, level), DEFAULT_LIMITS)
        *decoded, realistic, faithful = decode_images(file, (*taus, 0.0, 1.0))
        for row, (tau, latent) in enumerate(zip(taus, decoded, strict=True)):
            for way, picture in enumerate((latent, blend(realistic, faithful, tau * tau))):
                sums[row, way] += [measure(rgb, picture) for measure in metrics.values()]
    means = sums / len(images)
    return [
        BlendPoint(tau, *(dict(zip(metrics, map(float, means[row, way]), strict=True)) for way in range(2)))
        for row, tau in enumerate(taus)
    ]


def on_the_line(points: Sequence[BlendPoint], psnr: float, metric: str) -> float:
    """What the pixel blend gives in ``metric`` at this PSNR, between its measured points."""
    line = np.array(sorted((point.pixels["psnr"], point.pixels[metric]) for point in points))
    return float(np.interp(psnr, line[:, 0], line[:, 1]))


def blend_table(images: Sequence[Path], level: float, metric_weights: Path) -> str:
    """Eleven values of tau as Markdown: both LPIPS of tau in the latent, and of the blend at the same PSNR."""
    measures = {name: load_measure(name, "cpu", metric_weights) for name in ("psnr", "lpips-alex", "lpips-squeeze")}
    pictures = [load(path, DEFAULT_LIMITS) for path in images]
    points = measure_blend(pictures, level, [n / 10 for n in range(11)], measures)
    lines = ["| tau | PSNR (dB) | LPIPS-alex | LPIPS-squeeze | blend: alex | squeeze |", "|---|---|---|---|---|---|"]
    for point in points:
        latent = point.latent
        figures = (latent[name] for name in ("lpips-alex", "lpips-squeeze"))
        line = (on_the_line(points, latent["psnr"], name) for name in ("lpips-alex", "lpips-squeeze"))
        cells = (f"{point.tau:g}", f"{latent['psnr']:.3f}", *(f"{value:.4f}" for value in (*figures, *line)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
