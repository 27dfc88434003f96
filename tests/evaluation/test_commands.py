"""``dlcodec eval`` in child processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation.conftest import Start, finish


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dlcodec", "eval", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_folder_is_enough_and_a_broken_image_is_in_the_exit_code(pictures: Path, tmp_path: Path, tiny: Path) -> None:
    (pictures / "aa.png").write_bytes(b"broken")
    arguments = ("-q", "0,2", "--tau", "1", "--metrics", "psnr", "--device", "cpu")
    result = run(pictures, "-o", tmp_path / "results", *arguments)
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("dlcodec: aa.png: cannot read")
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["codec", "quality"],
        ["dlcodec", "0"],
        ["dlcodec", "2"],
    ]
    again = run("-q", "0,2", "--tau", "1", "--metrics", "psnr", "--device", "cpu", pictures, "-o", tmp_path / "results")
    assert (again.returncode, again.stdout) == (3, result.stdout)
    other = run("run", pictures, "-o", tmp_path / "results", "--tau", "1", "--metrics", "ms-ssim", "--device", "cpu")
    assert other.returncode == 2
    assert "choose another folder" in other.stderr


def test_report_plots_and_compare(request_of: Start, tmp_path: Path) -> None:
    request = request_of(levels=(0.0, 1.0, 2.0), peers=("jpeg",))
    finish(request)
    page = tmp_path / "report.html"
    assert run("report", request.output, "-o", page).returncode == 0
    assert page.read_text().startswith("<!doctype html>")
    assert run("report", request.output, "-o", page).returncode == 8
    result = run("plots", request.output, "-o", tmp_path / "plots")
    assert result.stdout.split() == [str(tmp_path / "plots" / f"rate-psnr.{kind}") for kind in ("svg", "png")]
    result = run("compare", request.output, request.output)
    assert result.returncode == 0
    assert result.stderr == ""
    assert "+0.0000" in result.stdout
    result = run("compare", request.output, "mbt2018-mean")
    assert "the figures say little" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "-o", "OUT"], 3, "cannot read the folder nowhere"),
        (["nowhere", "-o", "OUT", "-q", "a"], 2, "--level takes numbers"),
        (["report", "nowhere", "-o", "OUT"], 3, "nowhere holds no results"),
        (["compare", "nowhere", "elic"], 3, "nowhere holds no results"),
    ],
)
def test_a_mistake_is_one_sentence_and_a_code(arguments: list[str], code: int, words: str, tmp_path: Path) -> None:
    result = run(*(str(tmp_path / "out") if word == "OUT" else word for word in arguments))
    assert result.returncode == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
