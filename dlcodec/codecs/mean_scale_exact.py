"""The integer part of a mean-scale checkpoint, held to its config before it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dlcodec.codecs.mean_scale_network import MeanScaleParams
from dlcodec.entropy.exact import ExactLayer, HyperSynthesis
from dlcodec.errors import WeightsError

PREFIX = "exact."
HYPER_LAYERS = ((0, True, True), (2, True, True), (4, False, False))
"""Of ``h_s``: CompressAI's layer number, whether it upsamples, whether LeakyReLU follows."""


def hyper_shapes(params: MeanScaleParams) -> dict[str, tuple[int, ...]]:
    """The shapes of the integer arrays, but for the thresholds, whose number is that of the scales less one."""
    N, M, wide = params.N, params.M, params.M * 3 // 2
    return {
        "exact.h_s.0.weight": (N, M, 5, 5),
        "exact.h_s.0.bias": (M,),
        "exact.h_s.2.weight": (M, wide, 5, 5),
        "exact.h_s.2.bias": (wide,),
        "exact.h_s.4.weight": (2 * M, wide, 3, 3),
        "exact.h_s.4.bias": (2 * M,),
        "exact.medians": (N,),
        "exact.hinv": (params.levels, N),
    }


def build_hyper_synthesis(
    params: MeanScaleParams, shifts: Sequence[int], arrays: Mapping[str, npt.NDArray[Any]], device: torch.device
) -> HyperSynthesis:
    """The exact path of a checkpoint, from those of its ``arrays`` whose names begin with ``exact.``.

    ``shifts`` has the fractional bits of each layer's weights. Raises WeightsError when an array is missing, left
    over, not of integers or of a wrong shape, and when a sum could pass 2^53.
    """
    exact = {name: array for name, array in arrays.items() if name.startswith(PREFIX)}
    shapes = hyper_shapes(params)
    thresholds = exact.get("exact.thresholds", np.empty((0, 0)))
    if thresholds.ndim != 1 or {name: array.shape for name, array in exact.items()} != {
        **shapes,
        "exact.thresholds": thresholds.shape,
    }:
        raise WeightsError("the arrays of the exact hyper-synthesis do not have the shapes that the config demands")
    if not all(np.issubdtype(array.dtype, np.integer) for array in exact.values()):
        raise WeightsError("the exact hyper-synthesis is not of integers")
    tensors = {name: torch.from_numpy(array).double().to(device) for name, array in exact.items()}
    layers = tuple(
        ExactLayer(tensors[f"exact.h_s.{n}.weight"], tensors[f"exact.h_s.{n}.bias"], shift, up, activate)
        for (n, up, activate), shift in zip(HYPER_LAYERS, shifts, strict=True)
    )
    return HyperSynthesis(layers, tensors["exact.medians"], tensors["exact.hinv"], tensors["exact.thresholds"])
