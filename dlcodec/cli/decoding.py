"""The command ``decode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlcodec.cli.options import Device, DeviceName, Force, PrecisionName, count_steps, parse_taus, short
from dlcodec.console import complain, say
from dlcodec.errors import UsageError


def _name_outputs(pattern: Path, taus: list[float]) -> list[Path]:
    outputs = [Path(str(pattern).replace("{tau}", short(tau))) for tau in taus]
    if len(set(outputs)) < len(outputs):
        raise UsageError("several taus need an output name with {tau} in it, such as out-{tau}.png, and no tau twice")
    return outputs


def decode(
    source: Annotated[Path, typer.Argument(metavar="IN.dlc", help="The file to decompress.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The image to write: .png, .jpg, .webp, .tiff, .ppm, .pgm or .avif; {tau} stands for tau.",
        ),
    ],
    tau: Annotated[
        str | None,
        typer.Option(
            metavar="TAU[,TAU...]",
            help="0 (realism) to 1 (fidelity: the base codec bit for bit), or several.",
            show_default="the file's hint, else 0",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of the fusion sampler, 1 to 50.", show_default="10")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the sampler's noise.")] = 0,
    quality: Annotated[
        int | None,
        typer.Option(metavar="N", help="1 to 100, of a lossy output.", show_default="JPEG 95, AVIF 90, WebP lossless"),
    ] = None,
    precision: Annotated[
        PrecisionName, typer.Option(help="Of the fusion network; auto takes bf16 where the device has it.")
    ] = PrecisionName.auto,
    device: Device = DeviceName.auto,
    force: Force = False,
) -> None:
    """Decompress a .dlc file into images, between fidelity (tau 1) and realism (tau 0)."""
    from dlcodec import container
    from dlcodec.arguments import check_sampling
    from dlcodec.files import read_bounded, refuse_existing, write_atomically
    from dlcodec.formats import choose_target
    from dlcodec.limits import DEFAULT_LIMITS

    target = choose_target(output, quality)
    taus = None if tau is None else parse_taus(tau)
    check_sampling(steps, seed)
    if taus is not None:
        for path in _name_outputs(output, taus):
            refuse_existing(path, force=force)
    data = read_bounded(source, DEFAULT_LIMITS.file_bytes)
    file = container.unpack(data, DEFAULT_LIMITS)
    header = file.header
    if taus is None:
        taus = [header.default_tau]
    outputs = _name_outputs(output, taus)
    for path in outputs:
        refuse_existing(path, force=force)
    from dlcodec import checkpoint
    from dlcodec.picture import Picture
    from dlcodec.sections import unpack_extras

    extras = unpack_extras(file)
    target.check(header.width, header.height, grey=extras.grey, alpha=extras.alpha is not None)
    base = checkpoint.find(header.family, header.model_digest)
    fused = sum(value != 1 for value in taus)
    total = fused * (steps or checkpoint.find_fusion(base).config["steps"]) if fused else 0
    from dlcodec.pipeline import decode_images

    images = decode_images(
        data,
        taus,
        device.value,
        steps=steps,
        seed=seed,
        precision=precision.value,
        after_step=count_steps(total),
    )
    for path, value, pixels in zip(outputs, taus, images, strict=True):
        write_atomically(path, target.encode(Picture(pixels, extras), complain))
        say(f"{path}: {header.width} x {header.height} pixels, tau {short(value)}")
