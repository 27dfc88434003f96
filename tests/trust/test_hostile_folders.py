"""Folders that would lead a run in circles, out of the tree, or into names that are commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Run
from tests.conftest import RGB

NAMES = [b"-o", b"--force", b"a\nb", b"\xff\xfe", b"n" * 251, b"*", b"[x", b"@list", b"-", b"~", b"\x1b]0;x\x07"]


@pytest.fixture
def here(tmp_path: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``in`` with a picture, and one outside of it that no run may read or change."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "outside/secret.png"):
        Path(name).parent.mkdir()
        Image.fromarray(photo[:40, :40]).save(name)
    return tmp_path


def below(folder: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*")}


def test_links_that_go_in_circles_or_lead_out_are_left_out(here: Path, run: Run) -> None:
    links = {"self.png": "self.png", "round": ".", "up": "..", "secret.png": "../outside/secret.png", "root": "/"}
    links |= {"ping.png": "pong.png", "pong.png": "ping.png", "inside.png": "a.png", "folder.png": "../outside"}
    for name, target in links.items():
        Path("in", name).symlink_to(target)
    outside = Path("outside/secret.png").stat()
    result = run("encode", "-r", "in", "--out-dir", "dlc")
    said = "dlcodec: 7 files left out: 4 as links out of their folder, 3 as no plain files\n"
    assert (result.code, result.err) == (0, said)
    assert below("dlc") == {"a.dlc", "inside.dlc"}
    again = run("encode", "in/**/*.png", "--out-dir", "glob")
    assert (again.code, again.err) == (0, said)
    assert below("glob") == {"a.dlc", "inside.dlc"}
    assert Path("outside/secret.png").stat() == outside


def test_a_name_is_never_an_option_a_pattern_or_a_list(here: Path, run: Run) -> None:
    picture = Path("in/a.png").read_bytes()
    for name in NAMES:
        Path(os.fsdecode(b"in/" + name + b".png")).write_bytes(picture)
    before = set(os.listdir(here))
    result = run("encode", "-r", "in", "--out-dir", "dlc")
    assert (result.code, result.err) == (0, "")
    assert set(os.listdir(b"dlc")) == {b"a.dlc", *(name + b".dlc" for name in NAMES)}
    assert set(os.listdir(here)) == before | {"dlc"}


def test_a_name_without_room_for_its_tau_is_code_8(here: Path, run: Run) -> None:
    long = "n" * 251

    Path("in", f"{long}.gif").hardlink_to("in/a.png")
    assert run("encode", "-r", "in", "--out-dir", "dlc").code == 0
    assert run("decode", f"dlc/{long}.dlc", "--out-dir", "png", "--tau", "0.5,1").code == 8
    assert below("png") == set()


def test_temporary_files_of_a_killed_run_are_no_inputs(here: Path, run: Run) -> None:
    Path("in/.a.dlc.0123456789abcdef.tmp").write_bytes(b"half")
    Path("in/.b.png").write_bytes(b"half")
    assert run("encode", "-r", "in", "--out-dir", "dlc").code == 0
    assert below("dlc") == {"a.dlc"}


def test_an_output_below_a_file_is_code_8(here: Path, run: Run) -> None:
    Path("dlc").write_bytes(b"a file")
    result = run("encode", "-r", "in", "--out-dir", "dlc")
    assert (result.code, result.err.count("\n")) == (8, 1)
    assert Path("dlc").read_bytes() == b"a file"
