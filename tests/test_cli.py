"""The command line in child processes, with the tiny weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image

import dlcodec
from dlcodec import cli, files
from tests.conftest import RGB
from tests.forged import seal

Result = subprocess.CompletedProcess[str]


def run(*arguments: str | Path) -> Result:
    command = [sys.executable, "-m", "dlcodec", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def folder(tmp_path: Path, tiny_file: bytes, photo: RGB) -> Path:
    """A folder with the picture of tiny_file as a PNG, and tiny_file."""
    (tmp_path / "good.dlc").write_bytes(tiny_file)
    Image.fromarray(photo[100:150, 200:270]).save(tmp_path / "photo.png")
    return tmp_path


@pytest.fixture
def fails(folder: Path) -> Callable[..., str]:
    """Run a command line that must fail with a code, in one line on stderr, and write nothing; gives the line."""

    def check(code: int, *arguments: str | Path) -> str:
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        result = run(*arguments)
        assert result.returncode == code, result.stderr
        assert result.stdout == ""
        assert result.stderr.startswith("dlcodec: ")
        assert result.stderr.count("\n") == 1
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        return result.stderr

    return check


def test_encode_decode_and_info_go_round(folder: Path, tiny_file: bytes) -> None:
    encoded = run("encode", folder / "photo.png", "-o", folder / "a.dlc")
    decoded = run("decode", folder / "a.dlc", "-o", folder / "a.png", "--device", "cpu")
    for result in (encoded, decoded):
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (folder / "a.dlc").read_bytes() == tiny_file
    with Image.open(folder / "a.png") as image:
        assert (image.size, image.mode, image.format) == ((70, 50), "RGB", "PNG")
        peak = np.abs(np.asarray(image).astype(int) - np.asarray(dlcodec.decode(tiny_file))).max()
    assert peak <= 2
    assert sorted(path.name for path in folder.iterdir()) == ["a.dlc", "a.png", "good.dlc", "photo.png"]


def test_info_tells_the_truth(folder: Path, tiny: Path, tiny_file: bytes) -> None:
    result = run("info", "--json", folder / "good.dlc", folder / "good.dlc")
    assert (result.returncode, result.stderr) == (0, "")
    first, second = json.loads(result.stdout)
    assert first == second
    assert first.pop("file") == str(folder / "good.dlc")
    assert first == asdict(dlcodec.read_info(tiny_file))
    assert (first["width"], first["height"], first["file_bytes"]) == (70, 50, len(tiny_file))
    assert first["bits_per_pixel"] == pytest.approx(len(tiny_file) * 8 / 3500)
    assert first["model_digest"] == _digest(tiny)[:16]
    assert first["tau_hint"] is None


def _digest(path: Path) -> str:
    with safetensors.safe_open(path, framework="numpy") as handle:
        digest: str = handle.metadata()["digest"]
    return digest


def test_plain_info_shows_a_line_for_each_field(folder: Path) -> None:
    result = run("info", folder / "good.dlc")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if line.startswith(("width", "family")))
    assert lines == {"width": "70", "family": "mean-scale"}


def test_one_bad_file_does_not_hide_the_good_ones(folder: Path) -> None:
    (folder / "bad.dlc").write_bytes(b"garbage")
    result = run("info", "--json", folder / "good.dlc", folder / "bad.dlc", folder / "absent", folder / "good.dlc")
    assert result.returncode == 4
    assert [Path(entry["file"]).name for entry in json.loads(result.stdout)] == ["good.dlc", "good.dlc"]
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("dlcodec: ") for line in lines)


def test_an_existing_output_is_refused_without_force(folder: Path, fails: Callable[..., str]) -> None:
    (folder / "a.png").write_bytes(b"mine")
    assert "--force" in fails(8, "decode", folder / "good.dlc", "-o", folder / "a.png")
    assert "--force" in fails(8, "encode", folder / "photo.png", "-o", folder / "a.png")
    assert (folder / "a.png").read_bytes() == b"mine"
    assert run("decode", folder / "good.dlc", "-o", folder / "a.png", "--force").returncode == 0
    with Image.open(folder / "a.png") as image:
        assert image.size == (70, 50)


@pytest.mark.parametrize("tau", ["nan", "inf", "-inf", "-0.1", "1.1"])
def test_a_tau_outside_its_range_is_code_2(folder: Path, fails: Callable[..., str], tau: str) -> None:
    assert "outside 0 to 1" in fails(2, "decode", folder / "good.dlc", "-o", folder / "a.png", f"--tau={tau}")


def test_a_tau_below_1_needs_fusion_weights(folder: Path, without_fusion: Path, fails: Callable[..., str]) -> None:
    assert "needs fusion weights" in fails(7, "decode", folder / "good.dlc", "-o", folder / "a.png", "--tau", "0.5")


def test_several_taus_give_several_files(folder: Path) -> None:
    result = run("decode", folder / "good.dlc", "-o", folder / "out-{tau}.png", "--tau", "0,0.30,1", "--steps", "2")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    names = ["out-0.3.png", "out-0.png", "out-1.png"]
    assert sorted(path.name for path in folder.glob("out-*")) == names
    pictures = {name: (folder / name).read_bytes() for name in names}
    assert len(set(pictures.values())) == 3
    for name, tau in zip(names, ("0.3", "0", "1"), strict=True):
        run("decode", folder / "good.dlc", "-o", folder / "one.png", "--tau", tau, "--steps", "2", "--force")
        assert (folder / "one.png").read_bytes() == pictures[name]


@pytest.mark.parametrize(
    ("pattern", "tau"),
    [
        ("a.png", "0,1"),
        ("out-{tau}.png", "0.5,0.50"),
        ("out-{tau}.png", "0,-0.0"),
        ("{tau}.gif", "0,1"),
        ("a.png", ""),
    ],
)
def test_several_taus_need_several_names(folder: Path, fails: Callable[..., str], pattern: str, tau: str) -> None:
    fails(2, "decode", folder / "good.dlc", "-o", folder / pattern, "--tau", tau)


def test_one_existing_output_of_several_is_refused_before_any_is_written(
    folder: Path, fails: Callable[..., str]
) -> None:
    (folder / "out-1.png").write_bytes(b"mine")
    assert "--force" in fails(8, "decode", folder / "good.dlc", "-o", folder / "out-{tau}.png", "--tau", "0,1")


@pytest.mark.parametrize("options", [["--steps", "0"], ["--steps", "51"], ["--seed", "-1"]])
def test_sampling_options_outside_their_range_are_code_2(
    folder: Path, fails: Callable[..., str], options: list[str]
) -> None:
    assert "outside" in fails(2, "decode", folder / "good.dlc", "-o", folder / "a.png", *options)


def test_the_hint_travels_in_the_file(folder: Path) -> None:
    assert run("encode", folder / "photo.png", "-o", folder / "h.dlc", "--tau-hint", "1").returncode == 0
    assert json.loads(run("info", "--json", folder / "h.dlc").stdout)[0]["tau_hint"] == 1
    run("decode", folder / "h.dlc", "-o", folder / "hinted.png")
    run("decode", folder / "h.dlc", "-o", folder / "one.png", "--tau", "1")
    assert (folder / "hinted.png").read_bytes() == (folder / "one.png").read_bytes()


@pytest.mark.parametrize("option", [["--tau", "a"], ["--device", "tpu"], ["--no-such-option"]])
def test_what_does_not_parse_is_code_2(folder: Path, option: list[str]) -> None:
    result = run("decode", folder / "good.dlc", "-o", folder / "a.png", *option)
    assert (result.returncode, result.stdout) == (2, "")
    assert not (folder / "a.png").exists()


@pytest.mark.parametrize("level", ["2.01", "-0.1", "nan", "inf", "99"])
def test_a_level_outside_the_ladder_is_code_2(folder: Path, fails: Callable[..., str], level: str) -> None:
    assert "outside 0 to 2" in fails(2, "encode", folder / "photo.png", "-o", folder / "a.dlc", f"--level={level}")


@pytest.mark.parametrize("name", ["a.gif", "a", "a.dlc", "png"])
def test_an_output_of_an_unknown_format_is_code_2(folder: Path, fails: Callable[..., str], name: str) -> None:
    assert ".png, .jpg" in fails(2, "decode", folder / "absent.dlc", "-o", folder / name)


if not torch.cuda.is_available():

    def test_cuda_where_there_is_none_is_code_2(folder: Path, fails: Callable[..., str]) -> None:
        assert "CUDA" in fails(2, "decode", folder / "good.dlc", "-o", folder / "a.png", "--device", "cuda")
        assert "CUDA" in fails(2, "encode", folder / "photo.png", "-o", folder / "a.dlc", "--device", "cuda")


def test_a_missing_or_unreadable_input_is_code_3(folder: Path, fails: Callable[..., str]) -> None:
    assert "No such file" in fails(3, "decode", folder / "absent.dlc", "-o", folder / "a.png")
    assert "known image format" in fails(3, "encode", folder / "good.dlc", "-o", folder / "a.dlc")


def test_a_file_that_is_not_ours_is_code_4(folder: Path, fails: Callable[..., str]) -> None:
    assert "not a dlcodec file" in fails(4, "decode", folder / "photo.png", "-o", folder / "a.png")


def test_a_newer_file_is_code_5(folder: Path, tiny_file: bytes, fails: Callable[..., str]) -> None:
    (folder / "new.dlc").write_bytes(seal(tiny_file[:6] + b"\x02\x02" + tiny_file[8:-4]))
    assert "format 2" in fails(5, "decode", folder / "new.dlc", "-o", folder / "a.png")


def test_a_level_above_the_ladder_in_a_file_is_code_4(
    folder: Path, tiny_file: bytes, fails: Callable[..., str]
) -> None:
    (folder / "high.dlc").write_bytes(seal(tiny_file[:11] + b"\x00\x07" + tiny_file[13:-4]))
    assert "level 7" in fails(4, "decode", folder / "high.dlc", "-o", folder / "a.png")


def test_missing_weights_are_code_7(folder: Path, tiny_file: bytes, fails: Callable[..., str]) -> None:
    (folder / "other.dlc").write_bytes(seal(tiny_file[:14] + b"\0" * 8 + tiny_file[22:-4]))
    assert "needs mean-scale weights 0000000000000000" in fails(
        7, "decode", folder / "other.dlc", "-o", folder / "a.png"
    )


def test_an_output_that_cannot_be_written_is_code_8(folder: Path, fails: Callable[..., str]) -> None:
    assert "No such file" in fails(8, "decode", folder / "good.dlc", "-o", folder / "absent" / "a.png")
    assert "too long" in fails(8, "decode", folder / "good.dlc", "-o", folder / ("a" * 300 + ".png"))


def test_another_latent_is_code_9(folder: Path, tiny_file: bytes, fails: Callable[..., str]) -> None:
    damaged = tiny_file[:22] + bytes([tiny_file[22] ^ 1]) + tiny_file[23:-4]
    (folder / "desync.dlc").write_bytes(seal(damaged))
    assert "no picture" in fails(9, "decode", folder / "desync.dlc", "-o", folder / "a.png")


def _in_process(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["dlcodec", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(("fault", "code"), [(KeyboardInterrupt(), 130), (ZeroDivisionError("a bug"), 1)])
def test_an_interrupt_is_130_and_a_bug_is_1(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: BaseException,
    code: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(files, "write_atomically", fail)
    assert _in_process(monkeypatch, "decode", folder / "good.dlc", "-o", folder / "a.png") == code
    out, err = capsys.readouterr()
    assert out == ""
    bug = f"dlcodec: {folder / 'good.dlc'}: internal error (ZeroDivisionError: a bug); --debug shows where\n"
    assert err == ("" if code == 130 else bug)
    assert not (folder / "a.png").exists()


def test_debug_shows_the_traceback_and_keeps_the_code(folder: Path) -> None:
    result = run("--debug", "decode", folder / "photo.png", "-o", folder / "a.png")
    assert result.returncode == 4
    assert result.stderr.startswith("Traceback")
    assert "CorruptFileError" in result.stderr


@pytest.mark.parametrize("options", [["--nosuch"], ["x.png", "-o", "y.dlc", "-q", "abc"]])
def test_debug_keeps_the_code_of_wrong_arguments(options: list[str]) -> None:
    result = run("--debug", "encode", *options)
    assert result.returncode == 2
    assert result.stderr.startswith("Traceback")


def test_a_message_with_line_breaks_is_one_line(folder: Path, fails: Callable[..., str]) -> None:
    assert "two lines" in fails(3, "decode", folder / "two\nlines", "-o", folder / "a.png")


@pytest.mark.parametrize("target", ["pipe", "/dev/full", "closed"])
def test_a_standard_output_that_takes_nothing_is_code_8(folder: Path, target: str) -> None:
    command = [sys.executable, "-m", "dlcodec", "info", str(folder / "good.dlc")]
    if target == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    reader, writer = os.pipe()
    os.close(reader)
    output = writer if target != "/dev/full" else os.open(target, os.O_WRONLY)
    result = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60)
    for handle in {writer, output}:
        os.close(handle)
    assert result.returncode == 8
    assert result.stderr.startswith("dlcodec: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("line", [["--version"], ["--help"], ["encode", "--help"]], ids=" ".join)
def test_help_that_a_full_standard_output_does_not_take_is_code_8(line: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "dlcodec", *line]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    sentence = "dlcodec: cannot write to standard output: No space left on device\n"
    assert (result.returncode, result.stderr) == (8, sentence)


def test_nohup_keeps_its_command_from_being_hung_up() -> None:
    script = (
        "import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom dlcodec import cli\n"
        "cli.app = lambda **_: os.kill(os.getpid(), signal.SIGHUP)\ncli.main()\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_a_closed_standard_error_changes_no_exit_code(folder: Path) -> None:
    for source, code in (("good.dlc", 0), ("photo.png", 4)):
        line = [sys.executable, "-m", "dlcodec", "decode", str(folder / source), "-o", str(folder / f"{code}.png")]
        result = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *line], stdout=subprocess.PIPE, timeout=60)
        assert (result.returncode, result.stdout) == (code, b"")
    assert (folder / "0.png").exists()
    assert not (folder / "4.png").exists()
