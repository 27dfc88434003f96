"""One evaluation: every image through every point, in rows that are written as they are made."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from dlcodec.container import unpack
from dlcodec.errors import DlcodecError, OutputError, UsageError
from dlcodec.evaluation.curves import point_name
from dlcodec.evaluation.patch_fid import Features
from dlcodec.evaluation.plan import Plan, list_images
from dlcodec.evaluation.results import (
    IDENTITY,
    OURS,
    Failure,
    Point,
    Row,
    Settings,
    csv_text,
    image_path,
    mean_rows,
    read_run,
    stream_path,
    write_run,
)
from dlcodec.files import make_folder, read_bounded, readable, write_atomically
from dlcodec.image import read_opaque
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import RGB
from dlcodec.pipeline import decode_images, encode_image


def file_digest(path: Path) -> str:
    """The first 16 hex digits of an image file's SHA-256; raises InputError, LimitError."""
    return _digest(read_bounded(path, DEFAULT_LIMITS.file_bytes))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def read_image(path: Path) -> tuple[RGB, str]:
    """The pixels of an opaque image file, (H, W, 3) uint8 sRGB, and its ``file_digest``, of the same bytes.

    Raises InputError, LimitError.
    """
    data = read_bounded(path, DEFAULT_LIMITS.file_bytes)
    return read_opaque(data, str(path), DEFAULT_LIMITS), _digest(data)


def resume(plan: Plan, settings: Settings) -> tuple[list[Row], Settings]:
    """The rows that the output folder already has, which is made where it is missing, and the settings of all rows.

    The settings are those given, with what earlier rows needed of fusion weights where none are needed now.
    Raises UsageError when they were made with other settings or of other images, InputError when they are damaged,
    OutputError when the folder cannot be made.
    """
    make_folder(plan.output)
    if not (plan.output / "results.json").exists():
        return [], settings
    earlier = read_run(plan.output)
    names = [*IDENTITY, *(["fusion"] if earlier.settings.fusion and settings.fusion else [])]
    for name in names:
        old, new = getattr(earlier.settings, name), getattr(settings, name)
        if name == "versions":  # what came or went between the two was of no use to one of them
            both = old.keys() & new.keys()
            old, new = ({package: each[package] for package in sorted(both)} for each in (old, new))
        if (sorted(old) != sorted(new)) if name == "metrics" else (old != new):
            raise UsageError(f"{plan.output} was begun with {name} {old}, now it is {new}; choose another folder")
    for metric, old in earlier.settings.metric_weights.items():
        if (new := settings.metric_weights.get(metric, old)) != old:
            was = f"was begun with {metric} weights {old}, now they are {new}"
            raise UsageError(f"{plan.output} {was}; choose another folder")
    for image, digest in {row.image: row.sha256 for row in earlier.rows}.items():
        path = image_path(plan.source, image)
        if not path.is_file() or file_digest(path) != digest:
            raise UsageError(f"{plan.output} has rows of another {image} than {path}; choose another folder")
    kept = {name: getattr(settings, name) or getattr(earlier.settings, name) for name in ("fusion", "default_steps")}
    weights = {**earlier.settings.metric_weights, **settings.metric_weights}
    versions = {**earlier.settings.versions, **settings.versions}
    settings = replace(settings, metrics=earlier.settings.metrics, metric_weights=weights, versions=versions)
    return list(earlier.rows), replace(settings, **kept)


def code(
    plan: Plan, image: Path, rgb: RGB, points: Sequence[Point], *, coded: bool
) -> Iterator[tuple[Point, int, RGB]]:
    """Encode a picture, once, for points that differ in tau alone, and decode it for each; yields file sizes too.

    ``coded`` says that rows of this image and quality exist, so that its .dlc file need not be made again.
    """
    first = points[0]
    if first.codec != OURS:
        yield first, *plan.peers[first.codec].code(rgb, first.quality)
        return
    path = stream_path(plan.output, readable(image.name), first.quality)
    if coded and path.is_file():
        data = read_bounded(path, DEFAULT_LIMITS.file_bytes)
    else:
        data = encode_image(rgb, first.quality, plan.device, base=plan.base, effort=plan.effort)
        make_folder(path.parent)
        write_atomically(path, data, force=True)
    file = unpack(data, DEFAULT_LIMITS)
    taus = [point.tau for point in points if point.tau is not None]
    pictures = decode_images(file, taus, plan.device, steps=first.steps, seed=first.seed or 0, base=plan.base)
    for point, picture in zip(points, pictures, strict=True):
        yield point, len(data), picture


