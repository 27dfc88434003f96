"""What a picture costs as it grows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from dlcodec.bench.clock import Timing
from dlcodec.bench.machine import peak_memory
from dlcodec.bench.subject import Subject, fill

MEGAPIXELS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
_ASPECT = 1.5
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a picture of ``pixels``: encoding, decoding, and the most memory that the process had until then, in bytes."""

    pixels: int
    encode: Timing
    decode: Timing
    peak_memory: int


def _once(function: Callable[[], T]) -> tuple[T, Timing]:
    begun = time.perf_counter(), time.process_time()
    result = function()
    return result, Timing(time.perf_counter() - begun[0], time.process_time() - begun[1])


def sweep(subject: Subject, seconds: float) -> Iterator[Cost]:
    """Cost of the sizes of MEGAPIXELS in rising order, until the next would probably pass ``seconds`` in all."""
    begun = time.perf_counter()
    each = 0.0
    subject.decode(subject.encode())  # to warm up
    for megapixels in MEGAPIXELS:
        if each and time.perf_counter() - begun + each * megapixels > seconds:
            return
        height = round(math.sqrt(megapixels * 1e6 / _ASPECT))
        width = round(megapixels * 1e6 / height)
        larger = replace(subject, rgb=fill(subject.rgb, width, height))
        data, encode = _once(larger.encode)
        _, decode = _once(partial(larger.decode, data))
        each = (encode.seconds + decode.seconds) / megapixels
        yield Cost(width * height, encode, decode, peak_memory())
