"""Medians of repeated runs, in elapsed and in processor seconds; what is compared is run in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians: ``seconds`` on the clock on the wall, ``processor_seconds`` of all threads of this process.

    The second is the steadier one where a machine has other work.
    """

    seconds: float
    processor_seconds: float


class Meter(Protocol):
    """Attributes what happened since the last call to a named part; parts may come back, their amounts add up."""

    def lap(self, name: str) -> None:
        """What has just ended is ``name``."""


def finish_device() -> None:
    """Wait until a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _now() -> tuple[float, float]:
    finish_device()
    return time.perf_counter(), time.process_time()


def median(pairs: Iterable[tuple[float, float]]) -> Timing:
    """Of runs, each in elapsed and in processor seconds."""
    elapsed, processor = zip(*pairs, strict=True)
    return Timing(statistics.median(elapsed), statistics.median(processor))


class Clock:
    """A meter of one run, in seconds."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[float, float]] = {}
        self._last = _now()

    def lap(self, name: str) -> None:
        """As in Meter."""
        now = _now()
        elapsed, processor = self.parts.get(name, (0.0, 0.0))
        self.parts[name] = (elapsed + now[0] - self._last[0], processor + now[1] - self._last[1])
        self._last = now


class FlopMeter:
    """A meter of one run, in floating-point operations of convolutions, products of matrices and attention."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self.parts: dict[str, int] = {}
        self._counter = counter
        self._last = 0

    def lap(self, name: str) -> None:
        """As in Meter."""
        total = self._counter.get_total_flops()
        self.parts[name] = self.parts.get(name, 0) + total - self._last
        self._last = total


def time_parts(run: Callable[[Meter], None], repeats: int) -> dict[str, Timing]:
    """The median of every part of ``run``, after one run to warm up; in the order in which they end first."""
    run(Clock())
    clocks = []
    for _ in range(repeats):
        clock = Clock()
        run(clock)
        clocks.append(clock)
    return {name: median(clock.parts[name] for clock in clocks) for name in clocks[0].parts}


def count_parts(run: Callable[[Meter], None]) -> dict[str, int]:
    """The floating-point operations of every part of ``run``."""
    with FlopCounterMode(display=False) as counter:
        meter = FlopMeter(counter)
        run(meter)
    return meter.parts


def time_run(function: Callable[[], object]) -> tuple[float, float]:
    """Elapsed and processor seconds of one call."""
    begun = _now()
    function()
    ended = _now()
    return ended[0] - begun[0], ended[1] - begun[1]


def time_in_turns(runs: Mapping[str, Callable[[], tuple[float, float]]], repeats: int) -> dict[str, Timing]:
    """The median of runs that time themselves, after one of each to warm up; a disturbance meets all of them alike."""
    for run in runs.values():
        run()
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            pairs[name].append(run())
    return {name: median(each) for name, each in pairs.items()}
