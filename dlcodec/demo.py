"""The demonstration: one bundled photograph through the whole codec, from fidelity to realism."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from dlcodec import image as images
from dlcodec.arguments import Device
from dlcodec.checkpoint import Checkpoint
from dlcodec.console import say, show
from dlcodec.container import unpack
from dlcodec.files import make_folder, refuse_existing, write_atomically
from dlcodec.installed import find_fusion
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import RGB
from dlcodec.pipeline import decode_image, encode_image
from dlcodec.samples import COFFEE
from dlcodec.sheet import Column, draw_sheet

TAUS = (1.0, 0.5, 0.0)
_LEVEL = 3.0
_T = TypeVar("_T")
Distance = Callable[[RGB, RGB], float]


def _timed(function: Callable[[], _T]) -> tuple[_T, float]:
    """The second of two runs and its seconds: the first loads the weights and warms up."""
    function()
    begun = time.perf_counter()
    return function(), time.perf_counter() - begun


def side_by_side(pictures: list[tuple[str, RGB]]) -> RGB:
    """The pictures next to each other under their labels; below, the middle of each, enlarged to its width."""
    height, width = pictures[0][1].shape[:2]
    crop = min(width, height) // 3
    top, left = height // 2 - crop // 2, width // 2 - crop // 2
    columns = []
    for label, pixels in pictures:
        picture = Image.fromarray(pixels)
        detail = picture.crop((left, top, left + crop, top + crop)).resize((width, width), Image.Resampling.NEAREST)
        columns.append(Column(label, (picture, detail)))
    return np.asarray(draw_sheet(columns))


def run_demo(
    folder: Path, base: Checkpoint, level: float | None, device: Device, distance: Distance | None, *, force: bool
) -> None:
    """Write the demonstration's files into ``folder`` and print its table.

    ``level`` None takes the one of the photograph's usual rate, or the last where ``base`` has fewer.
    ``distance`` is LPIPS between two pictures, where its weights are at hand.
    """
    outputs = [
        folder / name for name in ("coffee.dlc", *(f"coffee-tau{tau:g}.png" for tau in TAUS), "side-by-side.png")
    ]
    for path in outputs:
        refuse_existing(path, force=force)
    make_folder(folder)
    find_fusion(base)
    if level is None:
        level = min(_LEVEL, base.levels - 1)
    original = images.load(COFFEE, DEFAULT_LIMITS)
    data, encode_seconds = _timed(lambda: encode_image(original, level, device, base=base))
    bpp = 8 * len(data) / (original.shape[0] * original.shape[1])
    table = Table(title=f"coffee.png, {original.shape[1]} x {original.shape[0]} pixels, level {level:g}")
    columns = ["tau", "bytes", "bpp", "PSNR (dB)", *(["LPIPS"] if distance else []), "encode (s)", "decode (s)"]
    for column in columns:
        table.add_column(column, justify="right")
    pictures = [(f"original, {COFFEE.stat().st_size} bytes (PNG)", original)]
    for tau in TAUS:
        decoded, decode_seconds = _timed(partial(decode_image, data, tau, device, base=base))
        psnr = images.psnr(original, decoded)
        pictures.append((f"tau = {tau:g}, {len(data)} bytes, {psnr:.2f} dB", decoded))
        figures = [f"{tau:g}", str(len(data)), f"{bpp:.3f}", f"{psnr:.2f}"]
        figures += [f"{distance(original, decoded):.4f}"] if distance else []
        table.add_row(*figures, f"{encode_seconds:.2f}", f"{decode_seconds:.2f}")
    written = [
        data,
        *(images.png_bytes(pixels) for _, pixels in pictures[1:]),
        images.png_bytes(side_by_side(pictures)),
    ]
    for path, contents in zip(outputs, written, strict=True):
        write_atomically(path, contents, force=force)
    Console().print(table)
    say(f"model {unpack(data, DEFAULT_LIMITS).header.model_digest.hex()}")
    for path in outputs:
        show(str(path))
