"""``dlcodec eval`` as a user types it, in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from dlcodec.cli import main
from dlcodec.evaluation import blend
from dlcodec.evaluation.lock import hold
from dlcodec.evaluation.results import read_run
from dlcodec.image import psnr
from tests.conftest import RGB
from tests.evaluation.conftest import Start, finish


@dataclass(frozen=True)
class Result:
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Result]
PLOTTING = tuple(f"dlcodec.evaluation.{name}" for name in ("plots", "report", "worst_and_best"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*arguments: str | Path) -> Result:
        monkeypatch.setattr("sys.argv", ["dlcodec", "eval", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return Result(int(stop.value.code or 0), *capsys.readouterr())

    return call


def test_a_folder_is_enough_and_a_broken_image_is_in_the_exit_code(
    pictures: Path, tmp_path: Path, tiny: Path, run: Command
) -> None:
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


def test_report_plots_and_compare(request_of: Start, tmp_path: Path, run: Command) -> None:
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


def test_the_tables_of_a_run_of_peers_alone_are_those_of_the_peers(request_of: Start, run: Command) -> None:
    request = request_of(taus=(), peers=("jpeg",))
    finish(request)
    result = run("tables", request.output)
    assert (result.returncode, [line for line in result.stdout.splitlines() if "#" in line]) == (0, ["### Peers"])
    assert "level" not in result.stdout


def test_the_name_of_a_run_sends_a_terminal_no_commands(request_of: Start, tmp_path: Path, run: Command) -> None:
    request = request_of(output=tmp_path / "a\x1b[2J")
    finish(request)
    result = run("compare", request.output, request.output)
    assert result.stdout.startswith("psnr, a\\x1b[2J against a\\x1b[2J\n")
    assert "\x1b" not in result.stdout


def test_a_folder_that_another_run_writes_into_is_refused(
    pictures: Path, tmp_path: Path, tiny: Path, run: Command
) -> None:
    arguments = (pictures, "-o", tmp_path / "results", "-q", "0", "--tau", "1", "--metrics", "psnr", "--device", "cpu")
    with hold(tmp_path / "results"):
        result = run(*arguments)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "another run is writing" in result.stderr
    assert not (tmp_path / "results" / "results.csv").exists()
    assert run(*arguments).returncode == 0


def test_where_there_are_no_locks_a_run_goes_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcodec.evaluation.lock.fcntl", None)
    with hold(tmp_path), hold(tmp_path):
        pass


def test_a_file_name_need_not_be_utf_8(pictures: Path, tmp_path: Path, tiny: Path, run: Command) -> None:
    try:
        (pictures / "b.png").rename(pictures / os.fsdecode(b"b\xff\xc3\xa9.png"))
        (pictures / os.fsdecode(b"broken\xfe.png")).write_bytes(b"broken")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    results = tmp_path / os.fsdecode(b"results\xfd")
    arguments = (pictures, "-o", results, "-q", "0,1", "--tau", "1", "--metrics", "psnr", "--device", "cpu")
    first = run(*arguments)
    assert first.returncode == 3
    assert {row.image for row in read_run(results).rows} == {"a.png", "b\\xff\u00e9.png"}
    assert (results / "files" / "b\\xff\u00e9.png" / "q0.dlc").exists()
    again = run(*arguments)
    assert (again.returncode, again.stdout) == (3, first.stdout)
    page = tmp_path / "report.html"
    assert run("report", results, "-o", page).returncode == 0
    text = page.read_text("utf-8")
    assert "PSNR (dB), worst" in text
    assert "b\\xff\u00e9.png" in text
    assert "No further pictures" not in text
    assert run("plots", results, "-o", tmp_path / "plots").returncode == 0


@pytest.mark.parametrize("package", ["matplotlib", "bjontegaard"])
def test_an_absent_package_is_a_sentence_with_what_installs_it(
    package: str, request_of: Start, tmp_path: Path, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(levels=(0.0, 1.0, 2.0), peers=("jpeg",))
    finish(request)
    for name in [name for name in sys.modules if name.split(".")[0] == package or name.startswith(PLOTTING)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    plots, report = (["plots", request.output, "-o", tmp_path / "p"], ["report", request.output, "-o", tmp_path / "r"])
    compare = ["compare", request.output, "jpeg"]
    for command in (plots, report) if package == "matplotlib" else (compare, report):
        result = run(*command)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert f"the package {package}" in result.stderr
        assert "pip install 'dlcodec[eval]'" in result.stderr
    assert not (tmp_path / "p").exists()
    assert not (tmp_path / "r").exists()


def _in_a_shell(redirection: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "dlcodec", "eval", *map(str, arguments)]
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *line]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_closed_standard_error_changes_no_exit_code(pictures: Path, tmp_path: Path, tiny: Path) -> None:
    (pictures / "aa.png").write_bytes(b"broken")
    arguments = ("-o", tmp_path / "results", "-q", "0", "--tau", "1", "--metrics", "psnr", "--device", "cpu")
    result = _in_a_shell("2>&-", pictures, *arguments)
    assert (result.returncode, result.stderr) == (3, "")
    assert "dlcodec" in result.stdout


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_a_standard_output_that_takes_nothing_is_code_8(redirection: str, request_of: Start) -> None:
    request = request_of(levels=(0.0,))
    finish(request)
    for command in (["tables", request.output], ["compare", request.output, request.output]):
        result = _in_a_shell(redirection, *command)
        assert (result.returncode, result.stderr.count("\n")) == (8, 1)
        assert result.stderr.startswith("dlcodec: ")


def test_compare_takes_the_metrics_that_both_sides_have(
    request_of: Start, tmp_path: Path, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcodec.evaluation.plan.load_measure", lambda *_: psnr)
    request = request_of(metrics=("lpips-alex", "psnr"))
    finish(request)
    result = run("compare", request.output, "mbt2018-mean")
    assert result.returncode == 0
    assert "psnr, results against mbt2018-mean" in result.stdout
    assert "lpips" not in result.stdout
    assert "the figures say little" in result.stderr
    named = run("compare", request.output, "mbt2018-mean", "--metrics", "psnr,lpips-alex")
    assert (named.returncode, named.stdout, named.stderr.count("\n")) == (2, "", 1)
    assert "nor a curve of lpips-alex" in named.stderr
    lone = request_of(metrics=("lpips-alex",), output=tmp_path / "lone")
    finish(lone)
    result = run("compare", lone.output, "mbt2018-mean")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "-o", "OUT"], 3, "cannot read the folder nowhere"),
        (["PICTURES", "-o", "OUT", "--tau", "0", "--metrics", "psnr"], 7, "fusion weights"),
        (["nowhere", "-o", "OUT", "-q", "a"], 2, "--level takes numbers"),
        (["report", "nowhere", "-o", "OUT"], 3, "nowhere holds no results"),
        (["compare", "nowhere", "elic"], 3, "nowhere holds no results"),
    ],
)
def test_a_mistake_is_one_sentence_and_a_code(
    arguments: list[str], code: int, words: str, pictures: Path, without_fusion: Path, tmp_path: Path, run: Command
) -> None:
    paths = {"OUT": tmp_path / "out", "PICTURES": pictures}
    result = run(*(paths.get(word, word) for word in arguments))
    assert (result.returncode, result.stdout) == (code, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_table_has_a_row_for_each_tau(
    tiny: Path, photo: RGB, tmp_path: Path, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(photo[:64, :96]).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    monkeypatch.setattr(blend, "load_measure", lambda name, device, folder: psnr)
    result = run("blend", tmp_path, "--metric-weights", tmp_path, "-q", "1")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.strip("| \n").split(" | ") for line in result.stdout.splitlines()]
    assert [float(line[0]) for line in lines[2:]] == [n / 10 for n in range(11)]
    assert lines[2][1:] == [lines[2][1], *[f"{float(lines[2][2]):.4f}"] * 4]
