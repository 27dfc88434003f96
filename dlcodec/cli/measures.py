"""The metrics at hand on this machine, for commands that show figures beside pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlcodec.compare import Measure
    from dlcodec.picture import RGB


def find_lpips() -> Callable[[RGB, RGB], float] | None:
    """LPIPS (alex), where the folder $DLCODEC_METRIC_WEIGHTS has its weights; raises UsageError, WeightsError."""
    weights = os.environ.get("DLCODEC_METRIC_WEIGHTS")
    if not weights:
        return None
    from dlcodec.evaluation.metrics import load_measure, lpips_weights

    folder = Path(weights)
    return load_measure("lpips-alex", "cpu", folder) if lpips_weights("alex", folder) else None


def find_measures() -> list[Measure]:
    """PSNR, MS-SSIM where pytorch-msssim is installed, LPIPS where its weights are at hand."""
    from importlib.util import find_spec

    from dlcodec.compare import PSNR, Measure
    from dlcodec.evaluation.metrics import LPIPS_SIDE, MS_SSIM_SIDE, load_measure

    measures = [PSNR]
    if find_spec("pytorch_msssim"):
        measures.append(Measure("MS-SSIM", "{:.4f}", MS_SSIM_SIDE, load_measure("ms-ssim", "cpu", None)))
    if lpips := find_lpips():
        measures.append(Measure("LPIPS", "{:.4f}", LPIPS_SIDE, lpips))
    return measures
