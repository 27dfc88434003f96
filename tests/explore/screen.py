"""What the screen of a page shows, and where."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def box_of(page: Any, selector: str) -> dict[str, float]:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box


def colour_at(page: Any, selector: str, across: float, down: float) -> tuple[int, ...]:
    """What the screen shows at a place of the picture of a side, given as fractions of its width and height."""
    box = box_of(page, f"{selector} .sheet")
    shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    return tuple(int(v) for v in shot[round(box["y"] + down * box["height"]), round(box["x"] + across * box["width"])])


def left_colour(page: Any) -> tuple[int, ...]:
    return colour_at(page, "#left", 0.2, 0.3)


def right_colour(page: Any) -> tuple[int, ...]:
    return colour_at(page, "#right", 0.8, 0.8)
