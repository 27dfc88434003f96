"""The command ``encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlcodec.cli.options import Device, DeviceName, Force, MaxMemory, MaxPixels
from dlcodec.console import complain, say


def encode(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Image: PNG, JPEG, WebP, AVIF, TIFF, BMP, PPM, GIF, JP2.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.dlc", help="The file to write.")],
    level: Annotated[
        float | None,
        typer.Option(
            "--level",
            "-q",
            metavar="LEVEL",
            help="Rate level, real: 0 (smallest) to 7 (best), in steps of 1/256.",
            show_default="5",
        ),
    ] = None,
    target_bpp: Annotated[
        float | None, typer.Option(metavar="BPP", help="Bits per pixel of the file, at most; instead of a level.")
    ] = None,
    target_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Size of the file, at most: bytes, or a number with kB, KiB, MB or MiB."),
    ] = None,
    target_psnr: Annotated[
        float | None, typer.Option(metavar="DB", help="PSNR of the picture decoded at tau 1, at least.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where a target is out of reach, instead of coming close.")
    ] = False,
    tau_hint: Annotated[
        float | None, typer.Option(metavar="TAU", help="What decode takes for tau unless it is told.")
    ] = None,
    strip: Annotated[
        bool, typer.Option("--strip", help="Leave EXIF, XMP and the colour profile out; the pixels become sRGB.")
    ] = False,
    device: Device = DeviceName.auto,
    force: Force = False,
    max_pixels: MaxPixels = None,
    max_memory: MaxMemory = None,
) -> None:
    """Compress an image into a .dlc file."""
    from dlcodec import checkpoint, memory
    from dlcodec.arguments import check_level, check_tau
    from dlcodec.files import refuse_existing, write_atomically
    from dlcodec.image import load_picture
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.sections import pack_extras
    from dlcodec.targets import choose_target, parse_size

    limits = DEFAULT_LIMITS.allow(max_pixels, max_memory)
    size = None if target_size is None else parse_size(target_size)
    target = choose_target(level, target_bpp, size, target_psnr, strict=strict)
    if tau_hint is not None:
        check_tau(tau_hint)
    refuse_existing(output, force=force)
    found = checkpoint.find(checkpoint.DEFAULT_FAMILY)
    if level is not None:
        check_level(level, found.levels)
    picture = load_picture(source, limits, strip=strip, warn=complain)
    height, width = picture.rgb.shape[:2]
    memory.work_memory(limits, width * height, memory.ENCODE)
    sections = pack_extras(picture.extras)
    warning, aimed = None, ""
    if target is None:
        from dlcodec.pipeline import encode_image

        data = encode_image(picture.rgb, level, device.value, limits, tau_hint=tau_hint, sections=sections)
    else:
        from dlcodec.targeting import encode_to_target

        encoded = encode_to_target(
            picture.rgb, target, device.value, limits, tau_hint=tau_hint, strict=strict, sections=sections
        )
        data, warning, aimed = encoded.data, encoded.warning, f", level {encoded.level:.6g}"
    write_atomically(output, data)
    if warning:
        complain(f"warning: {warning}")
    say(f"{output}: {width} x {height} pixels, {len(data)} bytes, {8 * len(data) / (width * height):.3f} bpp{aimed}")
