"""What a figure was measured on: the device and the versions of what ran."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from dlcodec import __version__


def device_name(device: torch.device) -> str:
    """The model of the processor or of the GPU, as its maker writes it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def find_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of dlcodec, Python and those of ``packages`` that are installed."""
    found = {"dlcodec": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
