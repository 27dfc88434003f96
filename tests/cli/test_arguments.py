"""Arguments that are refused: one sentence and code 2; and outputs that would replace their input, by force or not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.cli.conftest import Run

RGB = npt.NDArray[np.uint8]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frobnicate"], "no such command 'frobnicate'; see "),
        (["info"], "missing argument 'FILE...'; see "),
        (["encode", "a.png", "-o", "a.dlc", "-j", "65"], "64; see "),
        (["encode", "a.png", "-o", "a.dlc", "--precision", "fp64"], "'auto', 'fp32', 'bf16'; see "),
        (["decode", "a.dlc", "-o", "a.png", "--precision", "fp64"], "'auto', 'fp32', 'bf16'; see "),
        (["encode", "--forse"], "no such option: --forse"),
        (["models", "show", "--forse"], "no such option: --forse"),
        (["eval", "--forse"], "no such option: --forse"),
        (["eval", "plots"], "missing argument 'RESULTS...'; see dlcodec eval plots --help"),
    ],
)
def test_a_wrong_argument_is_one_sentence(run: Run, arguments: list[str], said: str) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("dlcodec: ")
    assert ran.err.count("\n") == 1
    assert said in ran.err


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["models"], 2), (["eval"], 2), (["eval", "--help"], 0)])
def test_no_arguments_are_answered_by_help(run: Run, arguments: list[str], code: int) -> None:
    ran = run(*arguments)
    assert ran.code == code
    assert "Usage: " in ran.out + ran.err
    assert "dlcodec: " not in ran.err


def test_no_force_lets_a_file_replace_its_input(
    run: Run, tmp_path: Path, photo: RGB, tiny_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    Image.fromarray(photo[:20, :20]).save("a.png")
    Path("b-0.png").write_bytes(tiny_file)
    for line in (
        ["encode", "a.png", "-o", "a.png"],
        ["encode", "./a.png", "-o", tmp_path / "linked" / "a.png"],
        ["decode", "b-0.png", "-o", "b-{tau}.png", "--tau", "0"],
        ["decode", "b-0.png", "-o", "../real/b-0.png"],
        ["compare", "a.png", "a.png", "-o", "a.png"],
    ):
        before = {name: Path(name).read_bytes() for name in os.listdir()}
        ran = run(*line, "--force")
        assert (ran.code, ran.out) == (8, "")
        assert "is an input itself" in ran.err
        assert {name: Path(name).read_bytes() for name in os.listdir()} == before
