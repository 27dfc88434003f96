"""The files of a run: ``results.csv``, written row by row, and ``results.json`` with what the rows were made with."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dlcodec.arguments import Effort
from dlcodec.errors import InputError
from dlcodec.evaluation.metrics import METRICS
from dlcodec.files import readable, write_atomically

SCHEMA = 1
OURS = "dlcodec"
MEAN = "mean"
POINT_COLUMNS = ("codec", "quality", "tau", "steps", "seed")
COLUMNS = ("image", "images", "sha256", "width", "height", *POINT_COLUMNS, "bytes", "bpp")
"""The columns of ``results.csv`` before those of the metrics."""


@dataclass(frozen=True, slots=True)
class Point:
    """One way to code an image. ``quality`` is dlcodec's rate level or a peer's own scale; ``tau`` is dlcodec's.

    ``steps`` and ``seed`` are those of the sampler, None where nothing is sampled.
    """

    codec: str
    quality: float
    tau: float | None = None
    steps: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One image at one point, or the mean of ``images`` of them; then ``image`` is ``mean``.

    ``image`` is the ``readable`` name of the file.
    ``sha256`` is the start of the image file's digest, ``bytes`` the size of the coded file, ``bpp`` in bits a pixel.
    """

    image: str
    images: int
    sha256: str
    width: int | None
    height: int | None
    point: Point
    bytes: float
    bpp: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Settings:
    """What all rows of a run have in common; ``base`` and ``fusion`` are the digests of the checkpoints.

    ``default_steps`` is the fusion model's own number of steps, None where no row needed the model to be there.
    ``metric_weights`` has the start of the digest of each metric's weights file; not of those a library downloaded.
    """

    source: str
    family: str
    base: str
    fusion: str | None
    metrics: tuple[str, ...]
    device: str
    device_name: str
    threads: int
    precision: str
    versions: Mapping[str, str]
    default_steps: int | None = None
    metric_weights: Mapping[str, str] = field(default_factory=dict)
    effort: Effort = "medium"


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be measured, and why. ``points`` counts the rows that are missing for it."""

    what: str
    error: str
    exit_code: int
    points: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A results folder as it was read: a row an image and point, the mean of each point, and what failed."""

    name: str
    settings: Settings
    rows: tuple[Row, ...]
    means: tuple[Row, ...]
    failures: tuple[Failure, ...]


def image_path(source: Path, image: str) -> Path:
    """The file in ``source`` that rows call ``image``; it need not exist."""
    plain = source / image
    if plain.exists():
        return plain
    return next((path for path in source.glob("*") if readable(path.name) == image), plain)


def stream_path(folder: Path, image: str, level: float) -> Path:
    """Where a run keeps the coded file of an image at a rate level."""
    return folder / "files" / image / f"q{level:g}.dlc"


def _flat(row: Row) -> dict[str, Any]:
    flat = {name: getattr(row.point if name in POINT_COLUMNS else row, name) for name in COLUMNS}
    return {**flat, **row.metrics}


def csv_text(rows: Iterable[Row], metrics: Sequence[str], *, header: bool) -> str:
    """Rows as lines of ``results.csv``; floats at full precision, None as an empty cell."""
    rows = list(rows)
    stream = io.StringIO(newline="")
    # By itself, csv leaves a carriage return in a file's name unquoted, and then cannot read it.
    returns = any("\r" in row.image for row in rows)
    writer = csv.DictWriter(
        stream,
        [*COLUMNS, *metrics],
        lineterminator="\n",
        restval="",
        quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL,
    )
    if header:
        writer.writeheader()
    writer.writerows(_flat(row) for row in rows)
    return stream.getvalue()


