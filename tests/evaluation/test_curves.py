from __future__ import annotations

import math

import pytest

from dlcodec.evaluation.curves import Curve, mean_gap, psnr_at, published


def test_a_curve_is_zero_from_itself_and_a_shift_from_its_shifted_copy() -> None:
    anchor = published("mbt2018-mean")
    shifted = Curve(anchor.bpp, tuple(value - 1.5 for value in anchor.psnr))
    assert mean_gap(anchor, anchor)[0] == pytest.approx(0)
    assert mean_gap(shifted, anchor)[0] == pytest.approx(-1.5)


def test_psnr_is_linear_in_log_rate_and_unknown_outside_the_curve() -> None:
    curve = Curve((0.1, 0.4), (20.0, 30.0))
    inside, below = psnr_at(curve, [0.2, 0.05])
    assert inside == pytest.approx(25.0)
    assert math.isnan(below)


def test_the_range_compared_is_the_one_both_cover() -> None:
    _, first, last = mean_gap(Curve((0.2, 0.5), (30.0, 33.0)), published("mbt2018-mean"))
    assert (first, last) == (0.2, 0.5)
