"""From a trained network to a checkpoint: integer hyper-synthesis, fitted integer tables, float16 transforms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcodec.codecs.base import CodingStep, Integers
from dlcodec.codecs.mean_scale import MeanScaleCodec
from dlcodec.codecs.mean_scale_exact import HYPER_LAYERS
from dlcodec.codecs.mean_scale_network import MeanScaleNetwork
from dlcodec.entropy.exact import ACTIVATION_BITS, GAIN_BITS, LATENT_BITS, LEVEL_STEPS
from dlcodec.entropy.tables import TableSet, table_from_probabilities, table_set

SCALES: npt.NDArray[np.float64] = np.exp(np.linspace(math.log(0.11), math.log(256), 64))
"""The deviations of the y tables, as in CompressAI."""

_HYPER_REACH = 40
_LAPLACE_SHARE = 0.1
Arrays = dict[str, npt.NDArray[Any]]


def quantise_network(network: MeanScaleNetwork, medians: Tensor, scales: int) -> tuple[dict[str, Any], Arrays]:
    """The config entries and arrays of a network, but for the tables; ``medians`` is (N,) float."""
    params = network.params
    arrays: Arrays = {}
    shifts = []
    for number, _, _ in HYPER_LAYERS:
        layer = network.h_s[number]
        assert isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d)
        assert layer.bias is not None
        weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
        shift = math.floor(math.log2(32767 / weight.abs().max().item()))
        shifts.append(shift)
        arrays[f"exact.h_s.{number}.weight"] = (weight * 2.0**shift).round().to(torch.int16).numpy()
        arrays[f"exact.h_s.{number}.bias"] = (bias * 2.0 ** (shift + ACTIVATION_BITS)).round().to(torch.int32).numpy()
    arrays["exact.medians"] = (medians.detach().double() * 2**LATENT_BITS).round().to(torch.int32).numpy()
    arrays["exact.hinv"] = (
        (network.hinv.detach().double().abs() * 2**GAIN_BITS).round().clamp_min(1).to(torch.int32).numpy()
    )
    middle = np.sqrt(SCALES[: scales - 1] * SCALES[1:scales])
    arrays["exact.thresholds"] = np.rint(middle * 2**ACTIVATION_BITS).astype(np.int32)
    for name, tensor in network.state_dict().items():
        if name.startswith(("g_a.", "g_s.", "h_a.")):
            arrays[name] = tensor.half().numpy()
        elif name in ("gain", "inv_gain", "hgain"):
            arrays[name] = tensor.abs().float().numpy()
    return {"N": params.N, "M": params.M, "h_s_shifts": shifts}, arrays


def _cell(cdf: Any, symbols: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    upper = torch.from_numpy(symbols + 0.5)
    cells: npt.NDArray[np.float64] = (cdf(upper) - cdf(upper - 1)).numpy()
    return cells


def scale_priors(scales: int) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Per scale, the smallest symbol and the probabilities of its support and escape: a Gaussian with a heavy tail."""
    priors = []
    for sigma in SCALES[:scales]:
        reach = math.ceil(8 * sigma) + 3
        symbols = np.arange(-reach, reach + 1, dtype=np.float64)
        gauss = _cell(torch.distributions.Normal(0.0, float(sigma)).cdf, symbols)
        laplace = _cell(torch.distributions.Laplace(0.0, float(sigma) / math.sqrt(2)).cdf, symbols)
        inside = (1 - _LAPLACE_SHARE) * gauss + _LAPLACE_SHARE * laplace
        priors.append((-reach, np.append(inside, max(1e-7, 1 - inside.sum()))))
    return priors


def hyper_priors(likelihoods: npt.NDArray[np.float64]) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """The same for z, from its learned likelihoods (N, 81) at -40..40 around the medians; supports are trimmed."""
    priors = []
    for row in likelihoods:
        used = np.flatnonzero(row > 1e-7)
        first, last = (int(used[0]), int(used[-1])) if used.size else (_HYPER_REACH, _HYPER_REACH)
        inside = row[first : last + 1]
        priors.append((first - _HYPER_REACH, np.append(inside, max(1e-7, 1 - inside.sum()))))
    return priors


