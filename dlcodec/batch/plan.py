"""What a command is to do: one job an input file, its outputs known before any work starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dlcodec.batch.gather import Reason, Source, gather
from dlcodec.errors import InputError, OutputError, UsageError
from dlcodec.files import place_of, readable
from dlcodec.streams import STREAM


@dataclass(frozen=True, slots=True)
class Job:
    """One input, which may be ``STREAM``, and the files that are made of it; none where a ``fault`` is known before."""

    source: Path
    outputs: tuple[Path, ...]
    fault: InputError | OutputError | None = None

    @property
    def name(self) -> str:
        """The input, for people: any bytes of its name are shown as text."""
        return "standard input" if self.source == STREAM else readable(str(self.source))


def plan(
    inputs: Sequence[str],
    suffixes: frozenset[str],
    rename: Callable[[str], Sequence[str]],
    *,
    output: str | None,
    out_dir: Path | None,
    recursive: bool,
    leave: Callable[[Path, Reason], None],
) -> list[Job]:
    """The jobs of a command line, in an order that depends on the inputs alone.

    Either ``output`` names what is made of exactly one input (``-`` is standard output), or ``out_dir`` is the folder
    below which the outputs lie as the inputs do below the folders that were given. ``rename`` gives the names of the
    outputs below ``out_dir`` from the name of an input without its suffix. For the other arguments see ``gather``.
    A job whose output is an input, or the output of another job too, has a fault and makes nothing; with ``output``
    OutputError is raised instead. Raises UsageError and InputError.
    """
    if (output is None) == (out_dir is None):
        raise UsageError("say where the output goes, by either -o FILE or --out-dir DIR")
    sources = gather(inputs, suffixes, recursive=recursive, leave=leave)
    if output is not None:
        if len(sources) != 1:
            for source in sources:
                if source.fault:
                    raise source.fault
            raise UsageError(f"-o takes exactly one input, not {len(sources)}; use --out-dir")
        target = Path(output) if output == str(STREAM) or Path(output) != STREAM else Path.cwd() / STREAM
        (job,) = _without_collisions([Job(sources[0].path, (target,), sources[0].fault)])
        if isinstance(job.fault, OutputError):
            raise job.fault
        return [job]
    assert out_dir is not None
    jobs: dict[tuple[str, tuple[Path, ...]], Job] = {}
    for source in sources:
        if source.path == STREAM:
            raise UsageError("standard input has no name to put under --out-dir; use -o, and - alone")
        outputs = () if source.fault else _below(out_dir, source, suffixes, rename)
        job = Job(source.path, outputs, source.fault)
        jobs.setdefault((os.path.abspath(job.source), job.outputs), job)  # the same input named twice is one job
    return _without_collisions(list(jobs.values()))


def _below(
    out_dir: Path, source: Source, suffixes: frozenset[str], rename: Callable[[str], Sequence[str]]
) -> tuple[Path, ...]:
    relative = source.relative
    stem = relative.stem if relative.suffix.lower() in suffixes else relative.name
    return tuple(out_dir / relative.parent / name for name in rename(stem))


def _without_collisions(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, where each whose output is an input or the output of another too has a fault and makes nothing."""
    sources = {place_of(job.source) for job in jobs if job.source != STREAM}
    makers: dict[str, list[Job]] = {}
    for job in jobs:
        for place in dict.fromkeys(place_of(output) for output in job.outputs if output != STREAM):
            makers.setdefault(place, []).append(job)

    def fault(job: Job) -> OutputError | None:
        for output in job.outputs:
            if output == STREAM:
                continue
            place = place_of(output)
            if place in sources:
                return OutputError(f"{output}, the output for {job.name}, is an input itself; choose another place")
            if len(makers[place]) > 1:
                other = next(maker for maker in makers[place] if maker is not job)
                return OutputError(f"its output, {output}, would be that of {other.name} too; rename one")
        return None

    return [replace(job, outputs=(), fault=found) if (found := fault(job)) else job for job in jobs]
