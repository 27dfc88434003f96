"""``dlcodec models import``: read, convert, hold against the original, write."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from dlcodec import checkpoint
from dlcodec.codecs import codec_class
from dlcodec.errors import UsageError, WeightsError
from dlcodec.importing.check import Comparison, compare
from dlcodec.importing.families import foreign
from dlcodec.importing.source import Source

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Imported:
    """A base checkpoint that was written, and how it compares with its original."""

    path: Path
    digest: str
    comparison: Comparison


def choose_output(folder: Path, family: str, name: str | None, *, force: bool) -> Path:
    """The file of a base in a folder of weights; raises UsageError for a bad name, OutputError where it exists."""
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(f"the name {name!r} is not made of at most 64 letters, digits, dots, hyphens and underscores")
    path = folder / family / ("base.safetensors" if name is None else f"base-{name}.safetensors")
    checkpoint.refuse_overwriting(path, force=force)
    return path


def import_source(source: Source, family: str, name: str | None, output: Path, *, force: bool) -> Imported:
    """Convert a checkpoint of CompressAI, compare both on a photograph and write ``output``.

    Raises OutputError, UsageError for an unknown family, and WeightsError when the checkpoint is of another family, or
    codes otherwise here than in CompressAI.
    """
    convert = foreign(family).convert
    try:
        converted = convert(source.tensors)
        codec = codec_class(family)(converted.config, converted.arrays, torch.device("cpu"))
        comparison = compare(codec, converted)
    except WeightsError as error:
        raise WeightsError(f"{source.name} does not import as {family}: {error}") from error
    record = {
        "source": source.name,
        "source_sha256": source.sha256,
        "name": name or source.name.partition(".")[0],
        "compressai": version("compressai"),
        "check": asdict(comparison),
    }
    digest = checkpoint.save(output, family, converted.config, converted.arrays, record, force=force)
    return Imported(output, digest, comparison)
