"""What a figure was measured on."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dlcodec.bench.clock import finish_device
from dlcodec.machine import device_name, find_versions

_PACKAGES = ("torch", "numpy", "pillow", "constriction", "compressai", "pillow-jxl-plugin")
_SIDE = {"cpu": 1024, "cuda": 8192}
_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Machine:
    """``rates`` are operations a second of square products of matrices, by the name of the number type."""

    device: str
    name: str
    cores: int
    threads: int
    versions: Mapping[str, str]
    rates: Mapping[str, float]


def measure_rate(dtype: torch.dtype, device: torch.device, side: int) -> float:
    """Operations a second of a product of two matrices of ``side`` rows and columns: the best of some tries."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(_TRIES + 1):  # the first warms up, and is not the best
        finish_device()
        begun = time.perf_counter()
        torch.mm(a, b)
        finish_device()
        seconds.append(time.perf_counter() - begun)
    return 2 * side**3 / min(seconds)


def describe_machine(device: torch.device) -> Machine:
    """The machine as it is now; its rates are measured."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        device=device.type,
        name=device_name(device),
        cores=cores,
        threads=torch.get_num_threads(),
        versions=find_versions(_PACKAGES),
        rates={name: measure_rate(dtype, device, _SIDE[device.type]) for name, dtype in _TYPES.items()},
    )


def peak_memory() -> int:
    """The most resident bytes that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
