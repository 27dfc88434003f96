"""Targets of an encode - a size, a rate or a PSNR - and the search for the level that meets one; without torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from dlcodec.errors import UsageError

Unit = Literal["bytes", "bpp", "dB"]

_FACTORS = {"": 1, "B": 1, "kB": 1000, "KB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) ?([A-Za-z]*)", re.ASCII)
_PATIENCE = 8
"""Probes by interpolation before the search halves its interval instead, which ends for certain."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a file shall come to: ``value`` in bytes of the whole file, bits of it per pixel, or dB of PSNR at tau 1."""

    unit: Unit
    value: float

    def __str__(self) -> str:
        return f"{self.value:.15g} {self.unit}"

    def check_resumable(self) -> None:
        """Raise UsageError for a PSNR, which sets no bound of bytes."""
        if self.unit == "dB":
            raise UsageError("--resume cannot tell from a file whether it reaches a PSNR; name a level, size or rate")

    def most_bytes(self, pixels: int) -> float:
        """The most bytes of the file of a picture of ``pixels``, for a size or a rate."""
        return self.value * (1 if self.unit == "bytes" else pixels / 8)


def parse_size(text: str) -> int:
    """``40KB``, ``1.5 MiB`` or ``40000`` as whole bytes, rounded down; KB and kB are 1000, KiB 1024.

    Raises UsageError.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match or match[2] not in _FACTORS:
        raise UsageError(f"size {text!r} is no number of bytes, kB, KB, KiB, MB or MiB, such as 40KB")
    return int(Fraction(match[1]) * _FACTORS[match[2]])


def choose_target(
    level: float | None, bpp: float | None, size: int | None, psnr: float | None, *, strict: bool
) -> Target | None:
    """The one target that is given, or None. ``size`` is in bytes, ``psnr`` in dB.

    Raises UsageError for several, for one beside a level, for ``strict`` without any, and for one that is not a
    positive number.
    """
    units: tuple[tuple[Unit, float | None], ...] = (("bpp", bpp), ("bytes", size), ("dB", psnr))
    targets = [Target(unit, value) for unit, value in units if value is not None]
    if len(targets) + (level is not None) > 1:
        raise UsageError("a level and the targets of rate, size and PSNR exclude each other; give one of them")
    if not targets:
        if strict:
            raise UsageError("strict needs a target of rate, size or PSNR")
        return None
    if not (math.isfinite(targets[0].value) and targets[0].value > 0):
        raise UsageError(f"the target {targets[0]} is not a positive number")
    return targets[0]


def search_level(
    measure: Callable[[int], float], low: float, high: float, last: int, slope: float, start: int | None = None
) -> tuple[int | None, int | None]:
    """The level from 0 to ``last`` whose measure is in [``low``, ``high``], twice, or the neighbours around it.

    ``measure`` rises with the level, nearly in a straight line. ``slope`` is what it may rise by a level: a guess that
    is used until two levels are known. Without a level in the interval, the answer is the last level found below it
    and the next, found above it; None stands for the one that is missing where even an end of the range lies on the
    wrong side.
    """
    aim = (low + high) / 2
    known: dict[int, float] = {}
    below, above, level = -1, last + 1, last // 2 if start is None else start
    while True:
        value = known[level] = measure(level)
        if low <= value <= high:
            return level, level
        if value < low:
            below = level
        else:
            above = level
        if above - below == 1:
            return (below if below >= 0 else None), (above if above <= last else None)
        level = min(max(_interpolate(known, aim, slope, below, above), below + 1), above - 1)


def _interpolate(known: dict[int, float], aim: float, slope: float, below: int, above: int) -> int:
    """Where a line reaches ``aim``, or the middle where that leads nowhere.

    The line goes through the levels on both sides; through the two nearest to the aim while one side is unknown.
    """
    ends = [level for level in (below, above) if level in known]
    nearest = sorted(known, key=lambda level: abs(known[level] - aim))
    first, *others = ends if len(ends) == 2 else nearest
    if others:
        slope = (known[others[0]] - known[first]) / (others[0] - first)
    if len(known) >= _PATIENCE or not slope > 0:
        return (below + above) // 2
    step = (aim - known[first]) / slope
    return round(first + min(max(step, -(above - below)), above - below))
