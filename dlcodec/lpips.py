"""LPIPS with weights from a file, for training and for evaluation."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from dlcodec.errors import WeightsError


def load_lpips(net: str, path: Path) -> Any:
    """LPIPS v0.1 (Zhang et al. 2018): a frozen torch module from two (B, 3, H, W) in [-1, 1] to (B, 1, 1, 1).

    ``path`` is a safetensors file of the ``lpips`` package's state dict, ``net`` its backbone: alex, squeeze or vgg.
    Raises ImportError when the package is absent and WeightsError when the file does not hold those weights.
    """
    import lpips
    from safetensors.torch import load_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package passes torchvision a parameter of an earlier version
        metric = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    try:
        metric.load_state_dict(load_file(path))
    except Exception as error:
        raise WeightsError(f"{path} does not hold the weights of LPIPS-{net}") from error
    return metric.eval().requires_grad_(False)
