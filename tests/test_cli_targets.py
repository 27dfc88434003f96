"""The options of ``encode`` that name a target, with the tiny weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlcodec
from dlcodec import cli
from dlcodec.image import psnr
from tests.conftest import RGB

Encode = Callable[..., tuple[int, str, bytes | None]]


@pytest.fixture
def picture(photo: RGB) -> RGB:
    return photo[:256, :448]


@pytest.fixture
def encode(
    tiny: Path, tmp_path: Path, picture: RGB, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Encode:
    """Run ``encode`` with options; its exit code, its stderr and the bytes of the file, None without one."""
    Image.fromarray(picture).save(tmp_path / "photo.png")

    def run(*options: str) -> tuple[int, str, bytes | None]:
        output = tmp_path / "a.dlc"
        output.unlink(missing_ok=True)
        monkeypatch.setattr(
            sys, "argv", ["dlcodec", "encode", str(tmp_path / "photo.png"), "-o", str(output), *options]
        )
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        assert out == ""
        assert isinstance(caught.value.code, int)
        return caught.value.code, err, output.read_bytes() if output.exists() else None

    return run


@pytest.mark.parametrize(
    ("text", "size"), [("3000", 3000), ("3KB", 3000), ("3.1kB", 3100), ("3KiB", 3072), ("0.003MB", 3000)]
)
def test_a_size_in_any_unit_is_met(encode: Encode, picture: RGB, text: str, size: int) -> None:
    code, error, data = encode("--target-size", text)
    assert (code, error) == (0, "")
    assert data is not None
    assert data == dlcodec.encode(picture, target_bytes=size)
    assert 0.99 * size <= len(data) <= size


def test_a_size_in_mebibytes_is_out_of_reach_here(encode: Encode, picture: RGB) -> None:
    code, error, data = encode("--target-size", "1MiB")
    assert (code, data) == (0, dlcodec.encode(picture, level=2))
    assert error.startswith("dlcodec: warning: the target 1048576 bytes is out of reach")
    assert error.count("\n") == 1


def test_a_rate_is_met(encode: Encode, picture: RGB) -> None:
    assert encode("--target-bpp", "0.25", "--strict") == (0, "", dlcodec.encode(picture, target_bpp=0.25))


def test_a_psnr_is_met_with_the_shipped_weights(encode: Encode, picture: RGB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCODEC_WEIGHTS", "")
    code, error, data = encode("--target-psnr", "30", "--strict")
    assert (code, error) == (0, "")
    assert data is not None
    assert 30 <= psnr(picture, np.asarray(dlcodec.decode(data, tau=1))) <= 30.05


@pytest.mark.parametrize("option", [("--target-size", "1MiB"), ("--target-bpp", "0.01"), ("--target-psnr", "70")])
def test_strict_fails_with_code_2_and_writes_nothing(encode: Encode, option: tuple[str, str]) -> None:
    code, error, data = encode(*option, "--strict")
    assert (code, data) == (2, None)
    assert "photo.png: the target" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        ["-q", "1", "--target-bpp", "1"],
        ["-q", "0", "--target-size", "3KB"],
        ["--target-size", "3KB", "--target-psnr", "30"],
        ["--target-bpp", "1", "--target-psnr", "30"],
        ["--strict"],
        ["--target-bpp", "-1"],
        ["--target-psnr", "nan"],
        ["--target-size", "0"],
        ["--target-size", "lots"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_code_2(encode: Encode, options: list[str]) -> None:
    code, error, data = encode(*options)
    assert (code, data) == (2, None)
    assert error.startswith("dlcodec: ")
    assert error.count("\n") == 1
