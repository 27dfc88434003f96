"""The registry of base codecs; importing it imports no family and no torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dlcodec.errors import UnsupportedFileError

_FAMILIES = {"mean-scale": "dlcodec.codecs.mean_scale:MeanScaleCodec"}


def codec_class(family: str) -> Any:
    """The codec class of a family; raises UnsupportedFileError for a family that is not in the table."""
    if family not in _FAMILIES:
        raise UnsupportedFileError(f"codec family {family!r} is unknown; known: {', '.join(_FAMILIES)}")
    module, _, name = _FAMILIES[family].partition(":")
    return getattr(import_module(module), name)
