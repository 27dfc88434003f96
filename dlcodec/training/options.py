"""Options that the commands of all stages share, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlcodec.arguments import Device
from dlcodec.errors import UsageError
from dlcodec.training.loop import Budget, Optimisation


def check_crop(crop: int) -> int:
    """The side of a crop; raises UsageError."""
    if crop < 64 or crop % 64:
        raise UsageError(f"crops of {crop} pixels: the side must be a multiple of 64")
    return crop


Output = Annotated[Path, typer.Argument(help="Training checkpoint to write; training continues from it if it exists.")]
Data = Annotated[list[Path], typer.Option(exists=True, help="Folder or tar of images; repeatable.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Stop after this many steps.")]
Minutes = Annotated[float | None, typer.Option(min=0.001, help="Or after this many minutes.")]
Batch = Annotated[int, typer.Option(min=1, help="Crops a step.")]
Crop = Annotated[int, typer.Option(callback=check_crop, help="Side of a crop, pixels, a multiple of 64.")]
Reduce = Annotated[float, typer.Option(min=1, help="Reduce each crop by a random factor of at most this.")]
Rate = Annotated[float, typer.Option(help="Peak learning rate of SOAP.")]
Compile = Annotated[bool, typer.Option("--compile/--no-compile", help="Use torch.compile.")]
DeviceName = Annotated[Device, typer.Option(help="Where the networks run; auto takes CUDA when present.")]
SaveEvery = Annotated[float, typer.Option(help="Minutes between saves.")]


def optimisation(
    rate: float, warmup: int, steps: int | None, minutes: float | None, clip: float = 1.0, ema: float = 0.995
) -> Optimisation:
    """From ``rate`` down to a hundredth of it, for ``steps`` or ``minutes``; raises UsageError without just one."""
    if (steps is None) == (minutes is None):
        raise UsageError("give --steps or --minutes")
    return Optimisation(rate, rate / 100, warmup, clip, ema, Budget(steps, minutes))
