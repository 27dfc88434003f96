from __future__ import annotations

import numpy as np
from PIL import Image, ImageFont

from dlcodec.sheet import Column, _wrap, draw_sheet, enlarge

RED, GREEN = (255, 0, 0), (0, 255, 0)


def box(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what has a colour."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_pictures_stand_in_one_row_below_labels_of_different_length() -> None:
    columns = [
        Column("a\nb\nc", (Image.new("RGB", (300, 40), RED),)),
        Column("a", (Image.new("RGB", (300, 40), GREEN),)),
    ]
    sheet = draw_sheet(columns)
    left, right = box(sheet, RED), box(sheet, GREEN)
    assert (left[1], left[3]) == (right[1], right[3])
    assert (left[2] - left[0], left[3] - left[1]) == (right[2] - right[0], right[3] - right[1]) == (300, 40)
    assert right[0] > left[2]
    assert np.asarray(sheet)[: left[1]].min() < 50  # there is text


def test_labels_do_not_run_into_each_other_over_narrow_pictures() -> None:
    label = "a label that is much wider than its picture, and goes on and on"
    sheet = draw_sheet([Column(label, (Image.new("RGB", (10, 10), colour),)) for colour in (RED, GREEN)])
    pixels = np.asarray(sheet)
    gap = pixels[:, box(sheet, GREEN)[0] - 6 : box(sheet, GREEN)[0] - 1]
    assert (gap == 255).all()


def test_a_line_is_broken_at_spaces_and_else_anywhere() -> None:
    font = ImageFont.load_default(16)
    width = font.getlength("one two ")
    assert _wrap("one two three", width, font) == ["one two", "three"]
    broken = _wrap("x" * 500, width, font)
    assert "".join(broken) == "x" * 500
    assert all(font.getlength(line) <= width for line in broken)


def test_a_caption_is_below_everything() -> None:
    column = Column("a", (Image.new("RGB", (300, 40), RED), Image.new("RGB", (300, 60), GREEN)))
    plain, captioned = draw_sheet([column]), draw_sheet([column], "words")
    assert box(plain, RED)[3] < box(plain, GREEN)[1]
    assert captioned.height > plain.height
    assert np.asarray(captioned)[plain.height :].min() < 50
    assert np.array_equal(np.asarray(captioned)[: plain.height - 8], np.asarray(plain)[:-8])


def test_every_pixel_becomes_a_square() -> None:
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    assert np.array_equal(enlarge(rgb, 3), rgb.repeat(3, 0).repeat(3, 1))
