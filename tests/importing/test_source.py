"""Foreign files: what is read of them, and that the wrong, the damaged and the hostile are refused and never run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from dlcodec.errors import WeightsError
from dlcodec.importing.source import parse_source, read_source

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 2.0])}


def saved(thing: Any, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(thing, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def rezipped(data: bytes, /, *, compression: int = zipfile.ZIP_STORED, **replaced: bytes) -> bytes:
    """An archive of torch.save with some members' contents exchanged, by the last part of their name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, replaced.get(name.rpartition("/")[2].partition(".")[0], old.read(name)))
    return stream.getvalue()


class Touch:
    """Unpickled by a careless reader, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "data",
    [
        saved(STATE),
        saved(STATE, legacy=True),
        saved({"state_dict": OrderedDict(STATE), "epoch": 3, "milestones": Counter([4]), "loss": torch.ones(())}),
        saved({"state_dict": {name: torch.nn.Parameter(t) for name, t in STATE.items()}}),
        safetensors.torch.save(STATE),
    ],
    ids=["zip", "legacy", "training", "parameters", "safetensors"],
)
def test_a_state_dict_is_found_in_every_form(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pth.tar").write_bytes(data)
    source = read_source(tmp_path / "a.pth.tar")
    assert source.tensors.keys() == STATE.keys()
    assert all(torch.equal(source.tensors[name], tensor) for name, tensor in STATE.items())
    assert not any(tensor.requires_grad for tensor in source.tensors.values())
    assert source.name == "a.pth.tar"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "pointer": (POINTER, "Git-LFS pointer"),
    "pickle": (pickle.dumps(STATE), "a Python pickle that torch.save did not write"),
    "page": (b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
    "garbage": (b"garbage " * 9, "is no checkpoint"),
    "other zip": (rezipped(saved(STATE)).replace(b"data.pkl", b"data.txt"), "not one of torch.save"),
    "a list": (saved([torch.ones(2)]), "holds no state dict"),
    "nothing": (saved({}), "holds no state dict"),
    "numbers": (saved({"a": 1.0}), "'a' is no tensor"),
    "meta": (saved({"a": torch.ones(2, 2).to("meta")}), "is no tensor"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_state_dict_is_named(name: str) -> None:
    data, fragment = WRONG[name]
    with pytest.raises(WeightsError, match=fragment) as caught:
        parse_source("a.pt", data)
    assert caught.value.exit_code == 7


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(WeightsError, match="cannot read"):
            read_source(path)


@pytest.mark.parametrize("data", [saved(STATE), saved(STATE, legacy=True), safetensors.torch.save(STATE)])
def test_a_truncated_file_is_refused_at_every_length(data: bytes) -> None:
    for length in {*range(0, len(data) - 1, max(1, len(data) // 150)), len(data) - 1}:
        with pytest.raises(WeightsError):
            parse_source("a.pt", data[:length])


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, legacy: bool) -> None:
    for thing in (Touch(tmp_path / "made"), {"state_dict": {**STATE, "b": Touch(tmp_path / "made")}}):
        with pytest.raises(WeightsError, match=r"names (posix|nt)\.mkdir, which is no tensor; nothing .* was run"):
            parse_source("a.pt", saved(thing, legacy=legacy))
    assert not (tmp_path / "made").exists()


def test_code_by_other_opcodes_is_refused_and_not_run(tmp_path: Path) -> None:
    for protocol in range(5):
        code = pickle.dumps(Touch(tmp_path / "made"), protocol)
        with pytest.raises(WeightsError, match="nothing of the file was run"):
            parse_source("a.pt", rezipped(saved(STATE), data=code))
    inst = b"(S'" + str(tmp_path / "made").encode() + b"'\niposix\nmkdir\n."
    with pytest.raises(WeightsError, match="nothing of the file was run"):
        parse_source("a.pt", rezipped(saved(STATE), data=inst))
    assert not (tmp_path / "made").exists()


def test_what_torch_would_allow_but_takes_memory_that_no_file_backs_is_refused() -> None:
    huge = b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R."
    with pytest.raises(WeightsError, match=r"__builtin__\.bytearray"):
        parse_source("a.pt", rezipped(saved(STATE), data=huge))


def test_a_tensor_larger_than_its_file_is_refused() -> None:
    spread = torch.zeros(1).expand(2**20, 2**20)
    for legacy in (False, True):
        with pytest.raises(WeightsError, match="claims tensors of 4398046511104 bytes"):
            parse_source("a.pt", saved({"a": spread}, legacy=legacy))


def test_a_storage_that_claims_more_than_it_has_is_refused() -> None:
    honest = saved({"a": torch.arange(4.0)})
    with zipfile.ZipFile(io.BytesIO(honest)) as archive:
        code = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    for claim in (b"K\xff", b"J\xff\xff\xff\x7f", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"):
        forged = code.replace(b"K\x04", claim)
        assert forged != code
        with pytest.raises(WeightsError):
            parse_source("a.pt", rezipped(honest, data=forged))
    old = saved({"a": torch.arange(4.0)}, legacy=True)
    with pytest.raises(WeightsError):
        parse_source("a.pt", old.replace(b"K\x04", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"))


def test_a_zip_bomb_is_refused_before_it_is_inflated() -> None:
    bomb = rezipped(saved({"a": torch.zeros(2**22)}), compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**17
    with pytest.raises(WeightsError, match="compressed archive"):
        parse_source("a.pt", bomb)


def test_members_that_share_their_bytes_are_refused() -> None:
    """The directory at the archive's end may name one run of bytes many times."""
    data = saved({"a": torch.zeros(2**12)})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        largest = max(archive.infolist(), key=lambda each: each.file_size)
        stream = io.BytesIO(data)
        with zipfile.ZipFile(stream, "a") as again:
            for number in range(9):
                twin = zipfile.ZipInfo(f"archive/data/{number + 1}")
                for field in ("CRC", "compress_size", "file_size", "header_offset"):
                    setattr(twin, field, getattr(largest, field))
                again.filelist.append(twin)
                again.NameToInfo[twin.filename] = twin
            again._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(WeightsError, match="claims more than it holds"):
        parse_source("a.pt", stream.getvalue())
