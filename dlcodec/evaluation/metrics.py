"""Quality metrics by their usual libraries; each is loaded only when it is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from dlcodec.errors import InputError, UsageError, WeightsError
from dlcodec.image import psnr
from dlcodec.lpips import load_lpips
from dlcodec.picture import RGB

Measure = Callable[[RGB, RGB], float]
"""Original and decoded picture, both (H, W, 3) uint8, to one number."""

LpipsNet = Literal["alex", "squeeze", "vgg"]
MS_SSIM_SIDE = 161  # five scales of an 11-pixel window
LPIPS_SIDE = 32  # under which a network's last pooling has nothing left


@dataclass(frozen=True, slots=True)
class Metric:
    """What a table or an axis has to know of a metric; ``package`` is the PyPI name of what computes it."""

    label: str
    higher_is_better: bool
    package: str


METRICS: Mapping[str, Metric] = {
    "psnr": Metric("PSNR (dB)", True, "numpy"),
    "ms-ssim": Metric("MS-SSIM", True, "pytorch-msssim"),
    "lpips-alex": Metric("LPIPS (alex)", False, "lpips"),
    "lpips-squeeze": Metric("LPIPS (squeeze)", False, "lpips"),
    "lpips-vgg": Metric("LPIPS (vgg)", False, "lpips"),
    "dists": Metric("DISTS", False, "pyiqa"),
    "pieapp": Metric("PIEAPP", False, "pyiqa"),
    "niqe": Metric("NIQE", False, "pyiqa"),
    "brisque": Metric("BRISQUE", False, "pyiqa"),
    "pi": Metric("PI", False, "pyiqa"),
    "clipiqa": Metric("CLIP-IQA", True, "pyiqa"),
    "fid": Metric("FID (256-px patches)", False, "torch-fidelity"),
}
_EXTRA = {"pyiqa": "iqa", "torch-fidelity": "iqa"}


def import_library(name: str, package: str) -> Any:
    """The library that ``name`` needs; raises UsageError with the command that installs it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(package.replace("-", "_"))
    except (ImportError, RuntimeError) as error:  # torchvision beside another build of torch raises the latter
        extra = _EXTRA.get(package, "eval")
        raise UsageError(f"{name} needs the package {package} ({error}); pip install 'dlcodec[{extra}]'") from error


def lpips_weights(net: LpipsNet, folder: Path | None) -> Path | None:
    """The weights of LPIPS in a folder of metric weights, None where they are not there."""
    path = folder / f"lpips_v0.1_{net}.safetensors" if folder else None
    return path if path and path.is_file() else None


def find_lpips(net: LpipsNet, folder: Path | None) -> Any:
    """LPIPS as ``load_lpips`` gives it of ``folder/lpips_v0.1_<net>.safetensors``, or else of what ``lpips`` downloads.

    Raises UsageError when the package is absent and WeightsError when there are no weights.
    """
    lpips = import_library(f"lpips-{net}", "lpips")
    if (path := lpips_weights(net, folder)) is not None:
        return load_lpips(net, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package passes torchvision a parameter of an earlier version
        try:
            metric = lpips.LPIPS(net=net, verbose=False)
        except Exception as error:  # a download fails in as many ways as there are networks
            raise WeightsError(
                f"lpips-{net} has no weights: the download failed ({error}); "
                f"name a folder that holds lpips_v0.1_{net}.safetensors with --metric-weights"
            ) from error
    return metric.eval().requires_grad_(False)


def _tensor(rgb: RGB, device: str) -> Any:
    """(H, W, 3) uint8 as (1, 3, H, W) float32 in [0, 1]."""
    import torch

    return torch.from_numpy(rgb).permute(2, 0, 1)[None].to(device).float() / 255


def _ms_ssim(device: str) -> Measure:
    library = import_library("ms-ssim", "pytorch-msssim")

    def measure(original: RGB, decoded: RGB) -> float:
        if min(original.shape[:2]) < MS_SSIM_SIDE:
            raise InputError(f"ms-ssim needs pictures of at least {MS_SSIM_SIDE} pixels a side")
        return float(library.ms_ssim(_tensor(decoded, device), _tensor(original, device), data_range=1.0))

    return measure


def _lpips(net: LpipsNet, device: str, folder: Path | None) -> Measure:
    metric = find_lpips(net, folder).to(device)

    def measure(original: RGB, decoded: RGB) -> float:
        if min(original.shape[:2]) < LPIPS_SIDE:
            raise InputError(f"lpips needs pictures of at least {LPIPS_SIDE} pixels a side")
        return float(metric(_tensor(original, device) * 2 - 1, _tensor(decoded, device) * 2 - 1))

    return measure


def _pyiqa(name: str, device: str) -> Measure:
    library = import_library(name, "pyiqa")
    try:
        metric = library.create_metric(name, device=device)
    except Exception as error:  # its downloads fail in as many ways as there are networks
        raise WeightsError(f"{name} has no weights: the download by pyiqa failed ({error})") from error
    return lambda original, decoded: float(metric(_tensor(decoded, device), _tensor(original, device)))


def load_measure(name: str, device: Literal["cpu", "cuda"], folder: Path | None) -> Measure:
    """The function of a metric that is taken image by image; ``folder`` holds metric weights.

    Raises UsageError for an unknown name or an absent package, WeightsError when its weights cannot be had.
    """
    if name not in METRICS or name == "fid":
        raise UsageError(f"metric {name!r} is none of {', '.join(METRICS)}")
    if name == "psnr":
        return psnr
    if name == "ms-ssim":
        return _ms_ssim(device)
    for net in ("alex", "squeeze", "vgg"):
        if name == f"lpips-{net}":
            return _lpips(net, device, folder)
    return _pyiqa(name, device)
