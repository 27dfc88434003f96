"""What --model names: an installed family, a folder, a file; and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dlcodec import checkpoint, installed
from dlcodec.container import unpack
from dlcodec.errors import UsageError, WeightsError
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import decode_image
from dlcodec.selection import base_to_decode, base_to_encode
from tests.tiny import write_checkpoint


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder of weights beside those that are installed."""
    write_checkpoint(tmp_path / "other", seed=1)
    return tmp_path / "other"


def test_a_family_or_nothing_takes_what_is_installed(tiny: Path) -> None:
    assert base_to_encode(None).path == base_to_encode("mean-scale").path == tiny


def test_a_weights_folder_the_folder_of_a_family_and_a_file_are_the_same(tiny: Path, other: Path) -> None:
    file = other / "mean-scale" / "base.safetensors"
    wanted = checkpoint.read_metadata(file)
    for model in (other, other / "mean-scale", file):
        assert base_to_encode(str(model)) == wanted
        assert base_to_decode(str(model), "mean-scale", wanted.short_digest) == wanted


def test_of_several_weights_a_file_takes_its_own_and_an_encode_wants_to_be_told(tiny: Path, other: Path) -> None:
    shutil.copy(tiny, other / "mean-scale" / "base-tiny.safetensors")
    wanted = checkpoint.read_metadata(tiny)
    found = base_to_decode(str(other), "mean-scale", wanted.short_digest)
    assert (found.digest, found.path.name) == (wanted.digest, "base-tiny.safetensors")
    with pytest.raises(UsageError, match=r"several base weights; name one of .*base-tiny\.safetensors, .*base\.safe"):
        base_to_encode(str(other))


def test_a_file_is_decoded_by_its_own_weights_only(tiny: Path, tiny_file: bytes, other: Path) -> None:
    header = unpack(tiny_file, DEFAULT_LIMITS).header
    digest = header.model_digest
    with pytest.raises(WeightsError, match=rf"needs mean-scale weights {digest.hex()}, but .*other has mean-scale "):
        base_to_decode(str(other), header.family, digest)
    with pytest.raises(WeightsError, match="needs cheng2020 weights, not mean-scale"):
        base_to_decode("mean-scale", "cheng2020", digest)
    with pytest.raises(WeightsError, match=f"needs mean-scale weights {digest.hex()}, not those of"):
        decode_image(tiny_file, 1.0, base=base_to_encode(str(other)))


def test_names_that_mean_nothing_and_folders_of_nothing_are_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither a family \(mean-scale.* nor a folder or file"):
        base_to_encode("mean-scales")
    for empty in (tmp_path, tiny.parent / "fusion.safetensors"):
        with pytest.raises(WeightsError, match="holds no base weights"):
            base_to_encode(str(empty))
    (tmp_path / "base.safetensors").write_bytes(b"\x80\x04")
    with pytest.raises(WeightsError, match="Python pickle"):
        base_to_encode(str(tmp_path))


def test_a_name_longer_than_the_system_takes_is_a_name_that_means_nothing(tiny: Path) -> None:
    with pytest.raises(UsageError, match="neither a family"):
        base_to_encode("a" * 300)


def test_the_fusion_beside_a_base_in_no_weight_folder_is_found(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny.parent, tmp_path / "elsewhere")
    base = base_to_encode(str(tmp_path / "elsewhere"))
    assert installed.find_fusion(base).path == tmp_path / "elsewhere" / "fusion.safetensors"
    assert installed.find_fusion(base_to_encode(None)).path == tiny.parent / "fusion.safetensors"
