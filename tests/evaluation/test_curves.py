from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dlcodec.evaluation import curves
from dlcodec.evaluation.curves import Curve, bd_metric, bd_rate, mean_gap, published, value_at

ANCHOR = published("psnr")["mbt2018-mean"]


def test_a_curve_is_zero_from_itself() -> None:
    assert bd_rate(ANCHOR, ANCHOR) == pytest.approx(0)
    assert bd_metric(ANCHOR, ANCHOR) == pytest.approx(0)
    assert mean_gap(ANCHOR, ANCHOR)[0] == pytest.approx(0)


def test_ten_percent_more_bits_are_a_bd_rate_of_ten_percent() -> None:
    dearer = Curve("dearer", "psnr", tuple(1.1 * rate for rate in ANCHOR.bpp), ANCHOR.values)
    assert bd_rate(dearer, ANCHOR) == pytest.approx(10, abs=1e-6)
    assert bd_rate(ANCHOR, dearer) == pytest.approx(100 / 1.1 - 100, abs=1e-6)
    assert bd_metric(dearer, ANCHOR) < 0


def test_a_shift_in_quality_is_the_bd_metric() -> None:
    shifted = Curve("shifted", "psnr", ANCHOR.bpp, tuple(value - 1.5 for value in ANCHOR.values))
    assert bd_metric(shifted, ANCHOR) == pytest.approx(-1.5)
    assert mean_gap(shifted, ANCHOR)[0] == pytest.approx(-1.5)
    assert bd_rate(shifted, ANCHOR) > 0


def test_of_a_metric_where_less_is_better_fewer_bits_are_still_below_zero() -> None:
    reference = published("lpips-alex")["crdr-faithful"]
    cheaper = Curve("cheaper", "lpips-alex", tuple(0.8 * rate for rate in reference.bpp), reference.values)
    assert bd_rate(cheaper, reference) == pytest.approx(-20, abs=1e-6)
    assert bd_metric(cheaper, reference) < 0


@pytest.mark.parametrize(
    "other",
    [
        Curve("beyond", "psnr", (5.0, 6.0), (50.0, 51.0)),
        Curve("point", "psnr", (0.5,), (33.0,)),
        Curve("lossless", "psnr", (0.5, 9.0), (33.0, math.inf)),
        Curve("same rate twice", "psnr", (0.5, 0.5), (33.0, 34.0)),
    ],
)
def test_curves_that_cannot_be_compared_give_nan(other: Curve) -> None:
    assert math.isnan(bd_rate(other, ANCHOR))
    assert math.isnan(bd_metric(other, ANCHOR))


def test_a_curve_that_falls_has_no_bd_rate_but_a_bd_metric() -> None:
    falling = Curve("falling", "psnr", (0.2, 0.4, 0.8), (30.0, 29.0, 34.0))
    assert math.isnan(bd_rate(falling, ANCHOR))
    assert bd_metric(falling, ANCHOR) < 0


def test_a_metric_is_linear_in_log_rate_and_unknown_outside_the_curve() -> None:
    inside, below = value_at(Curve("two", "psnr", (0.1, 0.4), (20.0, 30.0)), [0.2, 0.05])
    assert inside == pytest.approx(25.0)
    assert math.isnan(below)


def test_the_range_compared_is_the_one_both_cover() -> None:
    _, first, last = mean_gap(Curve("two", "psnr", (0.2, 0.5), (30.0, 33.0)), ANCHOR)
    assert (first, last) == (0.2, 0.5)


def test_every_published_curve_has_a_source_and_rises_in_rate() -> None:
    entries = json.loads((Path(curves.__file__).parent / "anchors.json").read_text())["kodak"]
    for entry in entries.values():
        columns = {name: entry[name] for name in entry.keys() - {"label", "source", "plotted"}}
        assert entry["source"]
        assert (np.diff(columns["bpp"]) > 0).all()
        assert len({len(column) for column in columns.values()}) == 1
    crdr = published("lpips-alex")["crdr-realistic"]
    assert (crdr.bpp[5], crdr.values[5]) == pytest.approx((0.243, 0.0516), abs=5e-4)
