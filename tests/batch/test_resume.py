"""What counts as complete."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dlcodec import arguments, container
from dlcodec.batch.resume import Wanted, complete_decoding, complete_encoding
from dlcodec.limits import DEFAULT_LIMITS
from tests.conftest import RGB


@pytest.fixture
def pair(tmp_path: Path, tiny_file: bytes, photo: RGB) -> tuple[Path, Path]:
    source, output = tmp_path / "a.png", tmp_path / "a.dlc"
    Image.fromarray(photo[100:150, 200:270]).save(source)
    output.write_bytes(tiny_file)
    return source, output


@pytest.fixture
def wanted(tiny_file: bytes) -> Wanted:
    return Wanted(1.0, None, container.unpack(tiny_file, DEFAULT_LIMITS).header.model_digest, False, None)


def test_a_matching_file_is_complete(pair: tuple[Path, Path], wanted: Wanted, tiny_file: bytes) -> None:
    header = complete_encoding(*pair, wanted, DEFAULT_LIMITS)
    assert header is not None
    assert (header.width, header.height, header.rate_level) == (70, 50, wanted.level)
    any_level = replace(wanted, level=None)
    assert complete_encoding(*pair, any_level, DEFAULT_LIMITS) == header


def test_another_request_is_not_met(pair: tuple[Path, Path], wanted: Wanted) -> None:
    for other in (replace(wanted, level=1.01), replace(wanted, tau_hint=0.0), replace(wanted, model_digest=bytes(8))):
        assert complete_encoding(*pair, other, DEFAULT_LIMITS) is None


def test_every_truncation_and_a_flipped_bit_is_incomplete(
    pair: tuple[Path, Path], wanted: Wanted, tiny_file: bytes
) -> None:
    for damaged in (b"", tiny_file[:20], tiny_file[:-1], tiny_file + b"\0", tiny_file[:60] + b"\x55" + tiny_file[61:]):
        pair[1].write_bytes(damaged)
        assert complete_encoding(*pair, wanted, DEFAULT_LIMITS) is None


def test_another_picture_or_a_newer_one_is_not_met(pair: tuple[Path, Path], wanted: Wanted, photo: RGB) -> None:
    source, output = pair
    Image.fromarray(photo[100:150, 200:269]).save(source)
    os.utime(source, ns=(0, 0))
    assert complete_encoding(source, output, wanted, DEFAULT_LIMITS) is None
    Image.fromarray(photo[100:150, 200:270]).save(source)
    os.utime(source, ns=(0, output.stat().st_mtime_ns + 1))
    assert complete_encoding(source, output, wanted, DEFAULT_LIMITS) is None


def test_a_turned_picture_has_its_turned_size(pair: tuple[Path, Path], wanted: Wanted, photo: RGB) -> None:
    source = pair[0].with_suffix(".jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo[:70, :50]).save(source, exif=exif)
    os.utime(source, ns=(0, 0))
    assert complete_encoding(source, pair[1], wanted, DEFAULT_LIMITS) is not None


@pytest.mark.parametrize("place", [0, 1])
def test_what_is_missing_is_incomplete(pair: tuple[Path, Path], wanted: Wanted, place: int) -> None:
    pair[place].unlink()
    assert complete_encoding(*pair, wanted, DEFAULT_LIMITS) is None


def test_a_decoded_picture_is_complete_when_whole_and_of_its_size(pair: tuple[Path, Path], tmp_path: Path) -> None:
    picture, source = pair
    os.utime(source, ns=(0, 0))
    assert complete_decoding(source, picture, (70, 50), DEFAULT_LIMITS)
    assert not complete_decoding(source, picture, (50, 70), DEFAULT_LIMITS)
    assert not complete_decoding(source, tmp_path / "absent.png", (70, 50), DEFAULT_LIMITS)
    whole = picture.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-12], whole[:60] + b"\x55" + whole[61:]):
        picture.write_bytes(damaged)
        assert not complete_decoding(source, picture, (70, 50), DEFAULT_LIMITS)


def test_levels_are_counted_in_the_steps_of_the_format() -> None:
    assert arguments.LEVEL_STEPS == 256
