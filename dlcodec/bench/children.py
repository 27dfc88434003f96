"""The command line itself, each time in a new process: a cold start, and a batch against one command a picture."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcodec.bench.clock import Timing, median
from dlcodec.bench.machine import peak_memory
from dlcodec.bench.subject import Subject
from dlcodec.errors import DlcodecError
from dlcodec.files import write_atomically
from dlcodec.image import png_bytes


@dataclass(frozen=True, slots=True)
class Command:
    """A command from its start to its end, files included; ``peak_memory`` in bytes is the largest of all so far."""

    name: str
    timing: Timing
    peak_memory: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One decode command for ``pictures`` files; ``ratio`` is what as many cold commands take over what it takes."""

    pictures: int
    timing: Timing
    ratio: float


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(arguments: Sequence[str | Path]) -> tuple[float, float]:
    command = [sys.executable, "-m", "dlcodec", *map(str, arguments)]
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    begun, before = time.perf_counter(), _processor_seconds()
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    seconds, processor = time.perf_counter() - begun, _processor_seconds() - before
    if ended.returncode:
        raise DlcodecError(f"a command that was to be timed failed: {ended.stderr.strip()}")
    return seconds, processor


def _options(subject: Subject) -> list[str]:
    return ["--model", str(subject.found.path), "--device", subject.device]


def _decode_options(subject: Subject) -> list[str]:
    options = ["--tau", str(subject.tau), "--precision", subject.precision, *_options(subject)]
    return options if subject.tau == 1 else [*options, "--steps", str(subject.steps)]


def time_commands(subject: Subject, repeats: int) -> tuple[Command, ...]:
    """``encode`` and ``decode`` of the command line, in turns; the first of each warms the disk's cache."""
    with tempfile.TemporaryDirectory() as name:
        png, dlc, out = (Path(name) / each for each in ("in.png", "a.dlc", "out.png"))
        write_atomically(png, png_bytes(subject.rgb))
        encode: list[str | Path] = ["encode", png, "-o", dlc, "-f", "-q", str(subject.level), *_options(subject)]
        decode: list[str | Path] = ["decode", dlc, "-o", out, "-f", *_decode_options(subject)]
        runs: dict[str, list[tuple[float, float]]] = {"encode": [], "decode": []}
        peaks = {}
        for turn in range(repeats + 1):
            for each, arguments in (("encode", encode), ("decode", decode)):
                taken = _run(arguments)
                peaks[each] = peak_memory(children=True)
                if turn:
                    runs[each].append(taken)
    return tuple(Command(each, median(pairs), peaks[each]) for each, pairs in runs.items())


def time_batch(subject: Subject, pictures: int, single: Timing) -> Batch:
    """One ``decode --out-dir`` of ``pictures`` files; ``single`` is a cold decode of one of them."""
    data = subject.encode()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for number in range(pictures):
            (folder / "in" / f"{number:04}.dlc").write_bytes(data)
        taken = Timing(*_run(["decode", "-r", folder / "in", "--out-dir", folder / "out", *_decode_options(subject)]))
    return Batch(pictures, taken, single.seconds * pictures / taken.seconds)
