from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcodec.bench.subject import choose_subject, fill, parse_size
from dlcodec.errors import LimitError, UsageError
from dlcodec.installed import find


def test_sizes_have_names_or_numbers() -> None:
    assert parse_size("kodak") == (768, 512)
    assert parse_size("4k") == (3840, 2160)
    assert parse_size("70x50") == (70, 50)


@pytest.mark.parametrize("text", ["", "big", "70", "70x", "70x50x3", "0x5", "-1x5"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="size"):
        parse_size(text)


def test_a_size_beyond_the_limits_is_refused() -> None:
    with pytest.raises(LimitError, match=r"60000 x 60000 pixels.*--max-pixels of encode, decode, info"):
        parse_size("60000x60000")


def test_a_picture_is_cut_or_continued_by_its_mirror_image() -> None:
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    larger = fill(rgb, 8, 5)
    assert larger.shape == (5, 8, 3)
    assert np.array_equal(larger[:2, :3], rgb)
    assert np.array_equal(larger[:2, 3:6], rgb[:, ::-1])
    assert np.array_equal(larger[2:4, :3], rgb[::-1])
    assert np.array_equal(fill(rgb, 2, 1), rgb[:1, :2])


def test_an_image_keeps_its_size_and_the_model_gives_its_defaults(tiny: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (33, 21)).save(tmp_path / "a.png")
    base = find("mean-scale")
    common = {"level": None, "steps": None, "device": "cpu", "precision": "auto"}
    subject = choose_subject(base, tmp_path / "a.png", None, tau=0.0, **common)  # type: ignore[arg-type]
    assert (subject.rgb.shape, subject.level, subject.steps) == ((21, 33, 3), 1.0, 10)
    subject = choose_subject(base, None, None, tau=1.0, **common)  # type: ignore[arg-type]
    assert (subject.rgb.shape, subject.steps) == ((512, 768, 3), 1)
