"""Checkpoint files: described without torch, verified before use, written at once. safetensors only."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from dlcodec.errors import InputError, WeightsError
from dlcodec.files import make_folder, read_bounded, refuse_existing, write_atomically, write_together
from dlcodec.limits import DEFAULT_LIMITS

SCHEMA = 1
DEFAULT_FAMILY = "mean-scale"
DIGEST_BYTES = 8
_MOST_HEADER = 2**22
"""safetensors allows 100 MB, which take seconds and more than a GiB to be read; ours have some kB."""
_PART_BYTES = 2**24 - 2**17
"""Of arrays in one file, and some room for its header: no file that is kept in a repository has more than 16 MiB."""
_MOST_PARTS = 2 * DEFAULT_LIMITS.weights_bytes // _PART_BYTES + 1
"""Two parts in a row have more than _PART_BYTES together."""
Arrays = Mapping[str, npt.NDArray[Any]]

_NOT_CHECKPOINTS = (
    (b"version https://git-lfs", "a Git-LFS pointer; fetch the real file with git lfs pull"),
    (b"\x80\x02", "a Python pickle, which dlcodec never loads"),
    (b"\x80\x03", "a Python pickle, which dlcodec never loads"),
    (b"\x80\x04", "a Python pickle, which dlcodec never loads"),
    (b"\x80\x05", "a Python pickle, which dlcodec never loads"),
    (b"PK\x03\x04", "a zip archive (a PyTorch .pt file, perhaps), which dlcodec never loads"),
    (b"\x89PNG", "a PNG image"),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint's metadata says; ``digest`` is 64 hex digits over config and tensors.

    ``parts`` files have its tensors, the first of which is ``path``.
    """

    path: Path
    family: str
    config: Mapping[str, Any]
    digest: str
    parts: int = 1

    @property
    def short_digest(self) -> bytes:
        """The 8 bytes that bitstreams carry."""
        return bytes.fromhex(self.digest)[:DIGEST_BYTES]

    @property
    def files(self) -> list[Path]:
        """All its files: NAME.safetensors, part2-NAME.safetensors and so on."""
        return _files(self.path)[: self.parts]

    @property
    def file_bytes(self) -> int:
        """The size of all its files; raises OSError where one is gone."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def is_fusion(self) -> bool:
        """Whether it is a fusion network, tied to its base, and no base itself."""
        return "base" in self.config

    @property
    def levels(self) -> int:
        """Rate levels run from 0 to ``levels - 1``."""
        return len(self.config["lambdas"])


def _files(path: Path) -> list[Path]:
    """All the files that a checkpoint may have whose first is ``path``."""
    return [path, *(path.with_name(f"part{number}-{path.name}") for number in range(2, _MOST_PARTS + 1))]


def refuse_overwriting(path: Path, *, force: bool) -> None:
    """``files.refuse_existing`` for every file that ``save`` might write or remove; raises OutputError."""
    for file in _files(path):
        refuse_existing(file, force=force)


def compute_digest(family: str, config: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256 over the family, the canonical config, and every array's name, type, shape and bytes; hex."""
    digest = hashlib.sha256(json.dumps([SCHEMA, family, config], sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def unreadable(path: Path) -> WeightsError:
    """What is wrong with a file of a checkpoint that could not be read."""
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
        size = path.stat().st_size
    except OSError:
        return WeightsError(f"the weights {path} cannot be read")
    if not head:
        return WeightsError(f"{path} is empty, not a checkpoint")
    for magic, what in _NOT_CHECKPOINTS:
        if head.startswith(magic):
            return WeightsError(f"{path} is {what}, not a checkpoint")
    if size < 8 or (head[8:9] == b"{" and 8 + int.from_bytes(head[:8], "little") > size):
        return WeightsError(f"{path} is truncated")
    return WeightsError(f"{path} is not a safetensors file, or is damaged")


def _parse_metadata(path: Path, raw: Mapping[str, str] | None) -> Checkpoint:
    try:
        meta = dict(raw or {})
        if int(meta["schema"]) > SCHEMA:
            raise WeightsError(f"{path} has schema {meta['schema']}; this dlcodec reads up to {SCHEMA}")
        config = json.loads(meta["config"])
        if len(bytes.fromhex(meta["digest"])) != 32 or not isinstance(config, dict):
            raise ValueError
        lambdas, level = config.get("lambdas"), config.get("default_level")
        if "base" in config:
            sound = isinstance(config["base"], str) and type(config.get("steps")) is int and config["steps"] > 0
        else:
            sound = isinstance(lambdas, list) and isinstance(level, int | float) and 0 <= level <= len(lambdas) - 1
            sound = sound and all(each is None or 0 < float(each) < math.inf for each in lambdas or ())
        if not sound:
            raise ValueError
        if not 1 <= (parts := int(meta.get("parts", "1"))) <= _MOST_PARTS:
            raise ValueError
        return Checkpoint(path, meta["family"], config, meta["digest"], parts)
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has no dlcodec metadata") from error


def _refuse_long_header(path: Path) -> None:
    """Raise WeightsError for what is no plain file or has a header that no checkpoint has, OSError without one."""
    if path.exists() and not path.is_file():
        raise WeightsError(f"the weights {path} cannot be read: they are no plain file")
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if _MOST_HEADER < length < path.stat().st_size:
        raise WeightsError(f"{path} has a header of {length} bytes, which is no checkpoint's")


def read_metadata(path: Path) -> Checkpoint:
    """Read a checkpoint's description; its tensors are not touched.

    Raises WeightsError when the file is no checkpoint.
    """
    try:
        _refuse_long_header(path)
        with safetensors.safe_open(path, framework="numpy") as handle:
            raw = handle.metadata()
    except (OSError, safetensors.SafetensorError) as error:
        raise unreadable(path) from error
    found = _parse_metadata(path, raw)
    for part in found.files[1:]:
        try:
            _refuse_long_header(part)
        except OSError as error:
            raise unreadable(part) from error
    return found


def load_arrays(checkpoint: Checkpoint) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a checkpoint, after its digest has been verified; raises WeightsError or LimitError."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    room = DEFAULT_LIMITS.weights_bytes
    for path in checkpoint.files:
        try:
            data = read_bounded(path, room)
            room -= len(data)
            arrays |= safetensors.numpy.load(data)
        except (InputError, safetensors.SafetensorError, KeyError, ValueError) as error:
            raise unreadable(path) from error
    if any(array.dtype.kind not in "biuf" for array in arrays.values()):
        raise WeightsError(f"{checkpoint.path} has tensors of an unknown type")
    if compute_digest(checkpoint.family, checkpoint.config, arrays) != checkpoint.digest:
        raise WeightsError(f"{checkpoint.path} is damaged: its digest does not match its contents")
    return dict(sorted(arrays.items()))  # the library gives them in an order that changes from call to call


def save(
    path: Path, family: str, config: Mapping[str, Any], arrays: Arrays, record: Mapping[str, Any], *, force: bool
) -> str:
    """Write a checkpoint with its digest and training record; returns the digest.

    Raises OutputError, without ``force`` also where a file of it exists by now, and WeightsError for more than can be
    read again.

    What is too large for one file goes into several, the one of ``path`` last, and none before all are written. Then
    further parts, which a larger checkpoint had that was there before, are removed.
    """
    if sum(array.nbytes for array in arrays.values()) + _MOST_HEADER > DEFAULT_LIMITS.weights_bytes:
        raise WeightsError(f"these weights have more than {DEFAULT_LIMITS.weights_bytes} bytes, the most that is read")
    digest = compute_digest(family, config, arrays)
    metadata = {
        "schema": str(SCHEMA),
        "family": family,
        "config": json.dumps(config, sort_keys=True),
        "record": json.dumps(record, sort_keys=True),
        "digest": digest,
    }
    parts: list[dict[str, npt.NDArray[Any]]] = [{}]
    room = _PART_BYTES
    for name, array in sorted(arrays.items()):
        if array.nbytes > room and parts[-1]:
            parts.append({})
            room = _PART_BYTES
        parts[-1][name] = np.ascontiguousarray(array)
        room -= array.nbytes
    if len(parts) > 1:
        metadata["parts"] = str(len(parts))
    make_folder(path.parent)
    files = _files(path)
    others = {file: safetensors.numpy.save(part) for file, part in zip(files[1:], parts[1:], strict=False)}
    write_together({**others, path: safetensors.numpy.save(parts[0], metadata)}, force=force)
    for file in files[len(parts) :]:
        with suppress(OSError):  # mostly, there is none
            file.unlink()
    return digest


def save_results(path: Path, results: Mapping[str, Any]) -> None:
    """Put ``results`` beside the record of a checkpoint, in the place of those it had; its digest is not over them.

    Only its first file is replaced, at once, and no tensor changes. Raises WeightsError where the checkpoint is
    damaged, or has no room for so much, and OutputError.
    """
    load_arrays(read_metadata(path))
    with safetensors.safe_open(path, framework="numpy") as handle:
        metadata = {**handle.metadata(), "results": json.dumps(results)}
    arrays = safetensors.numpy.load(read_bounded(path, DEFAULT_LIMITS.weights_bytes))
    data = safetensors.numpy.save(arrays, metadata)
    if int.from_bytes(data[:8], "little") > _MOST_HEADER:
        raise WeightsError(f"{path} has no room for results of {len(metadata['results'])} bytes")
    write_atomically(path, data, force=True)
