from __future__ import annotations

import io
import struct

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

import dlcodec
from dlcodec.container import SECTION_THUMBNAIL, Container, Header, Section, pack, unpack
from dlcodec.errors import CorruptFileError, UsageError
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import Extras, Picture
from dlcodec.thumbnail import check_side, pack_thumbnail, read_thumbnail
from tests.profiles import exchanged

HEADER = Header("mean-scale", 300, 200, 0, None, bytes(8), 0)
LATENTS = Section(1, b"")


def file_with(*sections: Section) -> Container:
    return unpack(pack(HEADER, (LATENTS, *sections)), DEFAULT_LIMITS)


def picture(photo: npt.NDArray[np.uint8], extras: Extras | None = None) -> Picture:
    return Picture(photo[:200, :300], extras or Extras())


def test_it_is_the_picture_made_small(photo: npt.NDArray[np.uint8]) -> None:
    section = pack_thumbnail(picture(photo), 96)
    pixels = read_thumbnail(file_with(section))
    assert pixels is not None
    assert (pixels.shape, pixels.dtype) == ((64, 96, 3), np.uint8)
    expected = np.asarray(Image.fromarray(photo[:200, :300]).resize((96, 64), Image.Resampling.BOX)).astype(float)
    assert np.abs(pixels - expected).mean() < 8
    assert len(section.data) < 4096


def test_a_small_picture_is_not_enlarged(photo: npt.NDArray[np.uint8]) -> None:
    pixels = read_thumbnail(file_with(pack_thumbnail(Picture(photo[:5, :40], Extras()), 96)))
    assert pixels is not None
    assert pixels.shape == (5, 40, 3)


def test_it_is_in_srgb_whatever_the_profile_of_the_picture() -> None:
    brown = np.full((64, 64, 3), (160, 90, 40), np.uint8)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    profiles = {"none": None, "unfit": lab, "exchanged": exchanged()}
    for name, icc in profiles.items():
        seen = read_thumbnail(file_with(pack_thumbnail(Picture(brown, Extras(icc=icc)), 32)))
        assert seen is not None
        assert np.abs(seen.astype(int) - ([90, 160, 40] if name == "exchanged" else [160, 90, 40])).max() <= 8, name


def test_a_grey_picture_has_a_grey_one(photo: npt.NDArray[np.uint8]) -> None:
    pixels = read_thumbnail(file_with(pack_thumbnail(picture(photo, Extras(grey=True)), 64)))
    assert pixels is not None
    assert np.ptp(pixels.astype(int), axis=2).max() <= 2


def test_a_file_without_has_none() -> None:
    assert read_thumbnail(file_with()) is None


@pytest.mark.parametrize("side", [0, 15, 1025, -1])
def test_sides_out_of_range_are_refused(side: int) -> None:
    with pytest.raises(UsageError, match="not between 16 and 1024"):
        check_side(side)


def damaged(good: bytes) -> dict[str, bytes]:
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    lossless = io.BytesIO()
    Image.new("RGB", (8, 8)).save(lossless, "WEBP", lossless=True)
    wide = bytearray(good)
    struct.pack_into("<H", wide, 26, 1025)
    flat = bytearray(good)
    struct.pack_into("<H", flat, 28, 0)
    return {
        "empty": b"",
        "short": good[:29],
        "png": png.getvalue(),
        "lossless": lossless.getvalue(),
        "wide": bytes(wide),
        "flat": bytes(flat),
        "truncated": good[: len(good) // 2],
    }


@pytest.mark.parametrize("fault", ["empty", "short", "png", "lossless", "wide", "flat", "truncated"])
def test_what_is_no_thumbnail_is_a_corrupt_file(photo: npt.NDArray[np.uint8], fault: str) -> None:
    data = damaged(pack_thumbnail(picture(photo), 64).data)[fault]
    with pytest.raises(CorruptFileError, match="thumbnail"):
        read_thumbnail(file_with(Section(SECTION_THUMBNAIL, data)))


def test_two_are_a_corrupt_file(photo: npt.NDArray[np.uint8]) -> None:
    section = pack_thumbnail(picture(photo), 64)
    with pytest.raises(CorruptFileError, match="two thumbnails"):
        read_thumbnail(file_with(section, section))


@pytest.mark.usefixtures("tiny")
def test_it_changes_neither_latents_nor_picture(photo: npt.NDArray[np.uint8]) -> None:
    plain, small = dlcodec.encode(photo[:100, :90]), dlcodec.encode(photo[:100, :90], thumbnail=64)
    assert dlcodec.read_info(plain).latent_digest == dlcodec.read_info(small).latent_digest
    assert dlcodec.decode(plain, tau=1).tobytes() == dlcodec.decode(small, tau=1).tobytes()
