"""The noise schedule: how much of the signal is left at each point of the diffusion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class CosineSchedule:
    """The cosine schedule of Nichol and Dhariwal 2021 (arXiv:2102.09672, eq. 17) over the pseudo-continuous t/T.

    ``alpha(s) = f(s) / f(0)`` with ``f(s) = cos^2((s + offset) / (1 + offset) * pi / 2)``, never below ``minimum``.
    The paper writes ``alpha`` for what is often ``alpha bar``: the product over all steps so far.
    """

    offset: float
    minimum: float

    def alpha(self, s: float) -> float:
        """The share of signal power at ``s`` = t/T in [0, 1]; 1 at 0."""
        return max(self.minimum, self._f(s) / self._f(0.0)) if s > 0 else 1.0

    def alphas(self, steps: int) -> tuple[float, ...]:
        """``alpha`` at t = 0..steps, for a sampler of ``steps`` steps; the first is 1."""
        return tuple(self.alpha(t / steps) for t in range(steps + 1))

    def alpha_of(self, s: Tensor) -> Tensor:
        """``alpha`` of every element of ``s`` in (0, 1], for training."""
        angle = (s + self.offset) / (1 + self.offset) * (math.pi / 2)
        return (angle.cos().square() / self._f(0.0)).clamp_min(self.minimum)

    def _f(self, s: float) -> float:
        return math.cos((s + self.offset) / (1 + self.offset) * (math.pi / 2)) ** 2


def schedule_from(config: Mapping[str, Any]) -> CosineSchedule:
    """The schedule that a checkpoint's config describes; raises ValueError or KeyError when it describes none."""
    if config["kind"] != "cosine":
        raise ValueError(f"alpha schedule {config['kind']!r} is unknown")
    offset, minimum = config["offset"], config["minimum"]
    if not (isinstance(offset, int | float) and isinstance(minimum, int | float)):
        raise ValueError("the alpha schedule is not made of numbers")
    schedule = CosineSchedule(offset, minimum)
    if not (0 <= schedule.offset <= 1 and 0 < schedule.minimum < 1):
        raise ValueError("the alpha schedule is out of its range")
    return schedule
