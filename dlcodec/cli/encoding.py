"""The command ``encode``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcodec.cli.batching import AsJson, Jobs, OutDir, Recursive, Resume, check_streams, report
from dlcodec.cli.options import Device, DeviceName, Force
from dlcodec.console import say, stage

if TYPE_CHECKING:
    from dlcodec.batch.plan import Job
    from dlcodec.batch.run import Finished
    from dlcodec.image import RGB

SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".mpo", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx"),
    )
)
"""Of the images that are taken from folders."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A .dlc file that was written or found complete; ``bytes`` and ``bpp``, bits a pixel, of the whole file."""

    output: str
    bytes: int
    width: int
    height: int
    bpp: float
    skipped: bool

    def describe(self) -> str:
        """One line for a person."""
        return f"{self.output}: {self.width} x {self.height} pixels, {self.bytes} bytes, {self.bpp:.3f} bpp"


def _encoded(output: Path, size: int, width: int, height: int, *, skipped: bool = False) -> Encoded:
    return Encoded(str(output), size, width, height, round(8 * size / (width * height), 6), skipped)


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How one picture is encoded; see ``pipeline.encode_image``."""

    level: float | None
    tau_hint: float | None
    device: DeviceName


def encode_one(rgb: RGB, options: EncodeOptions) -> bytes:
    """The bytes of a .dlc file for one picture, (H, W, 3) uint8 sRGB."""
    from dlcodec.pipeline import encode_image

    return encode_image(rgb, options.level, options.device.value, tau_hint=options.tau_hint)


def encode(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN",
            help="Images (PNG, JPEG, WebP, AVIF, TIFF, BMP, PPM, GIF, JP2), folders with -r, quoted patterns, "
            "@LIST with one path a line, or - for standard input.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT.dlc", help="The file to write for one input; - is stdout."),
    ] = None,
    out_dir: OutDir = None,
    recursive: Recursive = False,
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
    tau_hint: Annotated[
        float | None, typer.Option(metavar="TAU", help="What decode takes for tau unless it is told.")
    ] = None,
    device: Device = DeviceName.auto,
    force: Force = False,
    resume: Resume = False,
    jobs: Jobs = 2,
    as_json: AsJson = False,
) -> None:
    """Compress images into .dlc files."""
    from dlcodec import checkpoint
    from dlcodec.arguments import check_level, check_tau
    from dlcodec.batch.plan import plan
    from dlcodec.batch.resume import Wanted, complete_encoding
    from dlcodec.batch.run import Finished, run
    from dlcodec.files import make_folder
    from dlcodec.image import parse
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.streams import read_input, refuse_output, write_output

    check_streams(inputs, output, as_json=as_json, resume=resume)
    if tau_hint is not None:
        check_tau(tau_hint)
    with stage("plan"):
        planned = plan(
            inputs,
            SUFFIXES,
            lambda stem: [f"{stem}.dlc"],
            output=output,
            out_dir=out_dir,
            recursive=recursive,
            note=say,
        )
    found = checkpoint.find(checkpoint.DEFAULT_FAMILY)
    if level is not None:
        check_level(level, found.levels)
    options = EncodeOptions(level, tau_hint, device)
    default_level = found.config["default_level"]
    wanted = Wanted(default_level if level is None else level, tau_hint, found.short_digest)

    def read(job: Job) -> RGB | Finished[Encoded]:
        target = job.outputs[0]
        if resume and (there := complete_encoding(job.source, target, wanted, DEFAULT_LIMITS)):
            return Finished((_encoded(target, *there, skipped=True),))
        refuse_output(target, force=force)
        return parse(read_input(job.source, DEFAULT_LIMITS.file_bytes), job.name, DEFAULT_LIMITS)

    def work(job: Job, rgb: RGB) -> Iterator[tuple[bytes, int, int]]:
        height, width = rgb.shape[:2]
        yield encode_one(rgb, options), width, height

    def write(job: Job, made: tuple[bytes, int, int]) -> Encoded:
        data, width, height = made
        target = job.outputs[0]
        if out_dir is not None:
            make_folder(target.parent)
        write_output(target, data)
        return _encoded(target, len(data), width, height)

    outcomes = run(planned, read, work, write, overlap=min(jobs, len(planned)) - 1)
    report(outcomes, len(planned), as_json=as_json)
