"""The families that CompressAI has too: one entry each, by which their weights come here and go back there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compressai.models import Cheng2020Attention, MeanScaleHyperprior
from compressai.models.base import CompressionModel
from torch import Tensor

from dlcodec.errors import UsageError
from dlcodec.importing.cheng2020 import convert_cheng2020
from dlcodec.importing.conversion import Converted
from dlcodec.importing.hyperprior import restore_hyperprior
from dlcodec.importing.mean_scale import convert_mean_scale
from dlcodec.training.export import Arrays


@dataclass(frozen=True, slots=True)
class Foreign:
    """A family as CompressAI has it; ``zoo`` is the name of its pretrained models there.

    ``convert`` makes our config and arrays of a state dict, and raises WeightsError when the tensors are not those of
    the family; ``build`` is CompressAI's network of N and M channels, with random weights.
    """

    zoo: str
    convert: Callable[[Mapping[str, Tensor]], Converted]
    build: Callable[[int, int], CompressionModel]


FOREIGN: Mapping[str, Foreign] = {
    "mean-scale": Foreign("mbt2018-mean", convert_mean_scale, MeanScaleHyperprior),
    "cheng2020": Foreign("cheng2020-attn", convert_cheng2020, lambda N, _: Cheng2020Attention(N)),
}


def foreign(family: str) -> Foreign:
    """CompressAI's side of a family; raises UsageError for a family that it lacks."""
    if family not in FOREIGN:
        raise UsageError(f"family {family!r} is none of those that CompressAI has too: {', '.join(FOREIGN)}")
    return FOREIGN[family]


def restore(family: str, config: Mapping[str, Any], arrays: Arrays, level: int) -> CompressionModel:
    """CompressAI's own network with the weights of a base checkpoint, at one whole level; raises UsageError."""
    return restore_hyperprior(foreign(family).build(config["N"], config["M"]), family, config, arrays, level)
