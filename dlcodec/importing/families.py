"""The families that can be imported: one function each, from a foreign state dict to our config and arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from dlcodec.errors import UsageError
from dlcodec.importing.cheng2020 import convert_cheng2020
from dlcodec.importing.conversion import Converted
from dlcodec.importing.mean_scale import convert_mean_scale

Convert = Callable[[Mapping[str, Tensor]], Converted]
"""Raises WeightsError when the tensors are not those of the family."""

CONVERTERS: Mapping[str, Convert] = {"mean-scale": convert_mean_scale, "cheng2020": convert_cheng2020}


def converter(family: str) -> Convert:
    """The function that imports a family; raises UsageError for a family without one."""
    if family not in CONVERTERS:
        raise UsageError(f"family {family!r} is none of those that can be imported: {', '.join(CONVERTERS)}")
    return CONVERTERS[family]
