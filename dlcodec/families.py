"""The registry of base codecs; it imports nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """A base codec: its number in the bitstream, its name, and where its class is, as module:class."""

    number: int
    name: str
    codec: str


FAMILIES = (
    Family(1, "mean-scale", "dlcodec.codecs.mean_scale:MeanScaleCodec"),
    Family(2, "cheng2020", "dlcodec.codecs.cheng2020:Cheng2020Codec"),
)
"""Append only: files name families by their numbers."""
