"""The command: its decodes come from one call, and what it refuses, it refuses like the others."""

from __future__ import annotations

import base64
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlcodec import cli, limits, pipeline
from dlcodec.container import Container
from dlcodec.errors import UsageError
from dlcodec.explore.command import DEFAULT_TAUS, choose_taus
from dlcodec.explore.pictures import MOST_PIXELS
from dlcodec.limits import DEFAULT_LIMITS, Limits
from tests.conftest import RGB


@pytest.fixture
def folder(tmp_path: Path, tiny_file: bytes, photo: RGB) -> Path:
    (tmp_path / "a.dlc").write_bytes(tiny_file)
    Image.fromarray(photo[100:150, 200:270]).save(tmp_path / "photo.png")
    Image.fromarray(photo[100:150, 200:260]).save(tmp_path / "other.png")
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Decode without networks: the picture of each tau is one grey; gives the calls."""
    seen: list[tuple[Any, ...]] = []

    def decode_images(
        _: Container, taus: Sequence[float], device: str, limits: Limits, **options: Any
    ) -> Iterator[RGB]:
        seen.append((tuple(taus), device, options["steps"], options["seed"]))
        for tau in taus:
            yield np.full((50, 70, 3), round(100 * tau), np.uint8)

    monkeypatch.setattr(pipeline, "decode_images", decode_images)
    return seen


def _explore(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["dlcodec", "explore", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_a_page_is_written_from_one_decode(
    folder: Path, calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = folder / "p.html"
    arguments = folder / "a.dlc", "--original", folder / "photo.png", "-o", page
    assert _explore(monkeypatch, *arguments) == 0
    assert calls == [(DEFAULT_TAUS, "auto", None, 0)]
    text = page.read_text()
    assert text.count('class="decoded"') == 11
    assert text.count('class="original"') == 1
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]


def test_a_file_name_need_not_be_utf_8(
    folder: Path, calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        (folder / "a.dlc").rename(folder / os.fsdecode(b"a\xff.dlc"))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert _explore(monkeypatch, folder / os.fsdecode(b"a\xff.dlc"), "-o", folder / "p.html") == 0
    assert "a\\xff.dlc" in (folder / "p.html").read_text("utf-8")


def test_options_reach_the_decoder(folder: Path, calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    options = "--tau", "0.5,0", "--steps", "7", "--seed", "3", "--device", "cpu"
    assert _explore(monkeypatch, folder / "a.dlc", "-o", folder / "p.html", *options) == 0
    assert calls == [((0.0, 0.5, 1.0), "cpu", 7, 3)]


def test_an_existing_page_is_kept_without_force(
    folder: Path, calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = folder / "p.html"
    page.write_bytes(b"mine")
    assert _explore(monkeypatch, folder / "a.dlc", "-o", page) == 8
    assert "--force" in capsys.readouterr().err
    assert page.read_bytes() == b"mine"
    assert not calls
    assert _explore(monkeypatch, folder / "a.dlc", "-o", page, "--force") == 0
    assert page.read_bytes().startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    ("code", "said", "arguments"),
    [
        (2, "must be a .html file", ["a.dlc", "-o", "p.png"]),
        (2, "--max-mb 0 is not above 0", ["a.dlc", "-o", "p.html", "--max-mb", "0"]),
        (2, "--max-mb nan is not above 0", ["a.dlc", "-o", "p.html", "--max-mb", "nan"]),
        (2, "steps 51 is outside", ["a.dlc", "-o", "p.html", "--steps", "51"]),
        (2, "is not a number", ["a.dlc", "-o", "p.html", "--tau", "0,"]),
        (2, "tau 2.0 is outside", ["a.dlc", "-o", "p.html", "--tau", "0,2"]),
        (3, "No such file", ["absent.dlc", "-o", "p.html"]),
        (3, "it is not the original", ["a.dlc", "-o", "p.html", "--original", "other.png"]),
        (3, "known image format", ["a.dlc", "-o", "p.html", "--original", "a.dlc"]),
        (4, "not a dlcodec file", ["photo.png", "-o", "p.html"]),
        (6, "raise --max-mb", ["a.dlc", "-o", "p.html", "--max-mb", "0.001"]),
        (8, "cannot write", ["a.dlc", "-o", "absent/p.html"]),
    ],
)
def test_a_refusal_is_one_sentence_and_writes_nothing(
    folder: Path,
    calls: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    said: str,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert _explore(monkeypatch, *arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.startswith("dlcodec: ")
    assert err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("most", "code"), [(70 * 50 * 12, 0), (70 * 50 * 12 - 1, 6)])
def test_more_pixels_than_memory_is_for_are_refused_before_decoding(
    folder: Path,
    calls: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    most: int,
    code: int,
) -> None:
    monkeypatch.setattr("dlcodec.explore.pictures.MOST_PIXELS", most)
    arguments = folder / "a.dlc", "--original", folder / "photo.png", "-o", folder / "p.html"
    assert _explore(monkeypatch, *arguments) == code
    assert bool(calls) == (folder / "p.html").exists() == (code == 0)
    assert ("name fewer values of tau" in capsys.readouterr().err) == (code == 6)


def test_the_command_line_moves_the_limit_of_pixels(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = folder / "a.dlc", "--original", folder / "photo.png", "-o", folder / "p.html", "--tau", "0"
    assert _explore(monkeypatch, *arguments, "--max-pixels", "3499") == 6
    assert "--max-pixels" in capsys.readouterr().err
    lower = replace(DEFAULT_LIMITS, pixels=3499)
    monkeypatch.setattr(limits, "DEFAULT_LIMITS", lower)
    monkeypatch.setattr(pipeline.decode_images, "__defaults__", ("auto", lower))
    assert _explore(monkeypatch, *arguments) == 6
    assert not (folder / "p.html").exists()
    assert _explore(monkeypatch, *arguments, "--max-pixels", "3500") == 0


def test_the_largest_picture_has_room_for_one_tau_beside_tau_1() -> None:
    assert DEFAULT_LIMITS.pixels * 2 <= MOST_PIXELS


def test_without_fusion_weights_it_is_code_7(
    folder: Path, without_fusion: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _explore(monkeypatch, folder / "a.dlc", "-o", folder / "p.html") == 7
    assert "needs fusion weights" in capsys.readouterr().err
    assert not (folder / "p.html").exists()


def test_the_page_shows_what_decode_gives(folder: Path, tiny_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    page = folder / "p.html"
    options = "--tau", "0,0.5", "--steps", "2", "--seed", "3", "--device", "cpu"
    assert _explore(monkeypatch, folder / "a.dlc", "-o", page, *options) == 0
    sources = re.findall(r'class="decoded".*?base64,(.*?)"', page.read_text())
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))) for source in sources]
    assert len(shown) == 3
    for picture, tau in zip(shown, (0, 0.5, 1), strict=True):
        assert np.array_equal(picture, pipeline.decode_image(tiny_file, tau, "cpu", steps=2, seed=3))
    assert not np.array_equal(shown[0], shown[2])


def test_taus_are_sorted_once_each_and_end_in_1() -> None:
    assert choose_taus([0.5, 0, 0.5, -0.0]) == (0, 0.5, 1)
    assert str(choose_taus([-0.0])[0]) == "0.0"
    assert choose_taus(None) == DEFAULT_TAUS
    assert [f"{tau}" for tau in DEFAULT_TAUS] == [*(f"0.{tenth}" for tenth in range(10)), "1.0"]


@pytest.mark.parametrize("named", [[], [1.0], [step / 200 for step in range(150)]])
def test_nothing_below_1_and_too_many_values_are_refused(named: list[float]) -> None:
    with pytest.raises(UsageError, match="values of tau below 1"):
        choose_taus(named)
