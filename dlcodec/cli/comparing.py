"""The command ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcodec.cli.options import Device, Force, MaxPixels, Model, parse_crop
from dlcodec.console import say

if TYPE_CHECKING:
    from dlcodec.container import Container
    from dlcodec.picture import RGB


def compare(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="REFERENCE PICTURE...", help="Images or .dlc files, of one size; x.dlc@0.3 is decoded at tau 0.3."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.png", help="The PNG file to write.")],
    crop: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="What to show, in pixels.", show_default="where they differ most"),
    ] = None,
    zoom: Annotated[int, typer.Option(metavar="N", help="Enlargement of the crop, 1 to 16.")] = 2,
    model: Model = None,
    device: Device = "auto",
    force: Force = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Put the same crop of several pictures side by side, with figures against the first."""
    from dlcodec.cli.measures import find_measures
    from dlcodec.compare import run_compare
    from dlcodec.limits import DEFAULT_LIMITS

    limits = DEFAULT_LIMITS.allow(max_pixels, None)

    def decode(file: Container, tau: float) -> RGB:
        from dlcodec.colour import to_srgb
        from dlcodec.picture import Picture
        from dlcodec.pipeline import decode_images
        from dlcodec.sections import unpack_extras
        from dlcodec.selection import base_to_decode

        base = base_to_decode(model, file.header.family, file.header.model_digest)
        (pixels,) = decode_images(file, (tau,), device, limits, base=base)
        return to_srgb(Picture(pixels, unpack_extras(file, alpha=False)))

    part = None if crop is None else parse_crop(crop)
    shown = run_compare(pictures, output, decode, find_measures, crop=part, zoom=zoom, force=force, limits=limits)
    size = f"{shown.width} x {shown.height} pixels at {shown.left},{shown.top}"
    say(f"{output}: {len(pictures)} pictures, {size}")
