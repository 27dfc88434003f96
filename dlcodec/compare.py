"""Pictures beside their reference: the same crop of each, with the figures of the whole."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlcodec.arguments import Crop, check_tau
from dlcodec.container import MAGIC, Container, unpack
from dlcodec.errors import InputError, UsageError
from dlcodec.files import read_bounded, readable, refuse_existing, refuse_input, write_atomically
from dlcodec.image import png_bytes, psnr, read_opaque
from dlcodec.limits import DEFAULT_LIMITS, Limits
from dlcodec.picture import RGB
from dlcodec.sheet import Column, draw_sheet, enlarge
from dlcodec.windows import SIDE, most_different

MOST_ZOOM = 16
_AT_TAU = re.compile(r"(?P<path>.+)@(?P<tau>[^@/\\]+)", re.DOTALL)
Decode = Callable[[Container, float], RGB]
"""A .dlc file and a tau to (H, W, 3) uint8."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a picture against the reference; ``template`` formats it, as ``{:.2f} dB``."""

    label: str
    template: str
    least_side: int
    function: Callable[[RGB, RGB], float]


PSNR = Measure("PSNR", "{:.2f} dB", 1, psnr)


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to compare: the pixels of an image file, or an unpacked .dlc file and a ``tau`` for it."""

    path: Path
    name: str
    file_bytes: int
    size: tuple[int, int]
    contents: RGB | Container
    tau: float

    def picture(self, decode: Decode) -> RGB:
        """The (H, W, 3) uint8 pixels."""
        held = self.contents
        return decode(held, self.tau) if isinstance(held, Container) else held


def read_source(name: str, limits: Limits = DEFAULT_LIMITS) -> Source:
    """An image file, a .dlc file, or a .dlc file and its tau, as ``x.dlc@0.3``.

    Raises InputError, LimitError, CorruptFileError, UnsupportedFileError, or UsageError for a wrong tau.
    """
    path, tau = Path(name), None
    if not os.path.exists(path) and (match := _AT_TAU.fullmatch(name)) and os.path.exists(match["path"]):
        path = Path(match["path"])
        try:
            tau = float(match["tau"])
        except ValueError:
            raise UsageError(f"tau {match['tau']!r} in {name} is not a number") from None
        check_tau(tau)
        tau = abs(tau)  # -0.0 is 0
    data = read_bounded(path, limits.file_bytes)
    if data[: len(MAGIC)] == MAGIC or path.suffix.lower() == ".dlc":
        file = unpack(data, limits)
        header = file.header
        tau = header.default_tau if tau is None else tau
        label = f"{readable(path.name)}, tau {tau:.3g}"
        return Source(path, label, len(data), (header.width, header.height), file, tau)
    if tau is not None:
        raise UsageError(f"{path} is not a .dlc file: it has no tau")
    pixels = read_opaque(data, str(path), limits)
    height, width = pixels.shape[:2]
    return Source(path, readable(path.name), len(data), (width, height), pixels, 1.0)


def _check_sizes(sources: Sequence[Source]) -> None:
    width, height = sources[0].size
    for source in sources[1:]:
        if source.size != (width, height):
            raise InputError(
                f"{source.name} is {source.size[0]} x {source.size[1]} pixels, but {sources[0].name} is "
                f"{width} x {height}: only pictures of one size can be compared"
            )


def _label(source: Source, pixels: RGB, reference: RGB | None, measures: Sequence[Measure]) -> str:
    """``reference`` is None for the reference itself."""
    bpp = 8 * source.file_bytes / (source.size[0] * source.size[1])
    lines = [source.name, f"{source.file_bytes} bytes, {bpp:.3f} bpp"]
    if reference is None:
        return "\n".join([*lines, "reference"])
    fitting = [each for each in measures if min(source.size) >= each.least_side]
    lines += [f"{each.label} {each.template.format(each.function(reference, pixels))}" for each in fitting]
    return "\n".join(lines)


def run_compare(
    names: Sequence[str],
    output: Path,
    decode: Decode,
    load_measures: Callable[[], Sequence[Measure]],
    *,
    crop: Crop | None,
    zoom: int,
    force: bool,
    limits: Limits = DEFAULT_LIMITS,
) -> Crop:
    """Write the sheet of two or more pictures, the first the reference, to ``output``; the crop that it shows.

    Without ``crop`` it is the window where the pictures differ most from the reference. ``load_measures`` and
    ``decode`` are called once everything that can be refused without them has been. Raises DlcodecError.
    """
    if output.suffix.lower() != ".png":
        raise UsageError(f"the output must be a .png file, not {output.name}")
    if len(names) < 2:
        raise UsageError("name at least two pictures: the reference, and what is compared with it")
    if not 1 <= zoom <= MOST_ZOOM:
        raise UsageError(f"zoom {zoom} is outside 1 to {MOST_ZOOM}")
    refuse_existing(output, force=force)
    sources = [read_source(name, limits) for name in names]
    for source in sources:
        refuse_input(output, source.path)
    _check_sizes(sources)
    shown = [min(SIDE, side) for side in sources[0].size]
    if crop is not None:
        crop.check(*sources[0].size)
        shown = [crop.width, crop.height]
    larger = limits if limits.pixels > DEFAULT_LIMITS.pixels else DEFAULT_LIMITS
    larger.check_size(len(sources) * shown[0] * zoom, shown[1] * zoom)
    pictures = [source.picture(decode) for source in sources]
    if crop is None:
        rows, columns = most_different(pictures[0], pictures[1:])
        crop = Crop(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    window = slice(crop.top, crop.top + crop.height), slice(crop.left, crop.left + crop.width)
    measures = load_measures()
    labels = [
        _label(source, pixels, pictures[0] if index else None, measures)
        for index, (source, pixels) in enumerate(zip(sources, pictures, strict=True))
    ]
    sheet = draw_sheet(
        [Column(label, (enlarge(pixels[window], zoom),)) for label, pixels in zip(labels, pictures, strict=True)],
        f"{crop.width} x {crop.height} pixels at {crop.left},{crop.top}"
        f"{f', enlarged {zoom} times' if zoom > 1 else ''}. "
        f"Figures are over all {sources[0].size[0]} x {sources[0].size[1]} pixels.",
    )
    write_atomically(output, png_bytes(np.asarray(sheet)), force=force)
    return crop
