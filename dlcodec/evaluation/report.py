"""The report: one HTML page that needs no other file and no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from dlcodec.errors import DlcodecError, UsageError
from dlcodec.evaluation.curves import bd_metric, bd_rate, is_kodak, measured, published, run_curves
from dlcodec.evaluation.metrics import METRICS
from dlcodec.evaluation.plots import draw, figure_bytes
from dlcodec.evaluation.results import OURS, Row, Run
from dlcodec.evaluation.worst_and_best import crop, pick
from dlcodec.files import readable
from dlcodec.image import png_bytes

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #111; }
.settings td { text-align: left; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; } img { max-width: 100%; } .wide { overflow-x: auto; }
.crops { display: flex; flex-wrap: wrap; gap: .7rem; } .crops figure { margin: 0; }
.crops img { width: 320px; image-rendering: pixelated; }
"""


def _image(data: bytes, kind: str, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return '<div class="wide"><table>' + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"


def _shown(value: float | str | None, form: str = "g") -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:{form}}"


def _settings(run: Run) -> str:
    s = run.settings
    images = len({row.image for row in run.rows})
    rows = [
        ("images", f"{images} from {s.source}"),
        ("base weights", f"{s.family} {s.base}"),
        ("fusion weights", s.fusion or "none"),
        ("device", f"{s.device} ({s.device_name}), {s.threads} threads, fusion in {s.precision}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in s.versions.items())),
    ]
    return f'<div class="settings">{_table(("", ""), rows)}</div>'


def _means(run: Run) -> str:
    metrics = run.settings.metrics

    def cells(row: Row) -> list[str]:
        point = row.point
        where = (point.codec, point.quality, point.tau, point.steps, point.seed, row.images)
        return [*map(_shown, where), *(_shown(value, ".4f") for value in (row.bpp, *map(row.metrics.get, metrics)))]

    labels = [METRICS[name].label for name in metrics]
    head = ("codec", "quality", "tau", "steps", "seed", "images", "bpp", *labels)
    return _table(head, map(cells, run.means))


def _distances(run: Run) -> str:
    """For every metric, dlcodec's curves against the peers and, over Kodak, the published curves."""
    parts = []
    for metric in measured(run):
        curves = run_curves(run, metric)
        ours = [curve for curve in curves if curve.name.startswith(OURS)]
        others = [curve for curve in curves if curve not in ours]
        others += published(metric, plotted=True).values() if is_kodak(run) else []
        rows = [
            (curve.name, *(f"{bd_rate(curve, one):+.1f} % / {bd_metric(curve, one):+.3f}" for one in others))
            for curve in ours
        ]
        if others and ours:
            parts.append(f"<h3>{escape(METRICS[metric].label)}</h3>")
            parts.append(_table(("curve", *(one.name for one in others)), rows).replace("+nan", "-"))
    return "\n".join(parts)


def _examples(run: Run, folder: Path, model: str | None) -> str:
    parts = []
    try:
        for title, row in pick(run):
            example = crop(run, folder, title, row, model)
            figures = (
                f"<figure>{_image(png_bytes(pixels), 'png', name)}<figcaption>{escape(name)}</figcaption></figure>"
                for name, pixels in example.crops
            )
            parts.append(f'<h3>{escape(title)}</h3><div class="crops">{"".join(figures)}</div>')
    except UsageError:  # a model that is none
        raise
    except DlcodecError as error:
        parts.append(f"<p>No further pictures: {escape(str(error))}.</p>")
    return "\n".join(parts)


def build_report(run: Run, folder: Path, model: str | None = None) -> str:
    """The page of the run in ``folder``, which it reads coded files from, as HTML text.

    ``model`` names the weights to decode them with; None is those that are installed. Raises UsageError for a name that
    means nothing.
    """
    title = f"dlcodec evaluation: {run.name}"
    figures = (
        f"<figure>{_image(figure_bytes(figure, 'svg'), 'svg+xml', name)}</figure>"
        for name, figure in draw([run]).items()
    )
    has_ours = any(row.point.codec == OURS for row in run.rows)
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        _settings(run),
        *(f"<p>Failed: {escape(f'{failure.what}: {failure.error}')}</p>" for failure in run.failures),
        "<h2>Curves</h2>",
        *figures,
        "<h2>Distance to other codecs</h2><p>BD-rate (below 0: fewer bits for the same quality) / mean difference of "
        "the metric at the same rate; a dash where the curves share no range or one does not rise.</p>",
        _distances(run),
        "<h2>Means over the images</h2>",
        _means(run),
        "<h2>Worst and best images</h2><p>Cropped where the lowest tau is farthest from the original.</p>",
        _examples(run, folder, model) if has_ours else "",
        "</body></html>\n",
    ]
    return readable("\n".join(parts))
