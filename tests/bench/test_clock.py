from __future__ import annotations

import time
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from dlcodec.bench.clock import Meter, count_parts, time_in_turns, time_parts, time_run


def test_parts_that_come_back_add_up() -> None:
    def run(meter: Meter) -> None:
        for _ in range(2):
            time.sleep(0.01)
            meter.lap("slow")
            meter.lap("quick")

    timings = time_parts(run, 3)
    assert list(timings) == ["slow", "quick"]
    assert timings["slow"].seconds >= 0.02
    assert timings["slow"].processor_seconds < timings["slow"].seconds  # asleep
    assert timings["quick"].seconds < 0.01


def test_operations_go_to_the_part_in_which_they_ran() -> None:
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    x, weight = torch.ones(1, 2, 8, 8), torch.ones(4, 2, 3, 3)

    def run(meter: Meter) -> None:
        torch.mm(a, b)
        meter.lap("product")
        F.conv2d(x, weight, padding=1)
        meter.lap("convolution")
        a.exp()
        meter.lap("nothing")

    assert count_parts(run) == {"product": 2 * 3 * 5 * 7, "convolution": 2 * 64 * 4 * 2 * 9, "nothing": 0}


def test_functions_are_called_in_turns_after_one_call_to_warm_up() -> None:
    calls: list[str] = []
    timings = time_in_turns({n: partial(time_run, partial(calls.append, n)) for n in "ab"}, 2)
    assert calls == ["a", "b"] * 3
    assert set(timings) == {"a", "b"}


def test_the_median_of_the_runs_is_taken() -> None:
    pauses = iter([0.0, 0.2, 0.0, 0.0])  # the first is not measured
    assert time_in_turns({"a": partial(time_run, lambda: time.sleep(next(pauses)))}, 3)["a"].seconds == pytest.approx(
        0, abs=0.1
    )
