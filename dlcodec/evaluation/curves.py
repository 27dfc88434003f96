"""Rate-distortion curves: the published ones, and the distance between two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_ANCHORS = Path(__file__).parent / "anchors.json"


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of rising rate: ``bpp`` in bits per pixel of the file, ``psnr`` in dB (RGB)."""

    bpp: tuple[float, ...]
    psnr: tuple[float, ...]


def published(name: str) -> Curve:
    """A curve of ``anchors.json``, measured on Kodak."""
    entry = json.loads(_ANCHORS.read_text())["kodak"][name]
    return Curve(tuple(entry["bpp"]), tuple(entry["psnr"]))


def psnr_at(curve: Curve, rates: Sequence[float]) -> list[float]:
    """PSNR at the given rates, linear in log rate between points; NaN outside the curve."""
    logs = np.log(curve.bpp)
    values: list[float] = np.interp(np.log(rates), logs, curve.psnr, left=np.nan, right=np.nan).tolist()
    return values


def mean_gap(curve: Curve, anchor: Curve, low: float = 0.12, high: float = 0.9) -> tuple[float, float, float]:
    """Mean PSNR of ``curve`` minus ``anchor`` in dB over ``low`` to ``high`` bpp, and the range both cover of it.

    A published curve whose first point lies within 5 % above ``low`` counts as covering it from there.
    """
    first, last = max(low, curve.bpp[0], anchor.bpp[0]), min(high, curve.bpp[-1], anchor.bpp[-1])
    rates = np.linspace(first, last, 400).tolist()
    difference = np.array(psnr_at(curve, rates)) - np.array(psnr_at(anchor, rates))
    return float(np.nanmean(difference)), first, last
