"""The base codecs; importing this imports no family and no torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dlcodec.errors import WeightsError
from dlcodec.families import FAMILIES


def codec_class(family: str) -> Any:
    """The codec class of a family; raises WeightsError for a family that is not in the registry."""
    paths = {known.name: known.codec for known in FAMILIES}
    if family not in paths:
        raise WeightsError(f"codec family {family!r} is unknown; known: {', '.join(paths)}")
    module, _, name = paths[family].partition(":")
    return getattr(import_module(module), name)
