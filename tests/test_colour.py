from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dlcodec.colour import apply_profile, fill_hidden
from tests.conftest import RGB
from tests.profiles import SRGB, adobe_rgb, cmyk, exchanged, grey

UNUSABLE = {
    "sRGB": SRGB,
    "text": b"not a profile",
    "cut": SRGB[:200],
    "grey": grey(1.0),
    "colour space of no letters": SRGB[:16] + b"\xff\xff\xff\xff" + SRGB[20:],
}


@pytest.fixture
def colours() -> RGB:
    """(6, 5, 3) uint8: every pixel its own colour."""
    return np.arange(90, dtype=np.uint8).reshape(6, 5, 3) * 2 + 11


def _apply(pixels: RGB, icc: bytes, *, keep: bool) -> tuple[RGB, bytes | None]:
    image, kept = apply_profile(Image.fromarray(pixels), icc, keep=keep)
    return np.asarray(image), kept


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("icc", UNUSABLE.values(), ids=UNUSABLE)
def test_srgb_and_what_cannot_be_used_is_dropped_and_changes_nothing(colours: RGB, icc: bytes, keep: bool) -> None:
    pixels, kept = _apply(colours, icc, keep=keep)
    assert np.array_equal(pixels, colours)
    assert kept is None


@pytest.mark.parametrize("icc", [adobe_rgb(), adobe_rgb("sRGB, so it says"), exchanged()])
def test_another_profile_is_kept_and_the_samples_stay(colours: RGB, icc: bytes) -> None:
    pixels, kept = _apply(colours, icc, keep=True)
    assert np.array_equal(pixels, colours)
    assert kept == icc


def test_a_profile_that_may_not_be_kept_is_converted(colours: RGB) -> None:
    """Exchanged colourants exchange red and green."""
    pixels, kept = _apply(colours, exchanged(), keep=False)
    assert np.abs(pixels.astype(int) - colours[..., [1, 0, 2]]).max() <= 2
    assert kept is None


def test_conversion_to_srgb_clips_what_keeping_does_not() -> None:
    """Two greens of Adobe RGB that sRGB cannot tell apart in red."""
    greens = np.array([[[0, 255, 0], [60, 255, 0]]], dtype=np.uint8)
    converted, _ = _apply(greens, adobe_rgb(), keep=False)
    assert converted[0, 0, 0] == converted[0, 1, 0] == 0
    kept, _ = _apply(greens, adobe_rgb(), keep=True)
    assert kept[0, 1, 0] - kept[0, 0, 0] == 60


def test_a_grey_profile_is_kept_or_converted_and_grey_stays_grey() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    pixels, kept = _apply(ramp, grey(1.0), keep=True)
    assert np.array_equal(pixels, ramp)
    assert kept == grey(1.0)
    pixels, kept = _apply(ramp, grey(1.0), keep=False)
    assert (pixels.shape, kept) == (ramp.shape, None)
    assert abs(int(pixels[0, 55]) - 128) <= 1  # linear .2157 is .5020 in sRGB


@pytest.mark.parametrize("keep", [True, False])
def test_cmyk_is_converted_by_its_profile_which_is_never_kept(keep: bool) -> None:
    image = Image.fromarray(np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 255, 255]]], dtype=np.uint8), "CMYK")
    converted, kept = apply_profile(image, cmyk(), keep=keep)
    assert (converted.mode, kept) == ("RGB", None)
    expected = [255, 185, 119]  # L* 100, 75, 50 in sRGB
    assert np.abs(np.asarray(converted)[0].astype(int) - np.array(expected)[:, None]).max() <= 2


def test_cmyk_with_a_profile_of_other_samples_has_none() -> None:
    image = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    assert apply_profile(image, adobe_rgb(), keep=True) == (image, None)


@pytest.mark.parametrize("sides", [(1, 1), (1, 9), (7, 5), (33, 64)])
def test_the_fill_keeps_seen_pixels_and_stays_between_them(sides: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    rgb = random.integers(0, 256, (*sides, 3), dtype=np.uint8)
    alpha = random.choice(np.array([0, 0, 0, 1, 255], dtype=np.uint8), sides)
    alpha[0, 0] = 255
    filled = fill_hidden(rgb, alpha)
    seen = alpha > 0
    assert np.array_equal(filled[seen], rgb[seen])
    assert (filled.min(axis=(0, 1)) >= rgb[seen].min(axis=0).astype(int) - 3).all()  # rounded at every scale
    assert (filled.max(axis=(0, 1)) <= rgb[seen].max(axis=0).astype(int) + 3).all()


def test_the_fill_of_half_a_picture_continues_its_edge_smoothly() -> None:
    rgb = np.zeros((64, 64, 3), dtype=np.uint8)
    rgb[:, :32] = np.linspace(50, 200, 64)[:, None, None]
    rgb[:, 32:] = np.random.default_rng(0).integers(0, 256, (64, 32, 3))
    alpha = np.zeros((64, 64), dtype=np.uint8)
    alpha[:, :32] = 255
    filled = fill_hidden(rgb, alpha).astype(int)
    assert np.abs(np.diff(filled[:, 31:40], axis=1)).max() < 30
    assert np.abs(filled[8:56, 32] - filled[8:56, 31]).max() < 20


def test_where_nothing_is_seen_the_fill_is_flat() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert len(np.unique(fill_hidden(rgb, np.zeros((9, 9), dtype=np.uint8)))) == 1
