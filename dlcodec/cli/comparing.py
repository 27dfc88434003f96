"""The command ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcodec.cli.options import Device, DeviceName, Force
from dlcodec.console import say

if TYPE_CHECKING:
    from dlcodec.image import RGB


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
    device: Device = DeviceName.auto,
    force: Force = False,
) -> None:
    """Put the same crop of several pictures side by side, with figures against the first."""
    from dlcodec.cli.measures import find_measures
    from dlcodec.compare import parse_crop, run_compare

    def decode(data: bytes, tau: float) -> RGB:
        from dlcodec.pipeline import decode_image

        return decode_image(data, tau, device.value)

    window = None if crop is None else parse_crop(crop)
    rows, columns = run_compare(pictures, output, decode, find_measures, crop=window, zoom=zoom, force=force)
    width, height = columns.stop - columns.start, rows.stop - rows.start
    say(f"{output}: {len(pictures)} pictures, {width} x {height} pixels at {columns.start},{rows.start}")
