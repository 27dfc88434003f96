"""The ranges of the arguments, checked without torch."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from dlcodec.errors import UsageError

MOST_STEPS = 50
LEVEL_STEPS = 256
"""A rate level is coded in steps of 1/256."""
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]
Effort = Literal["low", "medium", "high"]
"""How an encoder chooses among latents: as the networks say, corrected once, or by gradient descent."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of a picture, in pixels from its upper left corner."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Crop:
        """The crop of left, top, width and height; raises UsageError unless they are four whole numbers."""
        try:
            left, top, width, height = map(operator.index, numbers)
        except (TypeError, ValueError):
            raise UsageError(f"a crop is four whole numbers, left, top, width and height, not {numbers!r}") from None
        return cls(left, top, width, height)

    def check(self, width: int, height: int) -> None:
        """Raise UsageError unless it holds a pixel and lies inside a picture of ``width`` x ``height``."""
        inside = 0 <= self.left <= width - self.width and 0 <= self.top <= height - self.height
        if not (inside and self.width > 0 and self.height > 0):
            raise UsageError(
                f"the crop {self.left},{self.top},{self.width},{self.height} is not inside {width} x {height} pixels"
            )


def check_level(level: float, levels: int) -> None:
    """Raise UsageError unless ``level`` is in [0, levels - 1]."""
    if not (math.isfinite(level) and 0 <= level <= levels - 1):
        only = "; these weights have one rate level" if levels == 1 else ""
        raise UsageError(f"level {level} is outside 0 to {levels - 1}{only}")


def check_effort(effort: str) -> None:
    """Raise UsageError unless ``effort`` is one."""
    if effort not in get_args(Effort):
        raise UsageError(f"effort {effort!r} is not one of {', '.join(get_args(Effort))}")


def check_tau(tau: float) -> None:
    """Raise UsageError unless ``tau`` is in [0, 1]."""
    if not (math.isfinite(tau) and 0 <= tau <= 1):
        raise UsageError(f"tau {tau} is outside 0 to 1")


def check_sampling(steps: int | None, seed: int) -> None:
    """Raise UsageError unless ``steps`` is None or in [1, 50] and ``seed`` fits 64 bits, both whole numbers."""
    for number in (steps, seed):
        if number is not None and not hasattr(number, "__index__"):
            raise UsageError(f"{number!r} is not a whole number, as steps and seed are")
    if steps is not None and not 1 <= steps <= MOST_STEPS:
        raise UsageError(f"steps {steps} is outside 1 to {MOST_STEPS}")
    if not 0 <= seed < 2**64:
        raise UsageError(f"seed {seed} is outside 0 to 2^64 - 1")
