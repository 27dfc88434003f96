"""Foreign checkpoint files: bounded, looked through before torch sees them, loaded as tensors and nothing else."""

from __future__ import annotations

import hashlib
import io
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import safetensors.torch
import torch
from torch import Tensor

from dlcodec.errors import InputError, WeightsError
from dlcodec.files import read_bounded

MOST_BYTES = 2**30
"""Of a file; a training checkpoint with its optimizer is three times its network."""
_MOST_PICKLE = 2**24
_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What torch.save wrote before 1.6 begins with: its magic number, pickled. Four more pickles follow, then raw data."""
_LEGACY_PICKLES = 5
_OTHERS = (
    (b"version https://git-lfs", "a Git-LFS pointer; fetch the real file with git lfs pull"),
    (b"\x80", "a Python pickle that torch.save did not write"),
    (b"<", "a web page, perhaps a failed download"),
)
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Int", "Long", "Short", "Char", "Byte", "Bool")
_ALLOWED = {
    "collections OrderedDict",
    "collections Counter",
    "torch Size",
    "torch device",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in _STORAGES),
}
"""What the pickle of a training checkpoint names. torch allows more, of which some takes memory that no file backs."""
_BY_STACK = {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}


@dataclass(frozen=True, slots=True)
class Source:
    """A foreign checkpoint: its file's name and SHA-256 in hex, and its tensors, on the CPU, as they were saved."""

    name: str
    sha256: str
    tensors: Mapping[str, Tensor]


def read_source(path: Path) -> Source:
    """Read a checkpoint file as ``parse_source`` does; raises LimitError when it is too large, WeightsError."""
    try:
        data = read_bounded(path, MOST_BYTES)
    except InputError as error:
        raise WeightsError(str(error)) from error
    return parse_source(path.name, data)


def parse_source(file: str, data: bytes) -> Source:
    """Take a file of torch.save, or a safetensors file: a state dict, bare or under the key "state_dict".

    Nothing in it is executed. Raises WeightsError when it is something else, is damaged, or holds what is no tensor.
    """
    is_safetensors = False
    if data.startswith(_ZIP):
        _check_pickles(file, _archived_pickle(file, data), 1)
    elif data.startswith(_LEGACY):
        _check_pickles(file, data[:_MOST_PICKLE], _LEGACY_PICKLES)
    elif not (is_safetensors := data[8:9] == b"{"):
        _refuse(file, data)
    try:
        loaded = safetensors.torch.load(data) if is_safetensors else _load(data)
    except Exception as error:  # whatever becomes of damaged bytes
        raise WeightsError(f"{file} is truncated or damaged: its tensors cannot be read") from error
    return Source(file, hashlib.sha256(data).hexdigest(), _state_dict(file, loaded, len(data)))


def _refuse(file: str, data: bytes) -> NoReturn:
    if not data:
        raise WeightsError(f"{file} is empty, not a checkpoint")
    for magic, what in _OTHERS:
        if data.startswith(magic):
            raise WeightsError(f"{file} is {what}")
    raise WeightsError(f"{file} is no checkpoint: neither a file of torch.save nor safetensors")


def _archived_pickle(file: str, data: bytes) -> bytes:
    """The pickle of a zip archive whose members are stored as torch.save stores them: plain, apart, and all there."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if any(each.compress_type != zipfile.ZIP_STORED or each.flag_bits & 1 for each in members):
                raise WeightsError(f"{file} is a compressed archive, which torch.save does not write")
            if sum(each.file_size for each in members) > len(data):
                raise WeightsError(f"{file} is an archive that claims more than it holds")
            pickles = [each for each in members if each.filename.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise WeightsError(f"{file} is a zip archive, but not one of torch.save")
            if pickles[0].file_size > _MOST_PICKLE:
                raise WeightsError(f"{file} has a pickle of {pickles[0].file_size} bytes, too many for a state dict")
            return archive.read(pickles[0])
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise WeightsError(f"{file} is truncated or damaged: {error}") from error


def _check_pickles(file: str, data: bytes, count: int) -> None:
    """Read the first ``count`` pickles of ``data`` as text: they may name what tensors are made of, no more."""
    stream = io.BytesIO(data)
    try:
        for _ in range(count):
            for opcode, argument, _ in pickletools.genops(stream):
                named = argument if opcode.name == "GLOBAL" else opcode.name if opcode.name in _BY_STACK else None
                if named is not None and named not in _ALLOWED:
                    name = ascii(str(named).replace(" ", "."))[1:-1][:80]
                    raise WeightsError(f"{file} names {name}, which is no tensor; nothing of the file was run")
    except (ValueError, IndexError, OverflowError) as error:
        raise WeightsError(f"{file} is truncated or damaged: its pickle does not end") from error


def _load(data: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _state_dict(file: str, loaded: Any, most_bytes: int) -> dict[str, Tensor]:
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not state:
        raise WeightsError(f"{file} holds no state dict")
    size = 0
    for name, tensor in state.items():
        plain = isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout == torch.strided
        if not plain or tensor.device.type != "cpu":
            raise WeightsError(f"{file} holds no state dict: {ascii(name)[:80]} is no tensor")
        size += tensor.numel() * tensor.element_size()
    if size > most_bytes:
        raise WeightsError(f"{file} claims tensors of {size} bytes, more than the file has")
    return {name: tensor.detach() for name, tensor in state.items()}