def _row(cells: Mapping[str, str], metrics: Sequence[str]) -> Row:
    def number(name: str) -> float | None:
        return float(cells[name]) if cells[name] else None

    def whole(name: str) -> int | None:
        return int(cells[name]) if cells[name] else None

    point = Point(cells["codec"], float(cells["quality"]), number("tau"), whole("steps"), whole("seed"))
    return Row(
        cells["image"],
        int(cells["images"]),
        cells["sha256"],
        whole("width"),
        whole("height"),
        point,
        float(cells["bytes"]),
        float(cells["bpp"]),
        {name: float(cells[name]) for name in metrics if cells[name]},
    )


def read_run(folder: Path) -> Run:
    """The settings and the images' rows of a results folder; a last line that was cut off is left out.

    Raises InputError when it holds none.
    """
    try:
        document = json.loads((folder / "results.json").read_text("utf-8"))
        if (schema := document["schema"]) != SCHEMA:
            raise InputError(f"the results in {folder} have schema {schema!r}; this version reads schema {SCHEMA}")
        kept = document["settings"]
        if "effort" not in kept:  # written before there were efforts
            kept["effort"] = "high" if kept.pop("refine", False) else "low"
        settings = Settings(**{**kept, "metrics": tuple(kept["metrics"])})
        if unknown := [name for name in settings.metrics if name not in METRICS]:
            raise InputError(f"the results in {folder} have the metric {unknown[0]!r}, which this version lacks")
        failures = tuple(Failure(**failure) for failure in document["failures"])
        text = (folder / "results.csv").read_bytes().decode()
        whole_lines = text[: text.rfind("\n") + 1]
        rows = [_row(cells, settings.metrics) for cells in csv.DictReader(io.StringIO(whole_lines, newline=""))]
    except OSError as error:
        raise InputError(f"{folder} holds no results: cannot read {error.filename}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"the results in {folder} are damaged or of another version ({error!r})") from error
    images = tuple(row for row in rows if row.image != MEAN)
    means = mean_rows(images, {row.point: row.metrics for row in rows if row.image == MEAN})
    return Run(readable(folder.resolve().name), settings, images, tuple(means), failures)


def mean_rows(rows: Iterable[Row], of_sets: Mapping[Point, Mapping[str, float]]) -> list[Row]:
    """One row a point, by codec, quality, falling tau, steps and seed: bytes, bpp and metrics averaged over images.

    ``of_sets`` has the metrics that exist only for all images of a point together.
    """
    groups: dict[Point, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.point, []).append(row)
    means = []
    order = sorted(
        groups, key=lambda p: (p.codec != OURS, p.codec, p.quality, -(p.tau or 0), p.steps or 0, p.seed or 0)
    )
    for point in order:
        group = groups[point]
        averages = {name: _mean([row.metrics[name] for row in group]) for name in group[0].metrics}
        sizes = _mean([row.bytes for row in group]), _mean([row.bpp for row in group])
        means.append(Row(MEAN, len(group), "", None, None, point, *sizes, {**of_sets.get(point, {}), **averages}))
    return means


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def write_run(
    folder: Path, settings: Settings, rows: Sequence[Row], means: Sequence[Row], failures: Sequence[Failure]
) -> None:
    """Write ``results.json``, where what is not finite becomes null, and ``results.csv``; raises OutputError."""
    document = {
        "schema": SCHEMA,
        "settings": asdict(settings),
        "rows": [_flat(row) for row in rows],
        "means": [_flat(row) for row in means],
        "failures": [asdict(failure) for failure in failures],
    }
    for row in (*document["rows"], *document["means"]):  # type: ignore[misc]
        row.update({key: None for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)})
    text = json.dumps(document, indent=1, allow_nan=False)
    write_atomically(folder / "results.json", f"{text}\n".encode(), force=True)
    table = csv_text([*rows, *means], settings.metrics, header=True)
    write_atomically(folder / "results.csv", table.encode(), force=True)


_OWN = ("source", "fusion", "threads", "default_steps", "metric_weights")
IDENTITY = tuple(one.name for one in fields(Settings) if one.name not in _OWN)
"""The settings that two sittings of one run must share; ``fusion`` and ``metric_weights`` too, where both have them."""
