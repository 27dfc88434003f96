"""From the descriptions of checkpoints to codecs and fusion networks on a device, kept for the next call."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import get_args

import torch

from dlcodec import checkpoint as checkpoints
from dlcodec import codecs, installed
from dlcodec.arguments import Device, Precision
from dlcodec.checkpoint import Checkpoint
from dlcodec.codecs.base import Codec
from dlcodec.errors import UsageError, WeightsError
from dlcodec.fusion.fuse import Fusion, choose_dtype


def choose_device(name: Device) -> torch.device:
    """The device of a name; ``auto`` is CUDA where present, else the CPU. Raises UsageError."""
    if name not in get_args(Device):
        raise UsageError(f"device {name!r} is none of {', '.join(get_args(Device))}")
    if name != "cpu" and torch.cuda.is_available():  # asking starts the driver
        return torch.device("cuda")
    if name == "cuda":
        raise UsageError("no CUDA device is available; use --device cpu or auto")
    return torch.device("cpu")


@lru_cache(maxsize=4)
def _load_codec(family: str, path: str, digest: str, device: torch.device) -> Codec:
    found = checkpoints.read_metadata(Path(path))
    if found.digest != digest:
        raise WeightsError(f"{path} changed while it was read")
    arrays = checkpoints.load_arrays(found)
    try:
        codec: Codec = codecs.codec_class(family)(found.config, arrays, device)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has a config that does not fit a {family} codec: {error}") from error
    return codec


def load_codec(found: Checkpoint, device: torch.device) -> Codec:
    """The codec of a checkpoint, verified; kept for the next call. Raises WeightsError."""
    return _load_codec(found.family, str(found.path), found.digest, device)


@lru_cache(maxsize=4)
def _load_fusion(path: str, digest: str, device: torch.device, dtype: torch.dtype) -> Fusion:
    found = checkpoints.read_metadata(Path(path))
    if found.digest != digest:
        raise WeightsError(f"{path} changed while it was read")
    tensors = {name: torch.from_numpy(array) for name, array in checkpoints.load_arrays(found).items()}
    try:
        return Fusion(found.config, tensors, device, dtype)
    except torch.OutOfMemoryError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} does not fit a fusion network: {error}") from error


def load_fusion(base: Checkpoint, device: torch.device, precision: Precision) -> Fusion:
    """The fusion network of a base checkpoint, verified; kept for the next call. Raises UsageError, WeightsError."""
    found = installed.find_fusion(base)
    return _load_fusion(str(found.path), found.digest, device, choose_dtype(precision, device))
