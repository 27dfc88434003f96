"""Markdown tables of a run, for documents: a row a rate level, a column a tau."""

from __future__ import annotations

from dlcodec.console import printable
from dlcodec.evaluation.curves import at_main_setting
from dlcodec.evaluation.results import OURS, Run


def level_table(run: Run, metric: str) -> str:
    """Means over the images of one metric; the rate is that of the files, the same at every tau."""
    rows = [row for row in at_main_setting(run, run.means) if row.point.codec == OURS]
    taus = sorted({row.point.tau for row in rows if row.point.tau is not None}, reverse=True)
    cells = {(row.point.quality, row.point.tau): row for row in rows}
    lines = ["| level | bpp | " + " | ".join(f"tau {tau:g}" for tau in taus) + " |", "|---" * (2 + len(taus)) + "|"]
    for level in sorted({row.point.quality for row in rows}):
        found = [cells.get((level, tau)) for tau in taus]
        bpp = next(row.bpp for row in found if row is not None)
        values = ["" if row is None or metric not in row.metrics else f"{row.metrics[metric]:.4f}" for row in found]
        lines.append(f"| {level:g} | {bpp:.4f} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def peer_table(run: Run, metrics: tuple[str, ...]) -> str:
    """A row a peer and quality, with its rate and every metric."""
    lines = ["| codec | quality | bpp | " + " | ".join(metrics) + " |", "|---" * (3 + len(metrics)) + "|"]
    for row in run.means:
        if row.point.codec != OURS:
            values = " | ".join(f"{row.metrics[name]:.4f}" if name in row.metrics else "" for name in metrics)
            lines.append(f"| {printable(row.point.codec)} | {row.point.quality:g} | {row.bpp:.4f} | {values} |")
    return "\n".join(lines)
