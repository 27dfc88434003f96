from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcodec.evaluation.blend import BlendPoint, blend, measure_blend, on_the_line
from dlcodec.image import psnr
from dlcodec.pipeline import decode_image, encode_image
from tests.conftest import RGB


def test_a_blend_is_the_rounded_mean_by_weight() -> None:
    black, white = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    assert blend(black, white, 0.25).tolist() == [[[64, 64, 64]]]
    assert np.array_equal(blend(black, white, 0.0), black)
    assert np.array_equal(blend(black, white, 1.0), white)


def test_both_ways_meet_at_both_ends(tiny: Path, photo: RGB) -> None:
    image = photo[:64, :96].copy()
    points = measure_blend([image], 1.0, [0.0, 0.5, 1.0], {"psnr": psnr})
    data = encode_image(image, 1.0)
    for point in (points[0], points[2]):
        assert point.latent["psnr"] == point.pixels["psnr"] == psnr(image, decode_image(data, point.tau))
    assert points[1].latent["psnr"] == psnr(image, decode_image(data, 0.5))
    halfway = blend(decode_image(data, 0.0), decode_image(data, 1.0), 0.25)
    assert points[1].pixels["psnr"] == psnr(image, halfway)


def test_the_line_is_read_between_its_points() -> None:
    points = [BlendPoint(t, {}, {"psnr": 30 + t, "x": 0.2 * t}) for t in (0.0, 0.5, 1.0)]
    assert on_the_line(points, 30.25, "x") == pytest.approx(0.05)
    assert on_the_line(points, 30.75, "x") == pytest.approx(0.15)
