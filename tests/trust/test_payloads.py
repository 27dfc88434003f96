"""Payloads that no encoder wrote, in files that are sound otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from dlcodec import container
from dlcodec.errors import CorruptFileError, LatentMismatchError
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import decode_image
from tests.forged import seal, varint
from tests.trust.children import Start, spent_on


def with_payload(file: bytes, payload: bytes) -> bytes:
    """The file with another payload and a checksum that fits."""
    header = container.unpack(file, DEFAULT_LIMITS).header
    return container.pack(header, (container.Section(container.SECTION_LATENTS, payload),))


def payload_of(file: bytes) -> bytes:
    return container.unpack(file, DEFAULT_LIMITS).payload


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def foreign_payloads(good: bytes, seed: int) -> Iterator[bytes]:
    """Random ones, truncated ones, zeros and ones, all of whole words and none the good one."""
    random = np.random.default_rng(seed)
    while True:
        words = int(random.integers(0, 400))
        yield random.bytes(4 * words)
        yield good[: 4 * int(random.integers(len(good) // 4))]
        yield b"\x00" * (4 * words)
        yield b"\xff" * (4 * words)


@pytest.mark.parametrize("count", [24, pytest.param(2000, marks=pytest.mark.slow)])
def test_foreign_payloads_neither_crash_nor_hang_a_child(
    start: Start, family_file: bytes, tmp_path: Path, count: int
) -> None:
    payloads = islice(foreign_payloads(payload_of(family_file), 7), count)
    files = [with_payload(family_file, payload) for payload in payloads]
    spent, said = spent_on(start, files, 1.0, decode_image(family_file, 1), tmp_path / "errors")
    assert ({each.code for each in spent}, said) == ({9}, "")
    assert len(spent) == count


def test_300_flipped_bits_make_no_picture(family_file: bytes) -> None:
    payload = payload_of(family_file)
    random = np.random.default_rng(2)
    for bit in random.choice(8 * len(payload), 300, replace=False).tolist():
        with pytest.raises((CorruptFileError, LatentMismatchError)):
            decode_image(with_payload(family_file, flipped(payload, bit)), 0.5)


def test_bits_at_the_end_that_change_no_symbol_are_refused_too(family_file: bytes) -> None:
    """A range coder leaves some of its last bits open; such flips once decoded to the right picture, unnoticed."""
    payload = payload_of(family_file)
    for bit in range(8 * (len(payload) - 8), 8 * len(payload)):
        with pytest.raises(LatentMismatchError):
            decode_image(with_payload(family_file, flipped(payload, bit)), 1)


@pytest.mark.parametrize("more", [bytes(4), bytes(8), b"\x01\x00\x00\x00"])
def test_words_after_the_end_are_refused(family_file: bytes, more: bytes) -> None:
    """One word more was once let through: the coder cannot tell how much of its last words it used."""
    with pytest.raises(LatentMismatchError):
        decode_image(with_payload(family_file, payload_of(family_file) + more), 1)


def test_a_short_payload_of_a_large_picture_is_refused_at_once(family_file: bytes) -> None:
    """Missing words read as zeros, so that a file of 60 bytes once cost the time of 134 million pixels."""
    end = 28  # the sides of the tiny file take a byte each
    data = seal(family_file[:26] + varint(16384) + varint(8192) + family_file[end:-4])
    assert container.unpack(data, DEFAULT_LIMITS).header.width == 16384
    begun = time.process_time()
    with pytest.raises(LatentMismatchError):
        decode_image(data, 1)
    assert time.process_time() - begun < 5
