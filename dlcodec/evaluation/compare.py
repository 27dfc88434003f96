"""Tables that put the curves of a run beside those of another run, or beside one other curve."""

from __future__ import annotations

from dlcodec.errors import UsageError
from dlcodec.evaluation.curves import (
    Curve,
    bd_metric,
    bd_rate,
    is_kodak,
    is_whole,
    mean_gap,
    measured,
    published,
    run_curves,
    value_at,
)
from dlcodec.evaluation.results import OURS, Run

Table = list[list[str]]


def is_fair(run: Run, reference: Run | str) -> bool:
    """Whether all means of both are over the same images.

    A published curve was measured on Kodak, a curve of ``run`` on its own images.
    """
    if isinstance(reference, str):
        own = {curve.name for metric in run.settings.metrics for curve in run_curves(run, metric)}
        return is_whole(run) if reference in own else is_kodak(run)
    same = {row.sha256 for row in run.rows} == {row.sha256 for row in reference.rows}
    return same and is_whole(run) and is_whole(reference)


def shared_metrics(run: Run, reference: Run | str) -> list[str]:
    """The metrics of ``run`` that the reference has too; raises UsageError when there are none."""
    found, errors = [], []
    for metric in measured(run):
        try:
            pairs(run, reference, metric)
            found.append(metric)
        except UsageError as error:
            errors.append(error)
    if not found:
        raise errors[0] if errors else UsageError(f"{run.name} has no means to compare")
    return found


def pairs(run: Run, reference: Run | str, metric: str) -> list[tuple[Curve, Curve]]:
    """Every curve of ``run`` with what it is compared with. Raises UsageError when there is nothing."""
    own = run_curves(run, metric)
    if not own:
        raise UsageError(f"{run.name} has no {metric} curve")
    if isinstance(reference, Run):
        others = {curve.name: curve for curve in run_curves(reference, metric)}
        found = [(curve, others[curve.name]) for curve in own if curve.name in others]
        if not found:
            raise UsageError(f"{run.name} and {reference.name} share no {metric} curve")
        return found
    known = {**published(metric), **{curve.name: curve for curve in own}}
    if reference not in known:
        names = ", ".join(known) or "none"
        raise UsageError(f"{reference!r} is neither a results folder nor a curve of {metric}: {names}")
    return [(curve, known[reference]) for curve in own if curve.name != reference]


def summary_table(run: Run, reference: Run | str, metric: str) -> Table:
    """A row a curve: BD-rate in percent, BD-metric in the metric's unit, and the mean gap with the rates it is over."""
    rows = [["curve", "BD-rate (%)", f"BD-{metric}", "mean gap", "from bpp", "to bpp"]]
    for curve, other in pairs(run, reference, metric):
        gap, first, last = mean_gap(curve, other)
        figures = f"{bd_rate(curve, other):+.2f}", f"{bd_metric(curve, other):+.4f}", f"{gap:+.4f}"
        shown = (figure.replace("+nan", "none") for figure in figures)
        rows.append([curve.name, *shown, f"{first:.3f}", f"{last:.3f}"])
    return rows


def gap_table(run: Run, reference: Run | str, metric: str) -> Table:
    """A row a point of dlcodec: its rate, its value, and how far it is from the reference at the same rate."""
    rows = [["curve", "bpp", metric, "gap"]]
    for curve, other in pairs(run, reference, metric):
        if not curve.name.startswith(OURS):
            continue
        for bpp, value, at in zip(curve.bpp, curve.values, value_at(other, curve.bpp), strict=True):
            rows.append([curve.name, f"{bpp:.4f}", f"{value:.4f}", f"{value - at:+.4f}".replace("+nan", "outside")])
    return rows
