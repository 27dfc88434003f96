"""Between a latent and the payload of a file: a codec's coding steps, driven in either direction."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import numpy as np

from dlcodec.codecs.base import Codec, CodingStep, CodingSteps, Integers
from dlcodec.container import Container
from dlcodec.entropy.coder import Decoder
from dlcodec.errors import LatentMismatchError

Lap = Callable[[str], None]
"""Called with the name of each part of the chain when it is done, by whoever times or counts them."""


def unwatched(_: str) -> None:
    """The lap of whoever does not ask."""


def run_steps(steps: CodingSteps, code: Callable[[CodingStep], Integers]) -> tuple[Integers, int]:
    """Drive a codec's coding steps in either direction; returns the latent and the digest of all decoded integers."""
    digest = 0
    step = next(steps)
    while True:
        symbols = code(step)
        for integers in (step.index, symbols):
            digest = zlib.crc32(np.ascontiguousarray(integers, "<i4").data, digest)
        try:
            step = steps.send(symbols)
        except StopIteration as stop:
            latent: Integers = stop.value
            return latent, zlib.crc32(np.ascontiguousarray(latent, "<i4").data, digest)


def watched(code: Callable[[CodingStep], Integers], lap: Lap) -> Callable[[CodingStep], Integers]:
    """``code`` with laps around it: whatever ``run_steps`` does between is the exact path."""

    def timed(step: CodingStep) -> Integers:
        lap("exact path")
        symbols = code(step)
        lap("range coding")
        return symbols

    return timed


class Coder(Protocol):
    """What takes symbols when encoding: an ``Encoder``, or something that counts as one."""

    def encode(self, symbols: Integers, index: Integers) -> None:
        """Take ``symbols`` (n,), each under the table that ``index`` (n,) names."""


def code_known(coder: Coder) -> Callable[[CodingStep], Integers]:
    """For ``run_steps`` when encoding: hands each step's symbols to ``coder``."""

    def code(step: CodingStep) -> Integers:
        assert step.symbols is not None
        coder.encode(step.symbols.ravel(), step.index.ravel())
        return step.symbols

    return code


def decode_latent(file: Container, codec: Codec, lap: Lap = unwatched) -> Integers:
    """The latent of an unpacked file; raises LatentMismatchError when it is not the one that was encoded."""
    header = file.header
    height, width = (side + -side % codec.stride for side in (header.height, header.width))
    decoder = Decoder(codec.models, file.payload)

    def code(step: CodingStep) -> Integers:
        return decoder.decode(step.index.ravel()).reshape(step.index.shape)

    latent, digest = run_steps(codec.coding_steps(height, width, header.level, None), watched(code, lap))
    decoder.finish()
    if digest != header.latent_digest:
        raise LatentMismatchError("the decoded latents are not the ones that were encoded; no picture is made of them")
    return latent
