"""Options that ``encode`` and ``decode`` share for many files, and how a run is told: bar, JSON lines, failures."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from dlcodec.console import complain, detail, on_terminal, printable, remark, say, show
from dlcodec.errors import DlcodecError, UsageError

if TYPE_CHECKING:
    from dlcodec.batch.gather import Reason
    from dlcodec.batch.plan import Job
    from dlcodec.batch.run import Outcome


def _folder(text: str) -> Path:
    if not text:
        raise UsageError("--out-dir has an empty name; . is the working folder")
    return Path(text)


OutDir = Annotated[
    Path | None,
    typer.Option(
        "--out-dir",
        metavar="DIR",
        parser=_folder,
        help="Write below this folder, as the inputs lie below the folders given.",
    ),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Take the files of folders, at any depth.")]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", "-j", metavar="N", min=1, max=64, help="Pictures in flight: 1 in the networks, N - 1 read or written."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per picture, one per line.")]
Resume = Annotated[bool, typer.Option("--resume", help="Skip outputs that are complete and match.")]


class Written(Protocol):
    """What is told of a picture that was written, or that was there and was skipped; a dataclass in what it prints."""

    @property
    def output(self) -> str:
        """The file, or ``-``."""

    @property
    def width(self) -> int:
        """In pixels."""

    @property
    def height(self) -> int:
        """In pixels."""

    @property
    def skipped(self) -> bool:
        """Whether ``--resume`` found it complete."""

    def describe(self) -> str:
        """One line for a person."""


def check_streams(inputs: Sequence[str], output: str | None, *, as_json: bool, resume: bool) -> None:
    """Raise UsageError where standard output is asked to carry two things, or a stream to be resumed."""
    if output == "-" and as_json:
        raise UsageError("-o - and --json would both write to standard output")
    if resume and (output == "-" or "-" in inputs):
        raise UsageError("--resume needs files, not standard input or output")


def named(name: str, message: str) -> str:
    """The message, which begins with the name of the file that it is about."""
    file, text = printable(name), printable(message)
    known = text.startswith(
        (f"{file} is ", f"{file} has ", f"{file}: ", f"cannot read {file} ", f"cannot read {file}: ")
    )
    return text if known else f"{file}: {text}"


def _sentence(name: str, error: Exception) -> str:
    if isinstance(error, DlcodecError):
        return named(name, str(error))
    return named(name, f"internal error ({type(error).__name__}: {error}); --debug shows where")


def _trace(error: Exception) -> str:
    """The traceback of an exception, empty without --debug; the exception loses it, and so the picture it was about."""
    text = "".join(traceback.format_exception(error)) if "--debug" in sys.argv[1:] else ""
    causes: list[BaseException | None] = [error]
    while causes:
        if (cause := causes.pop()) and cause.__traceback__:
            cause.__traceback__ = None
            causes += [cause.__cause__, cause.__context__]
    return text


def exit_code(error: Exception) -> int:
    """Of the command line, for an exception of one file."""
    return error.exit_code if isinstance(error, DlcodecError) else 1


def _json_lines(outcome: Outcome[Any]) -> Iterator[dict[str, Any]]:
    from dlcodec.files import readable

    source = str(outcome.job.source)
    seconds = round(outcome.seconds, 6)
    for result in outcome.results:
        line = {"input": readable(source), **asdict(result), "seconds": seconds}
        yield {**line, "output": readable(result.output)}
    if outcome.error:
        code = exit_code(outcome.error)
        message = _sentence(outcome.job.name, outcome.error)
        yield {"input": readable(source), "output": None, "seconds": seconds, "error": message, "exit_code": code}


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal where there is more than one file; calls take the pixels of each file that is done."""
    if total < 2 or not on_terminal():
        yield lambda pixels: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, rate="")
        pixels_done = 0

        def after_file(pixels: int) -> None:
            nonlocal pixels_done
            pixels_done += pixels
            done, elapsed = bar.tasks[task].completed + 1, max(bar.tasks[task].elapsed or 0, 1e-6)
            rate = f"{done / elapsed:.1f} images/s, {3 * pixels_done / elapsed / 1e6:.1f} MB/s"
            bar.update(task, advance=1, rate=rate)

        yield after_file


def report(outcomes: Iterator[Outcome[Written]], total: int, left_out: Mapping[Path, Reason], *, as_json: bool) -> None:
    """Follow a run to its end and tell of it; exit with the code of the first failure.

    Standard output has JSON lines or nothing. Failures are told when the run ends, however it does, one sentence each,
    and before them in one line what was left out of folders and patterns.
    """
    import json

    from dlcodec.batch.gather import describe_left_out
    from dlcodec.files import readable

    failed: list[tuple[Job, Exception, str]] = []
    written = skipped = 0
    try:
        with _progress(total) as after_file:
            for outcome in outcomes:
                if outcome.error:
                    failed.append((outcome.job, outcome.error, _trace(outcome.error)))
                written += sum(not result.skipped for result in outcome.results)
                skipped += sum(result.skipped for result in outcome.results)
                if as_json:
                    for line in _json_lines(outcome):
                        show(json.dumps(line))
                detail(
                    f"{outcome.job.name}: read {outcome.read_seconds:.3f} s, network {outcome.work_seconds:.3f} s, "
                    f"write {outcome.write_seconds:.3f} s"
                )
                if total == 1:
                    for result in outcome.results:
                        say(result.describe())
                after_file(sum(result.width * result.height for result in outcome.results))
        if as_json:
            for path, reason in left_out.items():
                show(json.dumps({"input": readable(str(path)), "output": None, "left_out": reason}))
    finally:
        if total > 1:
            say(f"{written} written, {skipped} skipped, {len(failed)} failed")
        if left_out:
            remark(describe_left_out(left_out))
        for job, error, trace in failed:
            if trace and sys.stderr:
                print(trace, end="", file=sys.stderr)
            complain(_sentence(job.name, error))
    if failed:
        raise typer.Exit(exit_code(failed[0][1]))
