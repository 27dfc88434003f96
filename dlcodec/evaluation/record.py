"""What a run found out about a checkpoint, in the form in which the checkpoint keeps it."""

from __future__ import annotations

import math
from typing import Any

from dlcodec.checkpoint import Checkpoint
from dlcodec.errors import UsageError
from dlcodec.evaluation.curves import at_main_setting
from dlcodec.evaluation.results import OURS, Run

_METRICS = ("psnr", "lpips-alex")
_DIGITS = 5


def results_of(run: Run, found: Checkpoint) -> dict[str, Any]:
    """Mean rate, PSNR and LPIPS (where measured) at tau 1, of a fusion network at tau 0 too, as ``models.Model`` says.

    A base has all its whole levels, a fusion network those of the run, in its own number of steps. Raises UsageError
    when the run is of other weights, of another effort than the usual, or lacks a level.
    """
    settings = run.settings
    theirs = settings.fusion if found.is_fusion else settings.base
    if theirs != found.digest:
        had = f"{theirs[:16]}" if theirs else "no fusion network"
        raise UsageError(f"the results in {run.name} were measured with {had}, not with {found.digest[:16]}")
    if settings.effort != "medium":
        raise UsageError(f"the results in {run.name} are of --effort {settings.effort}, not of the usual one")
    rows = {
        (row.point.quality, row.point.tau): row
        for row in at_main_setting(run, run.means)
        if row.point.codec == OURS and row.point.steps in (None, found.config.get("steps"))
    }
    whole = sorted({level for level, _ in rows if level % 1 == 0}) if found.is_fusion else range(found.levels)
    wanted = [(level, tau) for tau in ((1, 0) if found.is_fusion else (1,)) for level in whole]
    if missing := [f"level {level:g} at tau {tau}" for level, tau in wanted or [(0, 1)] if (level, tau) not in rows]:
        raise UsageError(f"the results in {run.name} lack {missing[0]}")
    chosen = [rows[each] for each in wanted]
    metrics = [name for name in _METRICS if all(math.isfinite(row.metrics.get(name, math.nan)) for row in chosen)]
    return {
        "images": chosen[0].images,
        "rows": [
            {
                "level": int(row.point.quality),
                "tau": tau,
                "bpp": round(row.bpp, _DIGITS),
                **{name: round(row.metrics[name], _DIGITS) for name in metrics},
            }
            for row, (_, tau) in zip(chosen, wanted, strict=True)
        ],
    }
