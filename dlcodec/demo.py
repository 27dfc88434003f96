"""The demonstration: one bundled photograph through the whole codec, with a picture to look at."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from dlcodec import image as images
from dlcodec.container import unpack
from dlcodec.errors import OutputError
from dlcodec.files import refuse_existing, write_atomically
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import Device, decode_image, encode_image

SAMPLE = Path(__file__).parent / "samples" / "coffee.png"
_BAR = 28


def _psnr(a: images.RGB, b: images.RGB) -> float:
    mse = float(np.square(a.astype(np.float64) - b).mean())
    return float("inf") if mse == 0 else 10 * np.log10(255**2 / mse)


def side_by_side(pictures: list[tuple[str, images.RGB]]) -> images.RGB:
    """The pictures next to each other under their labels; below, the middle of each, enlarged to its width."""
    height, width = pictures[0][1].shape[:2]
    crop = min(width, height) // 3
    top, left = height // 2 - crop // 2, width // 2 - crop // 2
    sheet = Image.new("RGB", ((width + 8) * len(pictures) - 8, _BAR + height + 8 + width), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (label, pixels) in enumerate(pictures):
        x = column * (width + 8)
        draw.text((x + 6, 4), label, fill="black", font=ImageFont.load_default(16))
        picture = Image.fromarray(pixels)
        sheet.paste(picture, (x, _BAR))
        detail = picture.crop((left, top, left + crop, top + crop)).resize((width, width), Image.Resampling.NEAREST)
        sheet.paste(detail, (x, _BAR + height + 8))
    return np.asarray(sheet)


def run_demo(folder: Path, level: float, device: Device, *, force: bool) -> None:
    """Write the demonstration's files into ``folder`` and print its table."""
    outputs = [folder / name for name in ("coffee.dlc", "coffee-tau1.png", "side-by-side.png")]
    for path in outputs:
        refuse_existing(path, force=force)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error
    original = images.load(SAMPLE, DEFAULT_LIMITS)
    times = []
    for _ in range(2):  # the first round loads the weights and warms up
        begun = time.perf_counter()
        data = encode_image(original, level, device)
        encoded = time.perf_counter()
        decoded = decode_image(data, 1.0, device)
        times.append((encoded - begun, time.perf_counter() - encoded))
    bpp = 8 * len(data) / (original.shape[0] * original.shape[1])
    psnr = _psnr(original, decoded)
    labels = f"original, {SAMPLE.stat().st_size} bytes (PNG)", f"tau = 1, {len(data)} bytes, {psnr:.2f} dB"
    write_atomically(outputs[0], data)
    write_atomically(outputs[1], images.png_bytes(decoded))
    write_atomically(outputs[2], images.png_bytes(side_by_side(list(zip(labels, (original, decoded), strict=True)))))
    table = Table(title=f"coffee.png, {original.shape[1]} x {original.shape[0]} pixels, level {level:g}")
    for column in ("tau", "bytes", "bpp", "PSNR (dB)", "encode (s)", "decode (s)"):
        table.add_column(column, justify="right")
    encode_seconds, decode_seconds = times[-1]
    table.add_row("1", str(len(data)), f"{bpp:.3f}", f"{psnr:.2f}", f"{encode_seconds:.2f}", f"{decode_seconds:.2f}")
    Console().print(table)
    print(f"model {unpack(data, DEFAULT_LIMITS).header.model_digest.hex()}", file=sys.stderr)
    for path in outputs:
        print(path)
