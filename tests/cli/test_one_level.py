"""Weights of one rate level, as imported ones are: what works, and what says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Run
from tests.conftest import RGB
from tests.tiny import write_checkpoint, write_fusion


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("one")
    write_checkpoint(path, levels=1)
    write_fusion(path)
    return path


@pytest.fixture
def image(tmp_path: Path, photo: RGB) -> Path:
    path = tmp_path / "images" / "image.png"
    path.parent.mkdir()
    Image.fromarray(photo[:200, :220]).save(path)
    return path


def test_the_one_level_is_the_default_and_can_be_named(run: Run, folder: Path, image: Path, tmp_path: Path) -> None:
    for name, more in (("a", ()), ("b", ("-q", "0"))):
        result = run("encode", image, "--model", folder, *more, "--json", "-o", tmp_path / f"{name}.dlc")
        assert (result.code, result.lines[0]["level"]) == (0, 0)
    assert (tmp_path / "a.dlc").read_bytes() == (tmp_path / "b.dlc").read_bytes()
    for tau in ("0", "0.5", "1"):
        result = run("decode", tmp_path / "a.dlc", "--model", folder, "--tau", tau, "-o", tmp_path / f"{tau}.png")
        assert result.code == 0
    assert (tmp_path / "0.png").read_bytes() != (tmp_path / "1.png").read_bytes()


def test_other_levels_and_targets_are_refused_in_one_sentence(
    run: Run, folder: Path, image: Path, tmp_path: Path
) -> None:
    wanted = {
        ("-q", "1"): "level 1.0 is outside 0 to 0; these weights have one rate level",
        ("--target-size", "2kB"): "a target needs weights of several rate levels; these have one",
        ("--target-bpp", "1"): "a target needs weights of several rate levels; these have one",
        ("--target-psnr", "30"): "a target needs weights of several rate levels; these have one",
    }
    for arguments, sentence in wanted.items():
        about = "" if arguments[0] == "-q" else f"{image}: "
        result = run("encode", image, "--model", folder, *arguments, "-o", tmp_path / "a.dlc")
        assert (result.code, result.err) == (2, f"dlcodec: {about}{sentence}\n")
    assert not (tmp_path / "a.dlc").exists()


def test_resume_knows_files_of_other_weights(run: Run, folder: Path, image: Path, tmp_path: Path) -> None:
    arguments = ("encode", image, "--out-dir", tmp_path, "--json", "--resume")
    assert run(*arguments, "--model", folder).lines[0]["skipped"] is False
    assert run(*arguments, "--model", folder).lines[0]["skipped"] is True
    assert run(*arguments).code == 8  # of other weights: not what is wanted, and kept


def test_the_demonstration_the_list_and_the_page_take_it(run: Run, folder: Path, image: Path, tmp_path: Path) -> None:
    assert run("demo", "--model", folder, "-o", tmp_path / "demo").code == 0
    coded = tmp_path / "demo" / "coffee.dlc"
    (said,) = json.loads(run("info", coded, "--model", folder, "--json").out)
    assert (said["level"], Path(said["fusion"]).name) == (0, "fusion.safetensors")
    assert run("models", "show", folder / "mean-scale" / "base.safetensors").code == 0
    page = run("explore", coded, "--model", folder, "--tau", "0", "--steps", "1", "-o", tmp_path / "page.html")
    assert page.code == 0
    sheet = ("compare", f"{coded}@1", f"{coded}@0.5", "--model", folder, "-o", tmp_path / "side.png")
    assert run(*sheet).code == 0


def test_an_evaluation_has_one_point_a_tau(run: Run, folder: Path, image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = ("eval", image.parent, "--model", folder, "--tau", "0,1", "--steps", "1", "--metrics", "psnr")
    assert run(*command, "-o", results).code == 0
    rows = json.loads((results / "results.json").read_text())["means"]
    assert sorted((row["quality"], row["tau"]) for row in rows) == [(0, 0), (0, 1)]
    assert run("eval", "tables", results).code == 0
    assert run("eval", "compare", results, "dlcodec tau 1").code == 0
    assert run("eval", "report", results, "-o", tmp_path / "report.html").code == 0
    assert run("eval", "plots", results, "-o", tmp_path / "plots").code == 0
