"""Labelled pictures side by side on a white sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from dlcodec.picture import RGB

_GAP = 8
_TOP = 4
_LEAST_WIDTH = 200  # pixels of text, under which labels would be broken into words
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Column:
    """Pictures below each other under a label, which may have several lines."""

    label: str
    pictures: tuple[Image.Image, ...]


def enlarge(rgb: RGB, zoom: int) -> Image.Image:
    """(H, W, 3) uint8 as a picture of ``zoom`` times the size, every pixel a square."""
    picture = Image.fromarray(rgb)
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def _wrap(text: str, width: float, font: Font) -> list[str]:
    """The lines of a text, broken at spaces where that is enough, to be at most ``width`` pixels wide."""
    lines = []
    for line in text.splitlines():
        while font.getlength(line) > width:
            fits = next(length for length in range(len(line) - 1, 0, -1) if font.getlength(line[:length]) <= width)
            space = line.rfind(" ", 1, fits + 1)
            at = space if space > 0 else fits
            lines.append(line[:at])
            line = line[at:].lstrip()
        lines.append(line)
    return lines


def draw_sheet(columns: Sequence[Column], caption: str = "", font_size: int = 16) -> Image.Image:
    """The columns side by side, their pictures aligned in rows below the longest label, and a caption below all."""
    font = ImageFont.load_default(font_size)
    line_height = font_size + 6
    least = min(_LEAST_WIDTH, max(font.getlength(line) for column in columns for line in column.label.splitlines()))
    widths = [max([math.ceil(least), *(each.width for each in column.pictures)]) for column in columns]
    labels = [_wrap(column.label, width, font) for column, width in zip(columns, widths, strict=True)]
    bar = max(len(label) for label in labels) * line_height + _TOP
    heights = [max(each.height for each in row) for row in zip(*(column.pictures for column in columns), strict=True)]
    width = sum(widths) + _GAP * (len(widths) - 1)
    below = _wrap(caption, width, font)
    bottom = bar + sum(heights) + _GAP * len(heights)
    sheet = Image.new("RGB", (width + 2 * _GAP, bottom + len(below) * line_height), "white")
    draw = ImageDraw.Draw(sheet)
    x = _GAP
    for column, label, column_width in zip(columns, labels, widths, strict=True):
        for row, line in enumerate(label):
            draw.text((x, _TOP + row * line_height), line, fill="black", font=font)
        y = bar
        for picture, height in zip(column.pictures, heights, strict=True):
            sheet.paste(picture, (x, y))
            y += height + _GAP
        x += column_width + _GAP
    for row, line in enumerate(below):
        draw.text((_GAP, bottom + row * line_height), line, fill="black", font=font)
    return sheet
