"""``-``, and what is told on a terminal, in child processes."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import time
from contextvars import copy_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlcodec
from dlcodec.cli.options import count_steps
from dlcodec.console import Volume, volume
from tests.conftest import RGB

COMMAND = [sys.executable, "-m", "dlcodec"]


@pytest.fixture
def here(tiny: Path, tmp_path: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(dlcodec.__file__).parents[1]))
    for name in ("a.png", "b.png"):
        Image.fromarray(photo[100:150, 200:270]).save(name)
    return tmp_path


def piped(data: bytes, *arguments: str) -> bytes:
    result = subprocess.run([*COMMAND, *arguments], input=data, capture_output=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout


def on_terminal(*arguments: str, **environment: str) -> tuple[int, str, bytes]:
    """Exit code and stderr of a command line whose stderr is a terminal, and its stdout, which is a pipe."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", **environment},
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            seen += (chunk := os.read(leader, 4096))
        except OSError:
            break
        if not chunk:
            break
    os.close(leader)
    out = child.communicate(timeout=60)[0]
    return child.returncode, seen.decode(), out


def test_data_goes_through_both_ways(here: Path, tiny_file: bytes) -> None:
    assert piped(Path("a.png").read_bytes(), "encode", "-", "-o", "-") == tiny_file
    picture = piped(tiny_file, "decode", "-", "-o", "-", "--tau", "1")
    Path("out.png").write_bytes(picture)
    assert np.array_equal(Image.open("out.png"), dlcodec.decode(tiny_file, tau=1))
    assert sorted(os.listdir()) == ["a.png", "b.png", "out.png"]


def test_binary_data_is_refused_by_a_terminal_without_torch(here: Path, tiny_file: bytes) -> None:
    Path("a.dlc").write_bytes(tiny_file)
    script = "import sys\nfrom dlcodec.cli import main\ntry:\n main()\nfinally:\n assert 'torch' not in sys.modules\n"
    for arguments in (["encode", "a.png"], ["decode", "a.dlc"]):
        leader, follower = pty.openpty()
        result = subprocess.run(
            [sys.executable, "-c", script, *arguments, "-o", "-"],
            stdout=follower,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        os.close(follower)
        os.close(leader)
        assert (result.returncode, result.stderr.count(b"\n")) == (8, 1)
        assert b"is a terminal" in result.stderr


def test_a_terminal_as_input_is_refused(here: Path) -> None:
    leader, follower = pty.openpty()
    result = subprocess.run([*COMMAND, "encode", "-", "-o", "x.dlc"], stdin=follower, capture_output=True, timeout=60)
    os.close(follower)
    os.close(leader)
    assert (result.returncode, result.stdout) == (3, b"")
    assert b"is a terminal" in result.stderr


@pytest.mark.parametrize(("data", "code"), [(b"", 3), (b"garbage", 3)])
def test_a_bad_standard_input_is_one_line(here: Path, data: bytes, code: int) -> None:
    result = subprocess.run([*COMMAND, "encode", "-", "-o", "-"], input=data, capture_output=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (code, b"", 1)
    assert b"standard input" in result.stderr


def test_a_terminal_sees_a_bar_without_colour_where_that_is_asked(here: Path) -> None:
    code, seen, out = on_terminal("encode", "a.png", "b.png", "--out-dir", "x", NO_COLOR="1")
    assert (code, out) == (0, b"")
    assert "2 written, 0 skipped, 0 failed" in seen
    assert "2/2" in seen
    assert "images/s" in seen
    assert not re.search(r"\x1b\[(\d+;)*(3[0-8]|9[0-7])[;m]", seen)
    _, coloured, _ = on_terminal("encode", "a.png", "b.png", "--out-dir", "y")
    assert re.search(r"\x1b\[(\d+;)*(3[0-8]|9[0-7])[;m]", coloured)


@pytest.mark.parametrize(("chosen", "seen"), [(Volume.normal, "\rfusion: step 1 of 3\r"), (Volume.quiet, "")])
def test_steps_are_counted_for_a_person_unless_quiet_is_asked(
    monkeypatch: pytest.MonkeyPatch, chosen: Volume, seen: str
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    times = iter((0.0, 2.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    context = copy_context()
    context.run(volume.set, chosen)
    context.run(count_steps(3))
    assert terminal.getvalue() == seen


def test_quiet_leaves_errors_only_and_verbose_tells_stages(here: Path) -> None:
    assert on_terminal("--quiet", "encode", "a.png", "b.png", "--out-dir", "x") == (0, "", b"")
    code, seen, _ = on_terminal("--quiet", "encode", "a.png", "b.png", "--out-dir", "x")
    assert (code, len(seen.splitlines())) == (8, 2)
    command = [*COMMAND, "--verbose", "encode", "a.png", "-o", "-"]
    result = subprocess.run(command, capture_output=True, timeout=60)
    assert result.stdout == Path("x/a.dlc").read_bytes()
    assert re.search(rb"^a\.png: read \d+\.\d+ s, network \d+\.\d+ s, write \d+\.\d+ s$", result.stderr, re.M)
