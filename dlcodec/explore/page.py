"""The page: pictures, maps and figures put into a template; nothing in it refers to anything outside it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlcodec.explore.differences import change, choose_top, draw_map
from dlcodec.explore.pictures import LOSSLESS, check_side, fit, webp_map
from dlcodec.image import psnr
from dlcodec.picture import RGB

_FOLDER = Path(__file__).parent
_SLOT = re.compile(r"\{\{(\w+)\}\}")
_NOTICED = 8


@dataclass(frozen=True, slots=True)
class Facts:
    """What the page says of the file; ``level`` is a rate level, ``model`` is 16 hex digits."""

    name: str
    file_bytes: int
    level: float
    model: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page's bytes and the WebP quality of its pictures; 100 is lossless."""

    data: bytes
    quality: int


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _image(kind: str, alternative: str, webp: str) -> str:
    return f'<img class="{kind}" alt="{alternative}" decoding="sync" hidden src="data:image/webp;base64,{webp}">'


def _decibels(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _fill(slots: Mapping[str, str]) -> bytes:
    """The template with every slot filled, in one pass: what fills a slot is not searched for slots."""
    template = (_FOLDER / "page.html").read_text("utf-8")
    return _SLOT.sub(lambda slot: slots[slot[1]], template).encode()


def _code_slots() -> dict[str, str]:
    style, view, controls = ((_FOLDER / name).read_text("utf-8") for name in ("page.css", "view.js", "page.js"))
    script = view + controls
    # This style, this script and pictures inside the page are all that is allowed: no request can leave it.
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    return {"policy": f"{policy}; base-uri 'none'; form-action 'none'", "style": style, "script": script}


def _record(pictures: Sequence[tuple[float, RGB]], original: RGB | None) -> str:
    """The figures that the script shows, as JSON; an infinite PSNR is null."""
    base = pictures[-1][1]
    rows = [
        {
            "tau": tau,
            "base": _decibels(psnr(picture, base)),
            "original": None if original is None else _decibels(psnr(picture, original)),
            "changed": round(float(np.mean(change(picture, base) > _NOTICED)), 4),
        }
        for tau, picture in pictures
    ]
    height, width = base.shape[:2]
    record = {"width": width, "height": height, "hasOriginal": original is not None, "rows": rows}
    return json.dumps(record, allow_nan=False)


def build_page(
    facts: Facts, pictures: Sequence[tuple[float, RGB]], original: RGB | None, *, most_megabytes: float
) -> Page:
    """The page of ``pictures``: pairs of tau and (H, W, 3) uint8, tau ascending, the last one tau = 1.

    ``original`` has their shape. Maps show each pixel's change against tau = 1. The pictures take the best WebP
    quality at which the page keeps to ``most_megabytes`` (of 10^6 bytes).
    Raises LimitError when none does, or when the picture is larger than WebP holds.
    """
    base = pictures[-1][1]
    height, width = base.shape[:2]
    check_side(width, height)
    changes = [change(picture, base) for _, picture in pictures[:-1]]
    top = choose_top(changes)
    slots = _code_slots() | {
        "name": html.escape(facts.name),
        "size": f"{width} × {height}",
        "bytes": f"{facts.file_bytes:,}",
        "bpp": f"{8 * facts.file_bytes / (width * height):.3f}",
        "level": f"{facts.level:g}",
        "model": html.escape(facts.model),
        "top": str(top),
        "noticed": str(_NOTICED),
        "last": str(len(pictures) - 1),
        "record": _record(pictures, original),
        "maps": "\n".join(_image("map", "", webp_map(draw_map(each, top))) for each in changes),
    }
    kinds = [("decoded", f"Decoded with tau = {tau:g}") for tau, _ in pictures]
    shown = [picture for _, picture in pictures]
    if original is not None:
        kinds.append(("original", "The original"))
        shown.append(original)

    def assemble(quality: int, files: Sequence[str]) -> bytes:
        images = [_image(*kind, file) for kind, file in zip(kinds, files, strict=True)]
        named = "lossless" if quality == LOSSLESS else f"quality {quality}"
        return _fill(slots | {"pictures": "\n".join(images), "quality": named})

    quality, files = fit(shown, most_megabytes, beside=len(assemble(LOSSLESS, [""] * len(shown))) + len("quality 95"))
    return Page(assemble(quality, files), quality)
