"""The images a metric likes least and most, decoded once more and cropped where the error is largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcodec.container import unpack
from dlcodec.errors import InputError, WeightsError
from dlcodec.evaluation.curves import at_main_setting
from dlcodec.evaluation.metrics import METRICS
from dlcodec.evaluation.plots import middle_level
from dlcodec.evaluation.results import OURS, Row, Run, image_path, stream_path
from dlcodec.evaluation.run import read_image
from dlcodec.files import read_bounded
from dlcodec.installed import find_fusion
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import RGB
from dlcodec.pipeline import decode_images
from dlcodec.selection import base_to_decode
from dlcodec.windows import most_different


@dataclass(frozen=True, slots=True)
class Example:
    """Crops of one image, at most ``windows.SIDE`` pixels a side: the original and then each tau."""

    title: str
    crops: tuple[tuple[str, RGB], ...]


def pick(run: Run) -> list[tuple[str, Row]]:
    """For every metric the worst and the best image, at the middle level and the lowest tau, with a title each."""
    level = middle_level(run)
    rows = [row for row in run.rows if row.point.codec == OURS and row.point.quality == level]
    tau = min(row.point.tau or 0.0 for row in rows)
    at_tau = at_main_setting(run, [row for row in rows if row.point.tau == tau])
    chosen = []
    for metric in (name for name in run.settings.metrics if name in at_tau[0].metrics):
        ranked = sorted(at_tau, key=lambda row: row.metrics[metric], reverse=METRICS[metric].higher_is_better)
        for word, row in (("worst", ranked[-1]), ("best", ranked[0])):
            figures = f"{row.metrics[metric]:.4g} at level {level:g}, tau {tau:g}, {row.bpp:.3f} bpp"
            chosen.append((f"{METRICS[metric].label}, {word}: {row.image}, {figures}", row))
    return chosen


def crop(run: Run, folder: Path, title: str, row: Row, model: str | None) -> Example:
    """Decode the row's file at its tau and at 1 and crop both where the former is farthest from the original.

    ``folder`` is that of the results, ``model`` as for ``base_to_decode``. Raises DlcodecError when the original, the
    file or the weights are gone.
    """
    path = image_path(Path(run.settings.source), row.image)
    original, digest = read_image(path)
    if digest != row.sha256:
        raise InputError(f"{path} is another picture than the one that was measured")
    data = read_bounded(stream_path(folder, row.image, row.point.quality), DEFAULT_LIMITS.file_bytes)
    file = unpack(data, DEFAULT_LIMITS)
    taus: Sequence[float] = sorted({row.point.tau or 0.0, 1.0})
    base, fusion = base_to_decode(model, file.header.family, file.header.model_digest), run.settings.fusion
    if fusion and fusion != find_fusion(base).digest:
        raise WeightsError(f"the fusion weights that were measured, {fusion[:16]}, are not those of {base.path}")
    pictures = list(decode_images(file, taus, steps=row.point.steps, seed=row.point.seed or 0, base=base))
    window = most_different(original, pictures[:1])
    decoded = ((f"tau {tau:g}", picture[window]) for tau, picture in zip(taus, pictures, strict=True))
    return Example(title, (("original", original[window]), *decoded))
