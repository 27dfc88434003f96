"""``dlcodec eval``: the command line of the evaluation. Heavy imports are inside the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from dlcodec.arguments import Device, Effort
from dlcodec.console import aligned, complain, on_terminal, printable, show
from dlcodec.errors import InputError, UsageError

T = TypeVar("T", int, float)
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="A family of the installed weights, or a folder or file of weights.",
        show_default="the installed ones",
    ),
]


class RunByDefault(TyperGroup):
    """A group whose first word may be left out: ``dlcodec eval DIR`` is ``dlcodec eval run DIR``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``run`` in front unless a command or help is asked for."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="eval",
    cls=RunByDefault,
    help="Measure the codec on real files. 'dlcodec eval DIR -o RESULTS' stands for 'dlcodec eval run DIR -o RESULTS'.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _numbers(text: str, kind: Callable[[str], T], name: str) -> tuple[T, ...]:
    """``0,.5,1`` as numbers; raises UsageError."""
    try:
        return tuple(dict.fromkeys(kind(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise UsageError(f"{name} takes numbers separated by commas, not {text!r}") from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of images.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RESULTS", help="Folder; a run in it is resumed.")],
    model: Model = None,
    levels: Annotated[str, typer.Option("-q", "--level", help="Rate levels.", show_default="all")] = "",
    taus: Annotated[str, typer.Option("--tau", help="Below 1 needs fusion weights.")] = "0,.3,.5,.8,1",
    steps: Annotated[str, typer.Option(help="Steps of the sampler.", show_default="the model's")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds of the sampler's noise.")] = "0",
    metrics: Annotated[
        str,
        typer.Option(help="psnr, ms-ssim, lpips-alex, -squeeze, -vgg, dists, pieapp, niqe, brisque, pi, clipiqa, fid."),
    ] = "psnr,ms-ssim,lpips-alex",
    metric_weights: Annotated[
        Path | None, typer.Option(envvar="DLCODEC_METRIC_WEIGHTS", help="Folder of the metrics' weights.")
    ] = None,
    peers: Annotated[str, typer.Option(help="Other codecs on the same images: jpeg, webp, avif, jxl, bpg, vtm.")] = "",
    effort: Annotated[Effort, typer.Option(help="As for encode.")] = "medium",
    device: Annotated[Device, typer.Option(help="As for encode.")] = "auto",
) -> None:
    """Encode and decode every image at every point; write results.csv and results.json, print the means.

    Lists are separated by commas.
    """
    from dlcodec.evaluation.plan import Request, prepare

    request = Request(
        source=folder,
        output=output,
        levels=_numbers(levels, float, "--level"),
        taus=_numbers(taus, float, "--tau"),
        steps=_numbers(steps, int, "--steps"),
        seeds=_numbers(seeds, int, "--seeds"),
        metrics=_names(metrics),
        metric_weights=metric_weights,
        peers=_names(peers),
        device=device,
        model=model,
        effort=effort,
    )
    plan, settings, failures = prepare(request)
    from dlcodec.evaluation.lock import hold
    from dlcodec.evaluation.results import Failure, read_run
    from dlcodec.evaluation.run import evaluate, resume

    for failure in failures:
        complain(f"left out: {failure.error}")
    with hold(output):
        earlier, settings = resume(plan, settings)
        with _progress() as bar:
            task = bar.add_task("", total=_left(plan, earlier))
            for event in evaluate(plan, settings, earlier, failures):
                if isinstance(event, Failure):
                    complain(f"{event.what}: {event.error}")
                    failures.append(event)
                    bar.advance(task, event.points)
                else:
                    now = f"{event.image} {event.point.codec} {event.point.quality:g}"
                    bar.update(task, advance=1, description=now)
    _print_means(read_run(output))
    if failures:
        raise typer.Exit(failures[0].exit_code)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder of a run.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="REPORT.html", help="The page to write.")],
    model: Model = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the page if it exists.")] = False,
) -> None:
    """Write one self-contained HTML page: tables, plots, distances, the worst and best images."""
    from dlcodec.files import refuse_existing, write_atomically

    refuse_existing(output, force=force)
    run = _read(results)
    from dlcodec.evaluation.metrics import import_library

    import_library("a report", "matplotlib")
    from dlcodec.evaluation.report import build_report

    write_atomically(output, build_report(run, results, model).encode(), force=force)


