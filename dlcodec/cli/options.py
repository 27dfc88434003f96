"""Options that several commands share, and what they mean."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

from dlcodec import arguments
from dlcodec.arguments import Crop, check_tau
from dlcodec.console import on_terminal
from dlcodec.errors import UsageError

Device = Annotated[arguments.Device, typer.Option(help="Where the networks run; auto takes CUDA when present.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite the output if it exists.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="A family of the installed weights, or a folder or file of weights.",
        show_default="the installed ones",
    ),
]


MaxPixels = Annotated[
    int | None,
    typer.Option("--max-pixels", metavar="N", help="Refuse larger pictures.", show_default="134217728"),
]
MaxMemory = Annotated[
    float | None,
    typer.Option(
        "--max-memory",
        metavar="GIB",
        help="What the process may take on a CPU; tiles are made to fit.",
        show_default="what the picture needs and 1 for tiles",
    ),
]


class ScaleName(StrEnum):
    """How much smaller a decoded picture is."""

    whole = "1"
    half = "1/2"
    quarter = "1/4"
    eighth = "1/8"
    sixteenth = "1/16"

    @property
    def factor(self) -> int:
        """By how much each side is divided."""
        return int(self.value.removeprefix("1/"))


def parse_crop(text: str) -> Crop:
    """``X,Y,W,H`` in pixels as a Crop; raises UsageError."""
    try:
        left, top, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"the crop {text!r} is not four whole numbers X,Y,W,H") from None
    return Crop(left, top, width, height)


def parse_taus(text: str) -> list[float]:
    """``0,.3,1`` as numbers in [0, 1]; raises UsageError."""
    try:
        taus = [abs(float(part)) if float(part) == 0 else float(part) for part in text.split(",")]  # -0 is 0
    except ValueError:
        raise UsageError(f"tau {text!r} is not a number, or several separated by commas") from None
    for tau in taus:
        check_tau(tau)
    return taus


def short(tau: float) -> str:
    """The shortest text of a tau: ``0.3``, ``1``."""
    return repr(tau).removesuffix(".0")


def count_steps(total: int | None, what: str = "fusion") -> Callable[[], None]:
    """Counts the steps of ``what`` on a terminal, once they have taken a second; ``total`` where it is known."""
    begun, done = time.monotonic(), 0

    def after_step() -> None:
        nonlocal done
        done += 1
        if on_terminal() and time.monotonic() - begun > 1:
            of = f" of {total}" if total else ""
            print(f"\r{what}: step {done}{of}\r", end="", file=sys.stderr, flush=True)

    return after_step
