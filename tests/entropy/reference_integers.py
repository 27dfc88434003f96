"""The exact networks on 64-bit integers, written from ``docs/entropy.md``: the truth for float64 carriers.

Every sum is watched: ``Watch.bits`` is the largest magnitude that any partial sum could have reached, whatever the
order of its terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
LAYERS = {
    "mean-scale": (("0", "transposed", True), ("2", "transposed", True), ("4", "none", False)),
    "cheng2020": (
        ("0", "none", True),
        ("2.0", "shuffled", True),
        ("4", "none", True),
        ("6.0", "shuffled", True),
        ("8", "none", False),
    ),
}
"""Of each family: the layers of h_s by name, how each doubles the sides, and whether LeakyReLU follows."""
CONTEXT = (
    ("entropy_parameters.0", "none", True),
    ("entropy_parameters.2", "none", True),
    ("entropy_parameters.4", "none", False),
)
"""Those after the masked convolution of a context model."""
ACTIVATION_LIMIT = 2**23
HYPER_LIMIT = 2**22


@dataclass
class Watch:
    """The largest sum of magnitudes so far."""

    largest: int = 0

    def see(self, magnitudes: Integers) -> None:
        """Take note of sums of magnitudes."""
        self.largest = max(self.largest, int(magnitudes.max(initial=0)))

    @property
    def bits(self) -> float:
        """Its base-2 logarithm."""
        return math.log2(max(1, self.largest))


def half_even(value: Integers, bits: int) -> Integers:
    """``value / 2^bits``, rounded to the nearest integer, halves to the even one."""
    if bits == 0:
        return value
    whole, rest = value >> bits, value & ((1 << bits) - 1)
    half = 1 << (bits - 1)
    return whole + ((rest > half) | ((rest == half) & (whole % 2 == 1)))


def convolve(x: Integers, weight: Integers, upsample: bool) -> Integers:
    """(C, h, w) with (out, C, k, k), or upsampled with (C, out, k, k) transposed; sums without a bias."""
    kernel, height, width = weight.shape[-1], *x.shape[1:]
    pad, scale = kernel // 2, 2 if upsample else 1
    out = weight.shape[1] if upsample else weight.shape[0]
    whole = np.zeros((out, height * scale + 2 * pad + 1, width * scale + 2 * pad + 1), np.int64)
    for i in range(kernel):
        for j in range(kernel):
            tap = weight[:, :, i, j].T if upsample else weight[:, :, kernel - 1 - i, kernel - 1 - j]
            part = np.einsum("oc,chw->ohw", tap, x)
            whole[:, i : i + scale * height : scale, j : j + scale * width : scale] += part
    return whole[:, pad : pad + scale * height, pad : pad + scale * width]


def shuffled(x: Integers) -> Integers:
    """(4C, h, w) as (C, 2h, 2w): channel 4 c + 2 i + j holds row i and column j of output c."""
    channels, height, width = x.shape
    blocks = x.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    return blocks.reshape(channels // 4, 2 * height, 2 * width)


def layer(x: Integers, weight: Integers, bias: Integers, shift: int, kind: tuple[str, bool], watch: Watch) -> Integers:
    """One layer: sums, bias, rounding shift, LeakyReLU of 655/65536, clamp; ``kind`` is (upsampling, activate)."""
    upsampling, activate = kind
    transposed = upsampling == "transposed"
    watch.see(convolve(np.abs(x), np.abs(weight), transposed) + np.abs(bias)[:, None, None])
    y = half_even(convolve(x, weight, transposed) + bias[:, None, None], shift)
    if activate:
        watch.see(np.abs(y) * 655)
        y = np.where(y < 0, half_even(y * 655, 16), y)
    y = y.clip(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    return shuffled(y) if upsampling == "shuffled" else y


def _exact(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Integers]:
    integers = {name: array.astype(np.int64) for name, array in arrays.items() if name.startswith("exact.")}
    return {name.removeprefix("exact."): array for name, array in integers.items()}


def hyper_synthesis(
    family: str,
    arrays: Mapping[str, npt.NDArray[Any]],
    shifts: Sequence[int],
    symbols: npt.NDArray[np.int32],
    level: int,
    watch: Watch | None = None,
) -> Integers:
    """What h_s says of ``symbols`` (N, h, w) at a level in steps of 1/256."""
    watch = watch or Watch()
    exact = _exact(arrays)
    gains, (low, part) = exact["hinv"], divmod(level, 256)
    gain = gains[low] * (256 - part) + gains[min(low + 1, len(gains) - 1)] * part
    z = (symbols.astype(np.int64) * 256 + exact["medians"][:, None, None]).clip(-HYPER_LIMIT, HYPER_LIMIT)
    z = z * gain[:, None, None]
    watch.see(np.abs(z))
    x = half_even(z, 18).clip(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    for (name, *kind), shift in zip(LAYERS[family], shifts, strict=True):
        x = layer(x, exact[f"h_s.{name}.weight"], exact[f"h_s.{name}.bias"], shift, (kind[0], kind[1]), watch)
    return x


def context_model(
    arrays: Mapping[str, npt.NDArray[Any]],
    shifts: Sequence[int],
    features: Integers,
    latent: Integers,
    watch: Watch | None = None,
) -> Integers:
    """What the context model says of every position of a latent (M, h, w) and features (F, h, w): (2M, h, w).

    All positions at once: the masked convolution sees none but earlier ones.
    """
    watch, exact = watch or Watch(), _exact(arrays)
    seen = latent.astype(np.int64).clip(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    weight, bias = exact["context_prediction.weight"].copy(), exact["context_prediction.bias"]
    weight.reshape(*weight.shape[:2], -1)[:, :, weight[0, 0].size // 2 :] = 0
    contexts = layer(seen, weight, bias, shifts[0], ("none", False), watch)
    x = np.concatenate([features.astype(np.int64), contexts])
    for (name, *kind), shift in zip(CONTEXT, shifts[1:], strict=True):
        x = layer(x, exact[f"{name}.weight"], exact[f"{name}.bias"], shift, (kind[0], kind[1]), watch)
    return x
