"""What ``--model`` names: an installed family, a folder of weights, or one base checkpoint. Without torch."""

from __future__ import annotations

import os
from pathlib import Path

from dlcodec import checkpoint, installed
from dlcodec.checkpoint import Checkpoint
from dlcodec.errors import UsageError, WeightsError
from dlcodec.families import FAMILIES

_NAMES = tuple(family.name for family in FAMILIES)


def _bases(model: str) -> tuple[list[Checkpoint], WeightsError | None]:
    """The base checkpoints of a file or a folder, in the order of their names, and what is wrong with the first other.

    Raises UsageError, and WeightsError where there is none.
    """
    path = Path(model)
    if os.path.isdir(path):
        files = [
            file for pattern in ("base*.safetensors", "*/base*.safetensors") for file in sorted(path.glob(pattern))
        ]
    elif os.path.isfile(path):
        files = [path]
    else:
        raise UsageError(f"model {model!r} is neither a family ({', '.join(_NAMES)}) nor a folder or file of weights")
    found: list[Checkpoint] = []
    fault: WeightsError | None = None
    for file in files:
        try:
            found.append(checkpoint.read_metadata(file))
        except WeightsError as error:
            fault = fault or error
    if not (bases := [each for each in found if not each.is_fusion]):
        raise fault or WeightsError(f"{model} holds no base weights")
    return bases, fault


def base_to_encode(model: str | None) -> Checkpoint:
    """The base checkpoint that ``model`` names; None is the default family.

    A name of a family is never taken for a folder. Raises UsageError for a name that means nothing, or several
    checkpoints, and WeightsError where there is none or a damaged one.
    """
    if model is None or model in _NAMES:
        return installed.find(model or checkpoint.DEFAULT_FAMILY)
    found, fault = _bases(model)
    if fault:
        raise fault
    if len(found) > 1:
        names = ", ".join(str(each.path) for each in found)
        raise UsageError(f"{model} holds several base weights; name one of {names}")
    return found[0]


def base_to_decode(model: str | None, family: str, short_digest: bytes) -> Checkpoint:
    """The base checkpoint that a file needs, among those that ``model`` names; None is all that are installed.

    Raises UsageError for a name that means nothing and WeightsError where the one that is needed is not there.
    """
    if model is None or model in _NAMES:
        if model not in (None, family):
            raise WeightsError(f"the file needs {family} weights, not {model}")
        return installed.find(family, short_digest)
    found, fault = _bases(model)
    for each in found:
        if (each.family, each.short_digest) == (family, short_digest):
            return each
    if fault:
        raise fault
    there = ", ".join(f"{each.family} {each.short_digest.hex()}" for each in found)
    raise WeightsError(f"the file needs {family} weights {short_digest.hex()}, but {model} has {there}")
