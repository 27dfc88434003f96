"""Commands that are killed, stopped, or find no room: an output is the old one or whole, whatever happens."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from dlcodec.files import write_atomically
from tests.conftest import RGB
from tests.trust.children import HANG, Start, ended, run_lines, run_with_files_of, run_without_privileges

COUNTS = [4, pytest.param(100, marks=pytest.mark.slow)]


@dataclass(frozen=True)
class Work:
    """Two command lines that write the same outputs differently, over and over; ``whole`` is what either writes."""

    lines: list[list[str]]
    out: Path
    whole: dict[str, set[bytes]]
    inputs: dict[Path, bytes]

    def check(self) -> list[str]:
        """Inputs are untouched, and every output is whole; returns the names of temporary files."""
        assert {path: path.read_bytes() for path in self.inputs} == self.inputs
        strays = [name for name in os.listdir(self.out) if name.startswith(".") and name.endswith(".tmp")]
        outputs = set(os.listdir(self.out)) - set(strays)
        assert outputs == set(self.whole)
        for name in outputs:
            assert (self.out / name).read_bytes() in self.whole[name]
        return strays


@pytest.fixture(params=["encode", "decode", "batch"])
def work(request: pytest.FixtureRequest, start: Start, tmp_path: Path, photo: RGB) -> Work:
    """Encode, decode, or encode several files, with all outputs there from an earlier run."""
    inputs, out, errors = tmp_path / "in", tmp_path / "out", tmp_path / "errors"
    inputs.mkdir()
    out.mkdir()
    for place, name in enumerate("abc"):
        Image.fromarray(photo[100:260, 100 * place : 100 * place + 192]).save(inputs / f"{name}.png")
    one, dlc, goal = str(inputs / "a.png"), str(inputs / "a.dlc"), str(out / "a.dlc")
    if request.param == "decode":
        assert ended(start(run_lines, [["encode", one, "-o", dlc]], errors), errors).code == 0
        lines = [["decode", dlc, "-o", str(out / "a.png"), "--force", "--tau", tau] for tau in ("1", "0.5")]
    elif request.param == "encode":
        lines = [["encode", one, "-o", goal, "--force", "-q", level] for level in ("0", "2")]
    else:
        several = ["encode", "-r", str(inputs), "--out-dir", str(out), "--force", "--jobs", "3"]
        lines = [[*several, "-q", level] for level in ("0", "2")]
    whole: dict[str, set[bytes]] = {}
    for line in lines:
        assert ended(start(run_lines, [line], errors), errors).code == 0
        for path in out.iterdir():
            whole.setdefault(path.name, set()).add(path.read_bytes())
    assert {len(contents) for contents in whole.values()} == {2}
    return Work(lines, out, whole, {path: path.read_bytes() for path in inputs.iterdir()})


def _signalled(start: Start, work: Work, errors: Path, number: int, seconds: float) -> int:
    """The exit code of a child that gets a signal ``seconds`` after it began to write."""
    outputs = [work.out / name for name in work.whole]
    before = [path.stat().st_ino for path in outputs]
    child = start(run_lines, work.lines, errors, for_ever=True)
    try:
        waiting = time.monotonic() + HANG
        while [path.stat().st_ino for path in outputs] == before:
            assert time.monotonic() < waiting
            time.sleep(0.001)
        time.sleep(seconds)
        assert child.pid is not None
        os.kill(child.pid, number)
        return ended(child, errors).code
    finally:
        child.kill()


@pytest.mark.parametrize("count", COUNTS)
def test_a_kill_at_any_moment_leaves_no_half_file(start: Start, work: Work, tmp_path: Path, count: int) -> None:
    """What it may leave is a temporary file beside the output."""
    random_, strays = random.Random(1), 0
    for _ in range(count):
        code = _signalled(start, work, tmp_path / "errors", signal.SIGKILL, random_.uniform(0, 0.1))
        assert code == -signal.SIGKILL
        for name in work.check():
            (work.out / name).unlink()
            strays += 1
    print(f"{count} kills, {strays} temporary files left")


def write_for_ever(goal: Path) -> None:
    """Write a file over and over, a MiB of one letter and then of another."""
    for letter in itertools.cycle(b"ab"):
        write_atomically(goal, bytes([letter]) * 2**20, force=True)


@pytest.mark.parametrize("count", COUNTS)
def test_a_kill_while_a_file_is_written_leaves_no_half_file(start: Start, tmp_path: Path, count: int) -> None:
    """Nearly every kill hits the writing here: the slow run sees temporary files, and never half a file."""
    random_, goal, strays = random.Random(3), tmp_path / "out" / "a", 0
    goal.parent.mkdir()
    write_atomically(goal, b"b" * 2**20, force=True)
    for _ in range(count):
        before, child = goal.stat().st_ino, start(write_for_ever, goal)
        while goal.stat().st_ino == before:
            time.sleep(0.001)
        time.sleep(random_.uniform(0, 0.05))
        child.kill()
        child.join()
        data = goal.read_bytes()
        assert data in (b"a" * 2**20, b"b" * 2**20)
        for path in goal.parent.glob(".a.*.tmp"):
            path.unlink()
            strays += 1
        assert os.listdir(goal.parent) == ["a"]
    print(f"{count} kills, {strays} temporary files left")
    assert strays > 0 or count < 100


def write_new_files_for_ever(folder: Path) -> None:
    """Write one new file after the other, a MiB each."""
    for number in itertools.count():
        write_atomically(folder / str(number), b"x" * 2**20, force=False)


@pytest.mark.parametrize("count", COUNTS)
def test_a_kill_while_a_new_file_is_written_leaves_no_half_file(start: Start, tmp_path: Path, count: int) -> None:
    random_ = random.Random(4)
    for round_ in range(count):
        folder = tmp_path / str(round_)
        folder.mkdir()
        child = start(write_new_files_for_ever, folder)
        while not (folder / "0").exists():
            time.sleep(0.001)
        time.sleep(random_.uniform(0, 0.05))
        child.kill()
        child.join()
        sizes = {path.stat().st_size for path in folder.iterdir() if not path.name.endswith(".tmp")}
        assert sizes == {2**20}
        shutil.rmtree(folder)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupt_at_any_moment_leaves_no_temporary_file_either(
    start: Start, work: Work, tmp_path: Path, number: int, code: int, count: int
) -> None:
    random_, errors = random.Random(2), tmp_path / "errors"
    for _ in range(count // 2):
        assert _signalled(start, work, errors, number, random_.uniform(0, 0.1)) == code
        assert work.check() == []
        assert errors.read_text() == ""


def _unchanged(start: Start, work: Work, errors: Path, target: object, *arguments: object) -> str:
    """The one line of stderr of a command that must end with code 8 and change nothing."""
    before = {path: path.read_bytes() for path in work.out.iterdir()}
    end = ended(start(target, *arguments, work.lines[0], errors), errors)
    assert end.code == 8
    assert work.check() == []
    assert {path: path.read_bytes() for path in work.out.iterdir()} == before
    return end.said


def test_a_full_disk_is_code_8_and_changes_nothing(start: Start, work: Work, tmp_path: Path) -> None:
    smallest = min(len(content) for contents in work.whole.values() for content in contents)
    said = _unchanged(start, work, tmp_path / "errors", run_with_files_of, smallest - 1)
    assert "cannot write " in said
    assert said.count("File too large") == said.count("\n") == len(work.whole)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a file system is mounted")
def test_a_file_system_without_room_is_code_8_and_changes_nothing(tiny: Path, tmp_path: Path, photo: RGB) -> None:
    """A real one, in a mount namespace of its own that ends with the command."""
    disk, image = tmp_path / "disk", tmp_path / "a.png"
    disk.mkdir()
    Image.fromarray(photo[:200, :200]).save(image)
    script = (
        'mount -t tmpfs -o size=4k none "$1" || exit 99\nprintf old > "$1/a.dlc"\n'
        '"$2" -m dlcodec encode "$3" -o "$1/a.dlc" --force\necho "code $?"; cat "$1/a.dlc"; echo; ls -A "$1"\n'
    )
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is not installed")
    command = [unshare, "--mount", "sh", "-c", script, "sh", str(disk), sys.executable, str(image)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if result.returncode == 99 or "unshare" in result.stderr:
        pytest.skip("no file system can be mounted here")
    assert result.stdout == "code 8\nold\na.dlc\n"
    assert result.stderr == f"dlcodec: {image}: cannot write {disk / 'a.dlc'}: No space left on device\n"


def test_a_read_only_folder_is_code_8_and_changes_nothing(start: Start, work: Work, tmp_path: Path) -> None:
    work.out.chmod(0o555)
    try:
        said = _unchanged(start, work, tmp_path / "errors", run_without_privileges)
    finally:
        work.out.chmod(0o755)
    assert said.count("Permission denied") == said.count("\n") == len(work.whole)
