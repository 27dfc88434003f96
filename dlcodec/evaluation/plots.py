"""Figures of one or more runs: quality over rate, the trade along tau, steps and seeds. Legible in grey."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlcodec.evaluation.curves import at_main_setting, is_kodak, measured, point_name, published, run_curves
from dlcodec.evaluation.metrics import METRICS
from dlcodec.evaluation.results import OURS, Row, Run
from dlcodec.files import refuse_existing, write_atomically

_MARKERS = "os^Dv<>Ph*X"
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 1, 2, 1, 2)))
_KINDS = ("svg", "png")
_RATE = "rate (bits per pixel of the file)"


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.4, 5.4), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(True, color="0.9")
    axes.ticklabel_format(useOffset=False)
    return figure, axes


def _legend(axes: Axes) -> None:
    legend = axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # the name of a folder may have dollars


def _lines(axes: Axes, lines: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> None:
    """Lines that differ in shade, marker and dashes."""
    shades = mpl.colormaps["cividis"]
    for number, (name, x, y) in enumerate(lines):
        marker, dashes = _MARKERS[number % len(_MARKERS)], _DASHES[number % len(_DASHES)]
        shade = shades(number * 0.8 / max(1, len(lines) - 1))
        label = f" {name}" if name.startswith("_") else name  # which a legend would leave out
        axes.plot(x, y, label=label, color=shade, marker=marker, linestyle=dashes, markersize=5)
    if lines:
        _legend(axes)


def _prefix(runs: Sequence[Run], run: Run) -> str:
    return f"{run.name}: " if len(runs) > 1 else ""


def rate_figure(runs: Sequence[Run], metric: str) -> Figure:
    """A metric over rate: every tau, the peers, and, where all runs are over Kodak, published curves in thin grey."""
    figure, axes = _axes(f"{METRICS[metric].label} over rate", _RATE, METRICS[metric].label)
    lines = [(_prefix(runs, run) + c.name, c.bpp, c.values) for run in runs for c in run_curves(run, metric)]
    _lines(axes, lines)
    if all(map(is_kodak, runs)):
        furthest = 1.1 * max((rate for _, bpp, _ in lines for rate in bpp), default=0)
        anchors = published(metric, plotted=True).values()
        for curve, marker in zip(anchors, cycle("1234+x|_"), strict=False):
            inside = [pair for pair in zip(curve.bpp, curve.values, strict=True) if pair[0] <= furthest]
            label = f"{curve.name} (published)"
            axes.plot(
                *zip(*inside, strict=True), label=label, color="0.45", linewidth=0.8, marker=marker, linestyle=":"
            )
        _legend(axes)
    return figure


def _ours(run: Run) -> list[Row]:
    return [row for row in run.means if row.point.codec == OURS]


def _middle(pairs: Iterable[tuple[float, float | None]]) -> float:
    """The level in the middle of those that have the most values; ``pairs`` are of a level and a value."""
    values: dict[float, set[float | None]] = {}
    for level, value in pairs:
        values.setdefault(level, set()).add(value)
    most = max(map(len, values.values()))
    levels = sorted(level for level, found in values.items() if len(found) == most)
    return levels[len(levels) // 2]


def middle_level(run: Run) -> float:
    """The level in the middle of those at which the most taus were measured: where single figures are taken."""
    return _middle((row.point.quality, row.point.tau) for row in _ours(run))


def trade_figure(runs: Sequence[Run], x: str, y: str) -> Figure:
    """Two metrics along tau, one line a rate level."""
    figure, axes = _axes("Along tau, at fixed rates", METRICS[x].label, METRICS[y].label)
    lines = []
    for run in runs:
        rows = [row for row in at_main_setting(run, _ours(run)) if x in row.metrics and y in row.metrics]
        for level in sorted({row.point.quality for row in rows}):
            path = [row for row in rows if row.point.quality == level]
            if len(path) > 1:
                taus = f"tau {path[-1].point.tau:g} to {path[0].point.tau:g}"
                name = f"{_prefix(runs, run)}{path[0].bpp:.3f} bpp, {taus}"
                lines.append((name, [row.metrics[x] for row in path], [row.metrics[y] for row in path]))
    _lines(axes, lines)
    return figure


def tau_figure(runs: Sequence[Run], metric: str) -> Figure:
    """A metric over tau at the middle level, one line a run."""
    figure, axes = _axes(f"{METRICS[metric].label} over tau", "tau (0 realism, 1 fidelity)", METRICS[metric].label)
    lines = []
    for run in runs:
        level = middle_level(run)
        rows = [row for row in _ours(run) if row.point.quality == level and metric in row.metrics]
        if not rows:
            continue
        rows = at_main_setting(run, rows)
        name = f"{_prefix(runs, run)}level {level:g}, {rows[0].bpp:.3f} bpp"
        lines.append((name, [row.point.tau or 0.0 for row in rows], [row.metrics[metric] for row in rows]))
    _lines(axes, lines)
    return figure


def steps_figure(runs: Sequence[Run], metric: str) -> Figure:
    """A metric over the sampler's steps, one line a tau, at its lowest seed.

    The level is the middle one of those at which the most numbers of steps were measured.
    """
    figure, axes = _axes(f"{METRICS[metric].label} over steps", "steps of the sampler", METRICS[metric].label)
    lines = []
    for run in runs:
        rows = [row for row in _ours(run) if row.point.steps and metric in row.metrics]
        if not rows:
            continue
        level = _middle((row.point.quality, row.point.steps) for row in rows)
        rows = [row for row in rows if row.point.quality == level]
        for tau in dict.fromkeys(row.point.tau for row in rows):
            path = [row for row in rows if row.point.tau == tau]
            seed = min(row.point.seed or 0 for row in path)
            path = [row for row in path if (row.point.seed or 0) == seed]
            name = f"{_prefix(runs, run)}{point_name(path[0].point)}, level {level:g}"
            lines.append((name, [float(row.point.steps or 0) for row in path], [row.metrics[metric] for row in path]))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(mpl.ticker.ScalarFormatter())
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xticks(sorted({step for _, steps, _ in lines for step in steps}))
    _lines(axes, lines)
    return figure


def draw(runs: Sequence[Run]) -> dict[str, Figure]:
    """All figures for which the runs have data, by file name: ``rate-*``, ``trade-*``, ``tau-*``, ``steps-*``."""
    metrics = [name for name in METRICS if all(name in measured(run) for run in runs)]
    figures = {f"rate-{name}": rate_figure(runs, name) for name in metrics}
    points = [[row.point for row in _ours(run)] for run in runs]
    if all(len({point.tau for point in own}) > 1 for own in points):
        perceptual = [name for name in metrics if "psnr" in metrics and not METRICS[name].higher_is_better]
        figures |= {f"trade-{name}": trade_figure(runs, "psnr", name) for name in perceptual}
        figures |= {f"tau-{name}": tau_figure(runs, name) for name in metrics}
    if all(len({point.steps for point in own} - {None}) > 1 for own in points):
        figures |= {f"steps-{name}": steps_figure(runs, name) for name in metrics}
    return {name: figure for name, figure in figures.items() if figure.axes[0].lines}


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as the bytes of an ``svg`` or ``png`` file, the same for the same data."""
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "dlcodec"}):
        figure.savefig(stream, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return stream.getvalue()


def write_figures(runs: Sequence[Run], folder: Path, *, force: bool = False) -> list[Path]:
    """Write every figure as SVG and PNG into an existing folder; raises OutputError, where one exists without force."""
    figures = {folder / f"{name}.{kind}": (figure, kind) for name, figure in draw(runs).items() for kind in _KINDS}
    for path in figures:
        refuse_existing(path, force=force)
    for path, (figure, kind) in figures.items():
        write_atomically(path, figure_bytes(figure, kind), force=force)
    return list(figures)
