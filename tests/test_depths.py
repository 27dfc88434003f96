"""Samples of 16 bits beside what Pillow makes of them."""

from __future__ import annotations

import numpy as np

from dlcodec.image import read_picture
from dlcodec.limits import DEFAULT_LIMITS
from tests.batch.pictures import png

SAMPLES = np.array([[0, 128, 255, 256, 65406, 65535]], np.uint16)


def test_16_bit_grey_with_alpha_stays_grey() -> None:
    """Pillow opens such a PNG as colour with alpha."""
    alpha = SAMPLES[:, ::-1]
    picture = read_picture(png(np.dstack([SAMPLES, alpha]).astype(">u2"), 16, 4), "it", DEFAULT_LIMITS)
    assert picture.extras.grey
    assert picture.extras.alpha is not None
    assert np.array_equal(picture.extras.alpha, alpha >> 8)
    seen = alpha >> 8 > 0
    assert np.array_equal(picture.rgb[..., 0][seen], (SAMPLES >> 8)[seen])


def test_16_bit_colour_of_a_ppm_is_rounded() -> None:
    data = b"P6 6 1 65535\n" + np.dstack([SAMPLES] * 3).astype(">u2").tobytes()
    picture = read_picture(data, "it", DEFAULT_LIMITS)
    assert picture.rgb[0, :, 1].tolist() == [0, 0, 1, 1, 254, 255]
