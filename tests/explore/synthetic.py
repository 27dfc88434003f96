"""Pictures whose places and colours are known, and pages of them."""

from __future__ import annotations

import numpy as np

from dlcodec.explore.page import Facts, build_page
from tests.conftest import RGB

FACTS = Facts(name="a <b> & {{script}}.dlc", file_bytes=1234, level=2.5, model="0123456789abcdef")
GREYS = (200, 160, 120)
TAUS = (0.0, 0.5, 1.0)
ORIGINAL_GREEN = 100
SHAPE = (40, 60)
INVENTED = (slice(0, 20), slice(0, 30))
"""The upper left quarter, where each tau has a grey of its own; elsewhere all pictures are grey 120."""


def pictures() -> list[tuple[float, RGB]]:
    made = []
    for tau, grey in zip(TAUS, GREYS, strict=True):
        picture = np.full((*SHAPE, 3), 120, np.uint8)
        picture[INVENTED] = grey
        made.append((tau, picture))
    return made


def original() -> RGB:
    picture = np.zeros((*SHAPE, 3), np.uint8)
    picture[..., 1] = ORIGINAL_GREEN
    return picture


def synthetic_page(*, with_original: bool = True) -> bytes:
    return build_page(FACTS, pictures(), original() if with_original else None, most_megabytes=1).data


def noise(count: int, shape: tuple[int, int]) -> list[tuple[float, RGB]]:
    """Pictures that no coder makes small."""
    random = np.random.default_rng(0)
    taus = np.linspace(0, 1, count)
    return [(float(tau), random.integers(0, 256, (*shape, 3), dtype=np.uint8)) for tau in taus]