def tables_from(priors: Sequence[tuple[int, npt.NDArray[np.float64]]]) -> TableSet:
    """Tables that state the priors as they are."""
    return table_set([(low, table_from_probabilities(p)) for low, p in priors])


def fit_tables(
    codec: MeanScaleCodec, priors: Sequence[tuple[int, npt.NDArray[np.float64]]], images: Iterable[Tensor], seed: int
) -> TableSet:
    """Tables from how often each symbol really occurs under each table, leaning on the prior where data is thin.

    Each of ``images`` (3, H, W) uint8, sides multiples of 64, is coded once at a random level. A prior weighs as
    much as one occurrence of each symbol of its table. Tables of y are kept symmetric.
    """
    random = np.random.default_rng(seed)
    counts = [np.zeros(len(p)) for _, p in priors]
    lows = np.array([low for low, _ in priors])
    lengths = np.array([len(p) for _, p in priors])
    hyper_tables = codec.hyper_tables

    def code(step: CodingStep) -> Integers:
        assert step.symbols is not None
        index = step.index.ravel()
        offsets = step.symbols.ravel() - lows[index]
        escaped = (offsets < 0) | (offsets > lengths[index] - 2)
        offsets = np.where(escaped, lengths[index] - 1, offsets)
        for table in np.unique(index):
            counts[table] += np.bincount(offsets[index == table], minlength=lengths[table])
        return step.symbols

    for image in images:
        level = int(random.integers((codec.levels - 1) * LEVEL_STEPS + 1))
        x = image[None].float() / 255
        steps = codec.coding_steps(image.shape[1], image.shape[2], level, codec.analyse(x, level))
        step = next(steps)
        while True:
            try:
                step = steps.send(code(step))
            except StopIteration:
                break
    fitted: list[tuple[int, npt.NDArray[np.int32]]] = []
    for (low, prior), count in zip(priors, counts, strict=True):
        if len(fitted) >= hyper_tables:
            count[:-1] = (count[:-1] + count[-2::-1]) / 2
        fitted.append((low, table_from_probabilities(count + prior * len(prior))))
    return table_set(fitted)


def table_arrays(tables: TableSet) -> Arrays:
    """A table set under its names in a checkpoint."""
    return {"tables.cdf": tables.cdf, "tables.start": tables.start, "tables.minimum": tables.minimum}


def base_config(
    quantised: Mapping[str, Any], lambdas: Sequence[float], default_level: float, orientation: str
) -> dict[str, Any]:
    """The whole config of a base checkpoint; ``orientation`` is "distortion" or "perception"."""
    return {
        **quantised,
        "lambdas": list(lambdas),
        "default_level": default_level,
        "orientation": orientation,
    }


def export_base(
    network: MeanScaleNetwork,
    medians: Tensor,
    hyper_likelihoods: npt.NDArray[np.float64],
    lambdas: Sequence[float],
    default_level: float,
    images: Iterable[Tensor],
    scales: int = len(SCALES),
) -> tuple[dict[str, Any], Arrays]:
    """The config and arrays of a base checkpoint, tables fitted on ``images``."""
    quantised, arrays = quantise_network(network, medians, scales)
    config = base_config(quantised, lambdas, default_level, "distortion")
    priors = [*hyper_priors(hyper_likelihoods), *scale_priors(scales)]
    first = MeanScaleCodec(config, {**arrays, **table_arrays(tables_from(priors))}, torch.device("cpu"))
    return config, {**arrays, **table_arrays(fit_tables(first, priors, images, seed=0))}


def fusion_parts(
    tensors: Mapping[str, Tensor],
    base: str,
    params: Mapping[str, int],
    schedule: Mapping[str, Any],
    steps: int,
) -> tuple[dict[str, Any], Arrays]:
    """The config and arrays of a fusion checkpoint: networks in float16, ``mean`` and ``deviation`` in float32."""
    config = {"base": base, "denoiser": dict(params), "schedule": dict(schedule), "steps": steps}
    arrays = {
        n: (t.half() if n.startswith(("denoiser.", "adapters.")) else t.float()).numpy() for n, t in tensors.items()
    }
    return config, arrays
