"""The ranges of the arguments, checked without torch."""

from __future__ import annotations

import math

from dlcodec.errors import UsageError, WeightsError


def check_level(level: float, levels: int) -> None:
    """Raise UsageError unless ``level`` is in [0, levels - 1]."""
    if not (math.isfinite(level) and 0 <= level <= levels - 1):
        raise UsageError(f"level {level} is outside 0 to {levels - 1}")


def check_tau(tau: float) -> None:
    """Raise UsageError unless ``tau`` is in [0, 1], and WeightsError unless it is 1, since no fusion weights exist."""
    if not (math.isfinite(tau) and 0 <= tau <= 1):
        raise UsageError(f"tau {tau} is outside 0 to 1")
    if tau != 1:
        raise WeightsError(f"tau {tau} needs fusion weights, and none are installed; use --tau 1")
