"""Damaged files whose checksum fits, as an attacker would leave them, through the whole decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcodec.pipeline import decode_image
from tests.forged import seal
from tests.trust.children import Start, spent_on

LEVEL = slice(11, 13)
"""The bytes of the level: the digest is over integers, and a change of 1/256 may leave them all as they are."""


def mutant(data: bytes, random: np.random.Generator) -> bytes:
    """1 to 4 bytes behind the signature changed, left out or put in; the level stays, and the checksum fits."""
    body = bytearray(data[:-4])
    for _ in range(int(random.integers(1, 5))):
        at, what = int(random.integers(6, len(body))), int(random.integers(12))
        if what == 0:
            del body[at : at + int(random.integers(1, 5))]
        elif what == 1:
            body[at:at] = random.bytes(int(random.integers(1, 5)))
        else:
            body[at] = int(random.choice((0x00, 0x7F, 0x80, 0xFF, int(random.integers(256)))))
    body[LEVEL] = data[LEVEL]
    return seal(bytes(body))


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_a_mutant_gives_the_picture_or_our_error_in_bounded_time_and_memory(
    start: Start, family_file: bytes, tmp_path: Path, tau: float, count: int
) -> None:
    random = np.random.default_rng(int(10 * tau))
    files = [mutant(family_file, random) for _ in range(count)]
    spent, said = spent_on(start, files, tau, decode_image(family_file, tau), tmp_path / "errors")
    codes = [each.code for each in spent]
    assert (len(codes), said) == (count, "")
    assert set(codes) <= {0, 4, 5, 6, 7, 9}
    assert codes.count(9) >= count // 5
    assert max(each.seconds for each in spent) <= 25
    assert max(each.mebibytes for each in spent) <= 2560