def _features_path(plan: Plan, image: str, point: Point | None) -> Path:
    parts = (point.codec, point.quality, point.tau, point.steps, point.seed) if point else ("original",)
    return plan.output / "fid" / image / ("_".join("" if part is None else f"{part}" for part in parts) + ".npy")


def _keep_features(plan: Plan, image: str, point: Point | None, rgb: RGB) -> None:
    if plan.fid is not None:
        stream = io.BytesIO()
        np.save(stream, plan.fid.features(rgb))
        path = _features_path(plan, image, point)
        make_folder(path.parent)
        write_atomically(path, stream.getvalue(), force=True)


def measure_image(plan: Plan, image: Path, done: Sequence[Row]) -> Iterator[Row | Failure]:
    """Rows of one image at the points that ``done``, its rows so far, lacks; a Failure for what cannot be coded."""
    name = readable(image.name)
    have = {row.point for row in done}
    missing = [point for point in plan.points if point not in have]
    if not missing:
        return
    try:
        rgb, digest = read_image(image)
        _keep_features(plan, name, None, rgb)
    except OutputError:
        raise
    except Exception as error:  # whatever is wrong with one image, the others go on
        yield _failure(name, error, len(missing))
        return
    height, width = rgb.shape[:2]
    for _, group in groupby(missing, lambda point: (point.codec, point.quality, point.steps, point.seed)):
        points = list(group)
        first, finished = points[0], 0
        coded = any((point.codec, point.quality) == (first.codec, first.quality) for point in have)
        try:
            for point, size, picture in code(plan, image, rgb, points, coded=coded):
                values = {metric: measure(rgb, picture) for metric, measure in plan.measures.items()}
                _keep_features(plan, name, point, picture)
                have.add(point)
                finished += 1
                bpp = 8 * size / (width * height)
                yield Row(name, 1, digest, width, height, point, size, bpp, values)
        except OutputError:
            raise
        except Exception as error:  # as above
            what = f"{name}, {first.codec} quality {first.quality:g}"
            yield _failure(what, error, len(points) - finished)


def _failure(what: str, error: Exception, points: int) -> Failure:
    reason = str(error) if isinstance(error, DlcodecError) else f"{type(error).__name__}: {error}"
    exit_code = error.exit_code if isinstance(error, DlcodecError) else 1
    return Failure(what, readable(reason), exit_code, points)


def _set_metrics(plan: Plan, rows: Sequence[Row]) -> tuple[dict[Point, dict[str, float]], list[Failure]]:
    """FID of every point over the images that were measured, and a Failure for each point where it cannot be had."""
    if plan.fid is None:
        return {}, []
    images: dict[Point, list[str]] = {}
    for row in rows:
        images.setdefault(row.point, []).append(row.image)

    def features(names: list[str], point: Point | None) -> list[Features]:
        return [np.load(_features_path(plan, name, point)) for name in names]

    found: dict[Point, dict[str, float]] = {}
    failures = []
    for point, names in images.items():
        try:
            found[point] = {"fid": plan.fid.distance(features(names, None), features(names, point))}
        except Exception as error:  # the rows of the images are whole without it
            failures.append(_failure(f"fid, {point_name(point)} quality {point.quality:g}", error, 0))
    return found, failures


def evaluate(
    plan: Plan, settings: Settings, earlier: Sequence[Row], known: Sequence[Failure]
) -> Iterator[Row | Failure]:
    """Measure what ``earlier`` rows lack; yields each new row after it was written, and each failure.

    ``results.json`` is whole when the iterator ends; ``known`` failures are listed in it first. Raises OutputError.
    """
    rows, failures = list(earlier), list(known)
    write_run(plan.output, settings, rows, [], failures)
    try:
        with (plan.output / "results.csv").open("a", encoding="utf-8", newline="") as stream:
            for image in list_images(plan.source):
                for event in measure_image(plan, image, [row for row in rows if row.image == readable(image.name)]):
                    if isinstance(event, Row):
                        rows.append(event)
                        stream.write(csv_text([event], settings.metrics, header=False))
                        stream.flush()
                    else:
                        failures.append(event)
                    yield event
    except OSError as error:
        raise OutputError(f"cannot write into {plan.output}: {error.strerror or error}") from error
    rows.sort(key=lambda row: row.image)
    of_sets, failed = _set_metrics(plan, rows)
    write_run(plan.output, settings, rows, mean_rows(rows, of_sets), [*failures, *failed])
    yield from failed
