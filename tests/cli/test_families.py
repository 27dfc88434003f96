"""What a user does around encode and decode, once for each family; elsewhere most tests take one family alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlcodec
import dlcodec.pillow
from tests.cli.conftest import Run
from tests.conftest import RGB


@pytest.fixture
def here(tmp_path: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two pictures below ``in``."""
    monkeypatch.chdir(tmp_path)
    for name, left in (("a", 0), ("sub/b", 200)):
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(photo[100:164, left : left + 80]).save(path)
    return tmp_path


def test_a_rate_is_met(here: Path, run: Run, family: str) -> None:
    least, most = (dlcodec.read_info(dlcodec.encode("in/a.png", model=family, level=level)) for level in (0, 2))
    target = round((least.bits_per_pixel + most.bits_per_pixel) / 2, 3)
    result = run("encode", "in/a.png", "-o", "a.dlc", "--model", family, "--target-bpp", str(target), "--strict")
    assert (result.code, result.err) == (0, "")
    found = dlcodec.read_info("a.dlc")
    assert (found.family, 0 < found.level < 2) == (family, True)
    assert 0.9 * target <= found.bits_per_pixel <= target


def test_a_folder_is_encoded_and_resumed(here: Path, run: Run, family: str) -> None:
    command = ("encode", "-r", "in", "--out-dir", "out", "--model", family, "--resume", "--json")
    assert [line["skipped"] for line in run(*command).lines] == [False, False]
    Path("out/a.dlc").unlink()
    again = run(*command)
    assert (again.code, [line["skipped"] for line in again.lines]) == (0, [False, True])
    assert dlcodec.read_info("out/sub/b.dlc").family == family


def test_a_page_and_a_sheet_are_written(here: Path, run: Run, family: str) -> None:
    Path("a.dlc").write_bytes(dlcodec.encode("in/a.png", model=family))
    options = ("--model", family, "--device", "cpu")
    page = run("explore", "a.dlc", "--original", "in/a.png", "--tau", "0", "--steps", "1", "-o", "a.html", *options)
    assert (page.code, page.err) == (0, "")
    shown = re.findall(r'class="decoded".*?base64,(.*?)"', Path("a.html").read_text())
    assert len(set(shown)) == 2
    sheet = run("compare", "in/a.png", "a.dlc@0", "a.dlc@1", "--zoom", "1", "-o", "a.png", *options)
    assert (sheet.code, sheet.err) == (0, "")
    with Image.open("a.png") as drawn:
        assert drawn.width >= 3 * 80


def test_its_weights_are_listed_and_sound(run: Run, family: str, tiny_folder: Path) -> None:
    paths = [str(tiny_folder / family / f"{role}.safetensors") for role in ("base", "fusion")]
    listed = {model["path"]: model for model in json.loads(run("models", "list", "--json").out)}
    assert [listed[path]["family"] for path in paths] == [family, family]
    assert listed[paths[1]]["base"] == listed[paths[0]]["digest"]
    verified = run("models", "verify", *paths, "--json")
    assert verified.code == 0
    assert json.loads(verified.out) == [{"path": path, "sound": True} for path in paths]


def test_pillow_saves_and_opens_it(here: Path, family: str) -> None:
    with Image.open("in/a.png") as picture:
        picture.save("a.dlc", model=family, quality=50)
    assert dlcodec.read_info("a.dlc").family == family
    with Image.open("a.dlc") as opened:
        assert isinstance(opened, dlcodec.pillow.DlcImageFile)
        opened.tau = 1
        assert np.array_equal(opened, dlcodec.decode("a.dlc", tau=1))
