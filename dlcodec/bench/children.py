"""The command line itself, each time in a new process: a cold start, and a batch against one command a picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcodec.bench.clock import Timing, median
from dlcodec.bench.subject import Subject
from dlcodec.errors import DlcodecError
from dlcodec.files import write_atomically
from dlcodec.image import png_bytes


@dataclass(frozen=True, slots=True)
class Command:
    """A command from its start to its end, files included; ``peak_memory`` in bytes is the largest of its runs."""

    name: str
    timing: Timing
    peak_memory: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One decode command for ``pictures`` files; ``ratio`` is what as many cold commands take over what it takes."""

    pictures: int
    timing: Timing
    ratio: float


_WATCH = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
ended = subprocess.run(sys.argv[1:], capture_output=True, text=True)
seconds = time.perf_counter() - begun
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([ended.returncode, ended.stderr, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
"""A small process between: Linux counts the peak of the one that starts a command as the command's own."""


def environment() -> dict[str, str]:
    """For a process with this dlcodec; with ``python -P``, nothing is imported from the current folder."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def _run(arguments: Sequence[str | Path]) -> tuple[float, float, int]:
    """Seconds, processor seconds and peak memory in bytes of a command."""
    command = [sys.executable, "-P", "-S", "-c", _WATCH, sys.executable, "-P", "-m", "dlcodec", *map(str, arguments)]
    watched = subprocess.run(command, capture_output=True, text=True, env=environment())
    if watched.returncode:
        raise DlcodecError(f"a command that was to be timed failed: {watched.stderr.strip()}")
    code, complaint, seconds, processor, peak = json.loads(watched.stdout)
    if code:
        raise DlcodecError(f"a command that was to be timed failed: {complaint.strip()}")
    return seconds, processor, peak if sys.platform == "darwin" else peak * 1024


def _options(subject: Subject) -> list[str]:
    return ["--model", str(subject.found.path), "--device", subject.device, "--precision", subject.precision]


def _decode_options(subject: Subject) -> list[str]:
    options = ["--tau", str(subject.tau), *_options(subject)]
    return options if subject.tau == 1 else [*options, "--steps", str(subject.steps)]


def time_commands(subject: Subject, repeats: int) -> tuple[Command, ...]:
    """``encode`` and ``decode`` of the command line, in turns; the first of each warms the disk's cache."""
    with tempfile.TemporaryDirectory() as name:
        png, dlc, out = (Path(name) / each for each in ("in.png", "a.dlc", "out.png"))
        write_atomically(png, png_bytes(subject.rgb), force=True)
        encode: list[str | Path] = ["encode", png, "-o", dlc, "-f", "-q", str(subject.level), *_options(subject)]
        decode: list[str | Path] = ["decode", dlc, "-o", out, "-f", *_decode_options(subject)]
        runs: dict[str, list[tuple[float, float]]] = {"encode": [], "decode": []}
        peaks = {"encode": 0, "decode": 0}
        for turn in range(repeats + 1):
            for each, arguments in (("encode", encode), ("decode", decode)):
                seconds, processor, peak = _run(arguments)
                peaks[each] = max(peaks[each], peak)
                if turn:
                    runs[each].append((seconds, processor))
    return tuple(Command(each, median(pairs), peaks[each]) for each, pairs in runs.items())


def time_batch(subject: Subject, pictures: int, single: Timing) -> Batch:
    """One ``decode --out-dir`` of ``pictures`` files; ``single`` is a cold decode of one of them."""
    data = subject.encode()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for number in range(pictures):
            (folder / "in" / f"{number:04}.dlc").write_bytes(data)
        seconds, processor, _ = _run(
            ["decode", "-r", folder / "in", "--out-dir", folder / "out", *_decode_options(subject)]
        )
        taken = Timing(seconds, processor)
    return Batch(pictures, taken, single.seconds * pictures / taken.seconds)
