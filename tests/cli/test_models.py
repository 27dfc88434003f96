"""The commands ``models list``, ``show`` and ``verify``, and what they read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dlcodec import checkpoint, installed
from dlcodec.models import checkpoint_files, describe
from tests.cli.conftest import Run
from tests.conftest import RGB
from tests.tiny import write_checkpoint


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
    shipped = installed.weight_folders()[-1]
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


@pytest.fixture
def results(run: Run, folder: Path, photo: RGB, tmp_path: Path) -> Path:
    """A run of the weights in ``folder`` on two pictures in ``pair/``."""
    (tmp_path / "pair").mkdir()
    for top in (0, 100):
        Image.fromarray(photo[top : top + 48, :64]).save(tmp_path / "pair" / f"{top}.png")
    evaluated = run("eval", tmp_path / "pair", "-o", tmp_path / "results", "--tau", "0,0.5,1", "--metrics", "psnr")
    assert evaluated.code == 0
    return tmp_path / "results"


def test_results_are_recorded_without_a_change_of_the_tensors_and_shown(run: Run, folder: Path, results: Path) -> None:
    base, fusion = folder / "base.safetensors", folder / "fusion.safetensors"
    before = {path: (describe(path), checkpoint.load_arrays(checkpoint.read_metadata(path))) for path in (base, fusion)}
    assert run("models", "record", results, base, fusion, "--set", "first").code == 0
    assert run("models", "record", results, base, fusion).code == 0
    means = json.loads((results / "results.json").read_text())["means"]
    for path, taus in ((base, (1,)), (fusion, (1, 0))):
        model, arrays = before[path]
        now = checkpoint.load_arrays(checkpoint.read_metadata(path))
        assert {name: array.tobytes() for name, array in now.items()} == {n: a.tobytes() for n, a in arrays.items()}
        assert replace(describe(path), results=None, file_bytes=0) == replace(model, file_bytes=0)
        recorded = describe(path).results
        assert recorded is not None
        assert recorded["first"] == recorded["pair"]
        assert recorded["pair"]["images"] == 2
        rows = [(row["level"], row["tau"], row["bpp"], row["psnr"]) for row in recorded["pair"]["rows"]]
        wanted = sorted((m for m in means if m["tau"] in taus), key=lambda m: (-m["tau"], m["quality"]))
        assert len(rows) == 3 * len(taus)
        for row, mean in zip(rows, wanted, strict=True):
            assert row == pytest.approx((mean["quality"], mean["tau"], mean["bpp"], mean["psnr"]), abs=1e-5)
    first, last = (m["bpp"] for m in means if m["tau"] == 1 and m["quality"] in (0, 2))
    listed = run("models", "list").out.splitlines()
    assert f": 3 levels, {first:.3f} to {last:.3f} bpp on first, {first:.3f} to {last:.3f} bpp on pair," in listed[0]
    shown = run("models", "show", fusion).out.splitlines()
    table = shown[shown.index("results on pair, 2 images, means:") + 1 :]
    assert [line.split()[:2] for line in table[:7]] == [
        ["level", "tau"],
        *([level, tau] for tau in "10" for level in "012"),
    ]


def test_results_of_other_weights_are_refused_and_none_is_written(run: Run, folder: Path, results: Path) -> None:
    other = write_checkpoint(folder.parent.parent / "other", seed=1)
    before = (folder / "base.safetensors").read_bytes()
    for names in ((folder / "base.safetensors", other), (other,)):
        result = run("models", "record", results, *names)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
        assert "the results in results were measured with" in result.err
    assert (folder / "base.safetensors").read_bytes() == before
    assert describe(other).results is None


def test_damaged_weights_are_not_written_anew(run: Run, folder: Path, results: Path) -> None:
    path = folder / "base.safetensors"
    damaged = path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])
    path.write_bytes(damaged)
    assert run("models", "record", results, path).code == 7
    assert path.read_bytes() == damaged


_ROW = '{"level": 0, "tau": 1, "bpp": 0.5}'


def _of(*rows: str, images: str = "1") -> str:
    return f'{{"a": {{"images": {images}, "rows": [{", ".join(rows)}]}}}}'


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        '{"a": 1}',
        '{"a": {"images": 1}}',
        _of(),
        _of("1"),
        _of(_ROW, images='"1"'),
        _of('{"level": 0, "tau": 1}'),
        _of(_ROW, _ROW.replace("}", ', "psnr": 30}')),
        _of(_ROW.replace("0.5", "NaN")),
        _of(_ROW.replace("0.5", '"0.5"')),
        _of(_ROW.replace("0.5", "1" * 400)),
    ],
)
def test_results_that_make_no_sense_are_told_of(run: Run, folder: Path, text: str) -> None:
    path = folder / "base.safetensors"
    checkpoint.save_results(path, json.loads(_of(_ROW)))
    assert describe(path).results == json.loads(_of(_ROW))
    checkpoint.save_results(path, json.loads(text))
    for command in (("list",), ("show", path)):
        result = run("models", *command)
        assert (result.code, result.err.count("\n")) == (7, 1)
        assert f"the entry results in {path} is damaged" in result.err


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
