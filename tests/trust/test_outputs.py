"""Outputs that must not be written, and readers that go away."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

import dlcodec
from dlcodec import pipeline, targeting
from tests.cli.conftest import Run
from tests.conftest import RGB
from tests.trust.children import Start, ended, run_into


@pytest.fixture
def here(tiny: Path, tiny_file: bytes, tmp_path: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo[:200, :200]).save("a.png")
    Path("a.dlc").write_bytes(tiny_file)
    Path("folder").mkdir()
    Path("link.png").symlink_to("a.png")
    os.link("a.png", "hard.png")
    Path("broken.png").symlink_to("absent.png")
    return tmp_path


@pytest.mark.parametrize(
    "output", ["a.png", "./folder/../a.png", "link.png", "hard.png", "broken.png", "folder", "a.dlc", "/dev/null"]
)
def test_an_output_that_is_there_is_kept(here: Path, run: Run, output: str) -> None:
    before = {path: path.read_bytes() for path in here.iterdir() if path.is_file()}
    assert run("encode", "a.png", "-o", output).code == 8
    assert {path: path.read_bytes() for path in here.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("line", "module", "step"),
    [
        (["encode", "a.png", "-o", "new"], targeting, "encode_image"),
        (["decode", "a.dlc", "-o", "new.png", "--tau", "1"], pipeline, "decode_images"),
    ],
    ids=["encode", "decode"],
)
def test_an_output_that_another_wrote_meanwhile_is_kept(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch, line: list[str], module: ModuleType, step: str
) -> None:
    made, other = getattr(module, step), Path(line[3])

    def make(*arguments: object, **options: object) -> object:
        other.write_bytes(b"another's")
        return made(*arguments, **options)

    monkeypatch.setattr(module, step, make)
    before = sorted(os.listdir())
    ran = run(*line)
    assert (ran.code, ran.err) == (8, f"dlcodec: {line[1]}: {other} exists; --force overwrites it\n")
    assert sorted(os.listdir()) == sorted([*before, other.name])
    assert other.read_bytes() == b"another's"
    assert run(*line, "--force").code == 0


def test_force_replaces_a_link_and_not_what_it_leads_to(here: Path, run: Run) -> None:
    picture = Path("a.png").read_bytes()
    assert run("decode", "a.dlc", "-o", "link.png", "--force", "--tau", "1").code == 0
    assert not Path("link.png").is_symlink()
    assert run("decode", "a.dlc", "-o", "hard.png", "--force", "--tau", "1").code == 0
    assert Path("a.png").read_bytes() == picture


TALKATIVE = [
    ["encode", "HERE/large.png", "-o", "-"],
    ["decode", "HERE/large.dlc", "-o", "-", "--tau", "1"],
    ["info", "--json", *["HERE/a.dlc"] * 50],
]


def _said(line: list[str], reason: str) -> str:
    about = f"{line[1]}: " if line[0] in ("encode", "decode") else ""
    return f"dlcodec: {about}cannot write to standard output: {reason}\n"


@pytest.mark.parametrize("command", TALKATIVE, ids=lambda command: command[0])
def test_a_reader_that_goes_away_is_code_8_in_one_line(
    here: Path, start: Start, photo: RGB, command: list[str]
) -> None:
    """As with ``| head -c 10``, where the rest no longer fits the pipe."""
    Image.fromarray(photo[:320]).save("large.png")
    Path("large.dlc").write_bytes(dlcodec.encode("large.png"))
    pipe, errors, line = here / "pipe", here / "errors", [word.replace("HERE", str(here)) for word in command]
    os.mkfifo(pipe)
    child = start(run_into, pipe, line, errors)
    reader = os.open(pipe, os.O_RDONLY)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    assert len(os.read(reader, 10)) == 10
    os.close(reader)
    end = ended(child, errors)
    assert (end.code, end.said) == (8, _said(line, "Broken pipe"))


@pytest.mark.parametrize("command", [*TALKATIVE, ["models", "list"]], ids=lambda command: command[0])
def test_a_full_standard_output_is_code_8_in_one_line(
    here: Path, start: Start, tiny_file: bytes, command: list[str]
) -> None:
    Path("large.png").symlink_to("a.png")
    Path("large.dlc").write_bytes(tiny_file)
    errors, line = here / "errors", [word.replace("HERE", str(here)) for word in command]
    end = ended(start(run_into, Path("/dev/full"), line, errors), errors)
    assert (end.code, end.said) == (8, _said(line, "No space left on device"))
