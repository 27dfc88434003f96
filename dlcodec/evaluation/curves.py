"""Quality over rate: the curves of a run, the published ones, and the distance between two."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcodec.evaluation.metrics import METRICS, import_library
from dlcodec.evaluation.results import Point, Row, Run

_ANCHORS = Path(__file__).parent / "anchors.json"
_KODAK = frozenset(f"kodim{number:02}" for number in range(1, 25))
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of rising rate: ``bpp`` in bits per pixel of the file, ``values`` of the metric ``metric``."""

    name: str
    metric: str
    bpp: tuple[float, ...]
    values: tuple[float, ...]


def _rising(name: str, metric: str, points: Iterable[tuple[float, float]]) -> Curve:
    bpp, values = zip(*sorted(points), strict=True)
    return Curve(name, metric, bpp, values)


def published(metric: str, *, plotted: bool = False) -> dict[str, Curve]:
    """The curves of ``anchors.json`` that have this metric, by key; all on Kodak. ``plotted``: a few only."""
    entries = json.loads(_ANCHORS.read_text("utf-8"))["kodak"]
    return {
        key: _rising(entry["label"], metric, zip(entry["bpp"], entry[metric], strict=True))
        for key, entry in entries.items()
        if metric in entry and (entry["plotted"] or not plotted)
    }


def measured(run: Run) -> tuple[str, ...]:
    """The metrics of a run that its means have, in its order; those of whole sets are there once it is complete."""
    return tuple(name for name in run.settings.metrics if any(name in row.metrics for row in run.means))


def is_whole(run: Run) -> bool:
    """Whether every mean is over all images of the run: none failed at a point and nothing was interrupted."""
    return {row.images for row in run.means} == {len({row.image for row in run.rows})}


def is_kodak(run: Run) -> bool:
    """Whether all means of a run are over the 24 images that the published curves were measured on."""
    names = {Path(row.image).stem for row in run.rows}
    return is_whole(run) and names == _KODAK and all({row.width, row.height} == {768, 512} for row in run.rows)


def at_main_setting(run: Run, rows: Sequence[Row]) -> list[Row]:
    """Those of ``rows`` that single figures stand for: one for each image or mean, codec, quality and tau.

    Where it was sampled, it is the one at the model's own number of steps, or else at the most; then the lowest seed.
    A mean over fewer images than others (an interrupted run, a picture that failed there) compares with nothing, and is
    left out.
    """
    most = max((row.images for row in rows), default=0)

    def rank(row: Row) -> tuple[bool, int, int]:
        steps = row.point.steps or 0
        return steps == run.settings.default_steps, steps, -(row.point.seed or 0)

    chosen: dict[tuple[str, str, float, float | None], Row] = {}
    for row in rows:
        if row.images < most:
            continue
        key = row.image, row.point.codec, row.point.quality, row.point.tau
        if key not in chosen or rank(row) > rank(chosen[key]):
            chosen[key] = row
    return list(chosen.values())


def point_name(point: Point) -> str:
    """``dlcodec tau 0.3``, or a peer's name."""
    return point.codec if point.tau is None else f"{point.codec} tau {point.tau:g}"


def run_curves(run: Run, metric: str) -> list[Curve]:
    """One curve a codec and tau, in the order of the means."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for row in at_main_setting(run, run.means):
        if metric in row.metrics:
            groups.setdefault(point_name(row.point), []).append((row.bpp, row.metrics[metric]))
    return [_rising(name, metric, points) for name, points in groups.items()]


def value_at(curve: Curve, rates: Sequence[float]) -> list[float]:
    """The metric at the given rates, linear in log rate between points; NaN outside the curve."""
    logs = np.log(curve.bpp)
    values: list[float] = np.interp(np.log(rates), logs, curve.values, left=np.nan, right=np.nan).tolist()
    return values


def mean_gap(curve: Curve, anchor: Curve, low: float = 0.12, high: float = 0.9) -> tuple[float, float, float]:
    """Mean of ``curve`` minus ``anchor`` over ``low`` to ``high`` bpp, and the range both cover of it; NaN if none."""
    first, last = max(low, curve.bpp[0], anchor.bpp[0]), min(high, curve.bpp[-1], anchor.bpp[-1])
    if first >= last:
        return _NAN, first, last
    rates = np.linspace(first, last, 400).tolist()
    return float(np.nanmean(np.subtract(value_at(curve, rates), value_at(anchor, rates)))), first, last


def _usable(curve: Curve, reference: Curve, rising: bool) -> bool:
    """Two points or more each, finite, and, for a rate as a function of the metric, a metric that rises with rate."""
    sign = 1 if METRICS[curve.metric].higher_is_better else -1
    return all(
        len(one.bpp) > 1
        and np.isfinite(one.values).all()
        and (np.diff(one.bpp) > 0).all()
        and (not rising or (np.diff(one.values) * sign > 0).all())
        for one in (curve, reference)
    )


def bd_rate(curve: Curve, reference: Curve) -> float:
    """Bjontegaard delta rate in percent: below 0 where ``curve`` needs fewer bits for the same quality.

    Piecewise cubic (Bjontegaard 2001, with PCHIP), over the qualities that both reach. NaN where they share none, or
    where a curve is of one point or its quality does not rise with its rate throughout. Raises UsageError where the
    package ``bjontegaard`` is absent.
    """
    if not _usable(curve, reference, rising=True):
        return _NAN
    import_library("the BD-rate", "bjontegaard")
    from bjontegaard import bd_rate as delta

    sign = 1 if METRICS[curve.metric].higher_is_better else -1
    return _delta(delta, reference, curve, sign * np.array(reference.values), sign * np.array(curve.values))


def bd_metric(curve: Curve, reference: Curve) -> float:
    """Bjontegaard delta of the metric, in its unit: ``curve`` minus ``reference`` over the log rates that both cover.

    NaN where they share none. Raises UsageError where the package ``bjontegaard`` is absent.
    """
    if not _usable(curve, reference, rising=False):
        return _NAN
    import_library("the BD-metric", "bjontegaard")
    from bjontegaard import bd_psnr as delta

    return _delta(delta, reference, curve, np.array(reference.values), np.array(curve.values))


def _delta(delta: Callable[..., float], reference: Curve, curve: Curve, *values: npt.NDArray[Any]) -> float:
    """Call one of the library's functions; ``values`` are the reference's, then the curve's."""
    rates = np.array(reference.bpp), np.array(curve.bpp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of curves that do not overlap, and answers NaN
        answer = delta(
            *(rates[0], values[0], rates[1], values[1]), method="pchip", require_matching_points=False, min_overlap=0
        )
    return float(answer)
