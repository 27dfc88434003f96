"""From a trained network to a checkpoint: integer hyper-synthesis, fitted integer tables, float16 transforms."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcodec.arguments import LEVEL_STEPS
from dlcodec.codecs import codec_class
from dlcodec.codecs.base import CodingStep, Integers
from dlcodec.codecs.hyperprior import HyperpriorCodec
from dlcodec.codecs.hyperprior_network import HyperpriorNetwork
from dlcodec.codecs.layers import MaskedConv
from dlcodec.coding import run_steps
from dlcodec.entropy.exact import ACTIVATION_BITS, GAIN_BITS, LATENT_BITS
from dlcodec.entropy.tables import TableSet, table_from_probabilities, table_set

SCALES: npt.NDArray[np.float64] = np.exp(np.linspace(math.log(0.11), math.log(256), 64))
"""The deviations of the y tables, as in CompressAI."""

_LAPLACE_SHARE = 0.1
_INT32 = 2**31 - 1
Arrays = dict[str, npt.NDArray[Any]]

_CHANGES = re.compile(r"denoiser\.head\.|adapters\.scale\.|blocks\.\d+\.scale")
"""The tensors of a fusion network to which its changes are proportional."""


def _shift(weight: Tensor, bias: Tensor) -> int:
    """The largest power of two by which a layer's weight fits int16, and its bias int32 with the activation's bits."""
    room = ((32767, 0, weight), (_INT32, ACTIVATION_BITS, bias))
    shifts = [math.floor(math.log2(most / t.abs().max().item())) - bits for most, bits, t in room if t.any()]
    return min(shifts, default=0)


def quantise_layer(layer: torch.nn.Module) -> tuple[int, Arrays]:
    """A convolution as integers: the shift, and ``weight`` (int16, scaled by 2^shift) and ``bias`` (int32)."""
    assert isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d)
    assert layer.bias is not None
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    if isinstance(layer, MaskedConv):
        weight = weight * layer.mask
    shift = _shift(weight, bias)
    return shift, {
        "weight": (weight * 2.0**shift).round().to(torch.int16).numpy(),
        "bias": (bias * 2.0 ** (shift + ACTIVATION_BITS)).round().to(torch.int32).numpy(),
    }


def quantise_network(
    network: HyperpriorNetwork, medians: Tensor, scales: int, transforms: torch.dtype = torch.float16
) -> tuple[dict[str, Any], Arrays]:
    """The config entries and arrays of a network, but for the tables; ``medians`` is (N,) float.

    ``transforms`` is the type in which ``g_a``, ``g_s`` and ``h_a`` are stored.
    """
    params = network.params
    arrays: Arrays = {}
    shifts: dict[str, list[int]] = {}
    for group, plans in network.exact_groups.items():
        for plan in plans:
            shift, layer = quantise_layer(network.get_submodule(plan.name))
            shifts.setdefault(f"{group}_shifts", []).append(shift)
            arrays |= {f"exact.{plan.name}.{name}": array for name, array in layer.items()}
    arrays["exact.medians"] = (medians.detach().double() * 2**LATENT_BITS).round().to(torch.int32).numpy()
    arrays["exact.hinv"] = (
        (network.hinv.detach().double().abs() * 2**GAIN_BITS).round().clamp_min(1).to(torch.int32).numpy()
    )
    middle = np.sqrt(SCALES[: scales - 1] * SCALES[1:scales])
    arrays["exact.thresholds"] = np.rint(middle * 2**ACTIVATION_BITS).astype(np.int32)
    for name, tensor in network.state_dict().items():
        if name.startswith(("g_a.", "g_s.", "h_a.")):
            arrays[name] = tensor.to(transforms).numpy()
        elif name in ("gain", "inv_gain", "hgain"):
            arrays[name] = tensor.abs().float().numpy()
    return {"N": params.N, "M": params.M, **shifts}, arrays


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
    """The same for z, from its learned likelihoods (N, 2 r + 1) at -r..r around the medians; supports are trimmed."""
    priors, reach = [], likelihoods.shape[1] // 2
    for row in likelihoods:
        used = np.flatnonzero(row > 1e-7)
        first, last = (int(used[0]), int(used[-1])) if used.size else (reach, reach)
        inside = row[first : last + 1]
        priors.append((first - reach, np.append(inside, max(1e-7, 1 - inside.sum()))))
    return priors


def tables_from(priors: Sequence[tuple[int, npt.NDArray[np.float64]]]) -> TableSet:
    """Tables that state the priors as they are."""
    return table_set([(low, table_from_probabilities(p)) for low, p in priors])


def fit_tables(
    codec: HyperpriorCodec, priors: Sequence[tuple[int, npt.NDArray[np.float64]]], images: Iterable[Tensor], seed: int
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
        run_steps(codec.coding_steps(image.shape[1], image.shape[2], level, codec.analyse(x, level)), code)
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
    quantised: Mapping[str, Any], lambdas: Sequence[float | None], default_level: float, orientation: str
) -> dict[str, Any]:
    """The whole config of a base checkpoint, one of ``lambdas`` a level, None where nobody knows it.

    ``orientation`` is "distortion" or "perception".
    """
    return {
        **quantised,
        "lambdas": list(lambdas),
        "default_level": default_level,
        "orientation": orientation,
    }


def export_base(
    network: HyperpriorNetwork,
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
    tables = table_arrays(tables_from(priors))
    first: HyperpriorCodec = codec_class(network.family)(config, {**arrays, **tables}, torch.device("cpu"))
    return config, {**arrays, **table_arrays(fit_tables(first, priors, images, seed=0))}


def fusion_parts(
    tensors: Mapping[str, Tensor],
    base: str,
    params: Mapping[str, int],
    schedule: Mapping[str, Any],
    steps: int,
    strength: float = 1.0,
    blocks: Sequence[Mapping[str, int]] = (),
) -> tuple[dict[str, Any], Arrays]:
    """The config and arrays of a fusion checkpoint: networks in float16, means and deviations in float32.

    ``strength`` scales the changes of the latent and of the synthesis, as ``1 - tau^2`` does: tau = 0 of what is
    exported is ``sqrt(1 - strength)`` of what was trained. ``blocks`` are the places of the blocks.
    """
    tensors = {n: t * strength if _CHANGES.match(n) else t for n, t in tensors.items()}
    config = {"base": base, "denoiser": dict(params), "schedule": dict(schedule), "steps": steps}
    if blocks:
        config["blocks"] = [dict(place) for place in blocks]
    arrays = {
        n: (t.float() if n.rpartition(".")[2] in ("mean", "deviation", "rms") else t.half()).numpy()
        for n, t in tensors.items()
    }
    return config, arrays