@app.command()
def plots(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Folders of runs, drawn together.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the figures.")],
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite figures that exist.")] = False,
) -> None:
    """Write every figure that the runs have data for as SVG and PNG; print their paths."""
    from dlcodec.files import make_folder, readable

    runs = [_read(folder) for folder in results]
    if len({run.name for run in runs}) < len(runs):
        runs = [replace(run, name=readable(str(folder))) for run, folder in zip(runs, results, strict=True)]
    from dlcodec.evaluation.metrics import import_library

    import_library("a plot", "matplotlib")
    from dlcodec.evaluation.plots import write_figures

    make_folder(output)
    for path in write_figures(runs, output, force=force):
        show(str(path))


@app.command()
def tables(results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder of a run.")]) -> None:
    """Print the means as Markdown: one table per metric, one row per level, one column per tau; then the peers."""
    from dlcodec.evaluation.curves import at_main_setting, measured
    from dlcodec.evaluation.metrics import METRICS
    from dlcodec.evaluation.results import OURS
    from dlcodec.evaluation.tables import level_table, peer_table

    run = _read(results)
    metrics = measured(run)
    if any(row.point.codec == OURS for row in at_main_setting(run, run.means)):
        for metric in metrics:
            show(f"### {METRICS[metric].label}\n\n{level_table(run, metric)}\n")
    if any(row.point.codec != OURS for row in run.means):
        show(f"### Peers\n\n{peer_table(run, metrics)}")


@app.command()
def compare(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder of a run.")],
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REFERENCE", help="Another run's folder, a curve of this run, or a published one such as vtm."
        ),
    ],
    metrics: Annotated[str, typer.Option(help="Metrics to compare.", show_default="all that both have")] = "",
) -> None:
    """Distance of every curve of a run to a reference: BD-rate, BD-metric, mean gap over .12 to .9 bpp.

    Against another run, curves of the same name are compared. The second table has each point's gap at its own rate.
    """
    from dlcodec.evaluation.compare import gap_table, is_fair, shared_metrics, summary_table

    run = _read(results)
    other = _read(Path(reference)) if Path(reference).is_dir() else reference
    chosen = _names(metrics) or shared_metrics(run, other)
    tables = [(metric, summary_table(run, other, metric), gap_table(run, other, metric)) for metric in chosen]
    if not is_fair(run, other):
        complain(f"{results} is not wholly over the images that {reference} was measured on; the figures say little")
    for metric, summary, gaps in tables:
        show(printable(f"{metric}, {run.name} against {Path(reference).name}"))
        for table in (summary, gaps):
            show("\n".join([*aligned([[printable(cell) for cell in row] for row in table]), ""]))


@app.command()
def blend(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of images.")],
    metric_weights: Annotated[Path, typer.Option(envvar="DLCODEC_METRIC_WEIGHTS", help="Folder of LPIPS weights.")],
    level: Annotated[float, typer.Option("--level", "-q", help="Rate level.")] = 3.0,
) -> None:
    """Tau in the latent against a blend of the pictures of tau 0 and tau 1: LPIPS at equal PSNR, as Markdown."""
    from dlcodec.evaluation.blend import blend_table
    from dlcodec.evaluation.plan import list_images

    show(blend_table(list_images(source), level, metric_weights))


def _read(folder: Path) -> Any:
    from dlcodec.evaluation.results import read_run

    run = read_run(folder)
    if not run.rows:
        raise InputError(f"{folder} holds no finished rows")
    return run


def _left(plan: Any, earlier: Sequence[Any]) -> int:
    """Rows still to be made."""
    from dlcodec.evaluation.plan import list_images
    from dlcodec.files import readable

    done = {(row.image, row.point) for row in earlier}
    names = [readable(path.name) for path in list_images(plan.source)]
    return sum((name, point) not in done for name in names for point in plan.points)


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        *(TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.description}")),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not on_terminal())


def _print_means(run: Any) -> None:
    metrics = run.settings.metrics
    table = [["codec", "quality", "tau", "steps", "seed", "images", "bpp", *metrics]]
    for row in run.means:
        point = row.point
        cells = (point.quality, point.tau, point.steps, point.seed, row.images)
        figures = (row.bpp, *(row.metrics.get(name) for name in metrics))
        shown = ("" if value is None else f"{value:.4f}" for value in figures)
        table.append([printable(point.codec), *("" if cell is None else f"{cell:g}" for cell in cells), *shown])
    show("\n".join(aligned(table)))
