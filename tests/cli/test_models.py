"""The commands ``models list``, ``show`` and ``verify``, and what they read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.numpy

from dlcodec import checkpoint
from dlcodec.models import checkpoint_files, describe
from tests.cli.conftest import Run


@pytest.fixture
def folder(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder of its own, with a copy of the tiny weights."""
    shutil.copytree(tiny.parent, tmp_path / "weights" / "mean-scale")
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights" / "mean-scale"


def test_all_folders_are_listed_in_the_order_of_the_search(run: Run, folder: Path) -> None:
    result = run("models", "list", "--json")
    assert (result.code, result.err) == (0, "")
    models = json.loads(result.out)
    assert [Path(model["path"]).name for model in models] == ["base.safetensors", "fusion.safetensors"] * 2
    assert models[0]["path"] == str(folder / "base.safetensors")
    assert [model["role"] for model in models] == ["base", "fusion"] * 2
    for model in models:
        arrays = checkpoint.load_arrays(checkpoint.read_metadata(Path(model["path"])))
        used = [array.size for name, array in arrays.items() if name.split(".")[0] not in ("tables", "train")]
        assert (model["tensors"], model["parameters"]) == (len(arrays), sum(used))
        files = checkpoint.read_metadata(Path(model["path"])).files
        assert model["file_bytes"] == sum(file.stat().st_size for file in files)
        assert model["digest"] == checkpoint.compute_digest(
            model["family"], checkpoint.read_metadata(Path(model["path"])).config, arrays
        )
    assert (models[0]["levels"], models[0]["default_level"], models[0]["base"]) == (3, 1.0, None)
    assert (models[1]["levels"], models[1]["steps"], models[1]["base"]) == (None, 10, models[0]["digest"])
    assert models[2]["orientation"] == "distortion"
    assert models[2]["lambdas"][0] == 0.00045


def test_the_list_has_a_line_a_model(run: Run, folder: Path) -> None:
    lines = run("models", "list").out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"base mean-scale {describe(folder / 'base.safetensors').digest[:16]}: 3 levels")
    assert lines[0].endswith(str(folder / "base.safetensors"))


def test_a_file_that_two_folders_share_is_listed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = checkpoint.weight_folders()[-1]
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(shipped))
    assert checkpoint_files() == [shipped / "mean-scale" / name for name in ("base.safetensors", "fusion.safetensors")]


def test_one_model_is_shown_by_the_beginning_of_its_digest_or_by_its_path(run: Run, folder: Path) -> None:
    path = folder / "fusion.safetensors"
    model = describe(path)
    for name in (model.digest[:8], model.digest[:8].upper(), path):
        (shown,) = json.loads(run("models", "show", name, "--json").out)
        assert shown["path"] == str(path)
        assert shown["record"] == {"data": "none: random weights for tests"}
        assert shown["results"] is None
    text = run("models", "show", path).out
    assert model.digest in text
    assert '"none: random weights for tests"' in text


def test_results_are_shown_where_the_file_has_them(folder: Path) -> None:
    path = folder / "base.safetensors"
    found = checkpoint.read_metadata(path)
    meta = {"schema": "1", "family": found.family, "digest": found.digest, "config": json.dumps(dict(found.config))}
    arrays = checkpoint.load_arrays(found)
    path.write_bytes(safetensors.numpy.save(arrays, {**meta, "results": '{"kodak": {"psnr": 30.5}}'}))
    assert describe(path).results == {"kodak": {"psnr": 30.5}}
    assert describe(path).record is None


@pytest.mark.parametrize("name", ["ffffffff", "absent.safetensors", "", "a" * 300])
def test_a_name_that_fits_no_model_is_code_2(run: Run, folder: Path, name: str) -> None:
    result = run("models", "show", name)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)


def test_sound_models_verify(run: Run, folder: Path) -> None:
    result = run("models", "verify", folder / "base.safetensors", folder / "fusion.safetensors")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [f"{folder / name}.safetensors: sound" for name in ("base", "fusion")]


@pytest.mark.parametrize("place", [0.3, 0.6, 1.0])
def test_one_changed_bit_is_code_7_and_hides_no_other_model(run: Run, folder: Path, place: float) -> None:
    path = folder / "base.safetensors"
    data = bytearray(path.read_bytes())
    head = 8 + int.from_bytes(data[:8], "little")
    data[head + int(place * (len(data) - head - 1))] ^= 1
    path.write_bytes(data)
    result = run("models", "verify", path, folder / "fusion.safetensors", "--json")
    assert (result.code, result.err.count("\n")) == (7, 1)
    assert "is damaged: its digest" in result.err
    assert json.loads(result.out) == [{"path": str(folder / "fusion.safetensors"), "sound": True}]


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"version https://git-lfs"])
def test_what_is_no_checkpoint_is_told_of_in_one_line(run: Run, folder: Path, content: bytes) -> None:
    (folder / "base-other.safetensors").write_bytes(content)
    for command in ("list", "show", "verify"):
        result = run("models", command)
        assert (result.code, result.err.count("\n")) == (7, 1)
        assert "base-other.safetensors" in result.err
        assert str(folder / "base.safetensors") in result.out
