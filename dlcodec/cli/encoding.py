"""The command ``encode``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcodec.arguments import Effort, Precision, check_level, check_tau
from dlcodec.cli.batching import AsJson, Jobs, OutDir, Recursive, Resume, check_streams, named, report
from dlcodec.cli.options import Device, Force, MaxMemory, MaxPixels, Model, count_steps
from dlcodec.cli.starting import keeping_all
from dlcodec.console import complain, stage

if TYPE_CHECKING:
    from dlcodec.batch.gather import Reason
    from dlcodec.batch.plan import Job
    from dlcodec.batch.run import Finished
    from dlcodec.container import Header
    from dlcodec.picture import Picture


@dataclass(frozen=True, slots=True)
class Encoded:
    """A .dlc file that was written or found complete; ``bytes`` and ``bpp``, bits a pixel, of the whole file.

    ``warning`` says why it misses its target, if it does.
    """

    output: str
    bytes: int
    width: int
    height: int
    bpp: float
    level: float
    warning: str | None
    skipped: bool

    def describe(self) -> str:
        """One line for a person."""
        size = f"{self.bytes} bytes, {self.bpp:.3f} bpp"
        return f"{self.output}: {self.width} x {self.height} pixels, {size}, level {self.level:.6g}"


def _encoded(output: Path, size: int, header: Header, warning: str | None, *, skipped: bool) -> Encoded:
    width, height = header.width, header.height
    bpp = round(8 * size / (width * height), 6)
    return Encoded(str(output), size, width, height, bpp, header.rate_level, warning, skipped)


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
    model: Model = None,
    target_bpp: Annotated[
        float | None, typer.Option(metavar="BPP", help="Bits per pixel of the file, at most; instead of a level.")
    ] = None,
    target_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Size of the file, at most, such as 40000, 40KB or 1.5MiB; instead of a level."
        ),
    ] = None,
    target_psnr: Annotated[
        float | None, typer.Option(metavar="DB", help="PSNR at tau 1, in dB, at least; instead of a level.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where a target is out of reach, instead of coming close.")
    ] = False,
    tau_hint: Annotated[
        float | None, typer.Option(metavar="TAU", help="The tau that decode takes unless it is told another, 0 to 1.")
    ] = None,
    strip: Annotated[
        bool, typer.Option("--strip", help="Leave EXIF, XMP and the colour profile out; the pixels become sRGB.")
    ] = False,
    thumbnail: Annotated[
        int | None, typer.Option(metavar="SIDE", help="Add a small picture with this longer side, 16 to 1024 pixels.")
    ] = None,
    effort: Annotated[
        Effort,
        typer.Option(help="low halves the time of encode, high takes ten times as long, for more PSNR per byte."),
    ] = "medium",
    precision: Annotated[
        Precision, typer.Option(help="Number type of analysis and this search; auto: bf16 where the device has it.")
    ] = "auto",
    device: Device = "auto",
    force: Force = False,
    resume: Resume = False,
    jobs: Jobs = 2,
    as_json: AsJson = False,
    max_pixels: MaxPixels = None,
    max_memory: MaxMemory = None,
) -> None:
    """Compress images into .dlc files."""
    from dlcodec import memory
    from dlcodec.batch.plan import plan
    from dlcodec.batch.resume import Wanted, complete_encoding
    from dlcodec.batch.run import Finished, run
    from dlcodec.container import unpack
    from dlcodec.files import make_folder
    from dlcodec.formats import READ_SUFFIXES
    from dlcodec.image import read_picture
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.selection import base_to_encode
    from dlcodec.streams import read_input, refuse_output, write_output
    from dlcodec.targets import choose_target, parse_size

    limits = DEFAULT_LIMITS.allow(max_pixels, max_memory)
    size = None if target_size is None else parse_size(target_size)
    target = choose_target(level, target_bpp, size, target_psnr, strict=strict)
    check_streams(inputs, output, as_json=as_json, resume=resume)
    if resume and target:
        target.check_resumable()
    if tau_hint is not None:
        check_tau(tau_hint)
    if thumbnail is not None:
        from dlcodec.thumbnail import check_side

        check_side(thumbnail)
    left_out: dict[Path, Reason] = {}
    with stage("plan"):
        planned = plan(
            inputs,
            READ_SUFFIXES,
            lambda stem: [f"{stem}.dlc"],
            output=output,
            out_dir=out_dir,
            recursive=recursive,
            leave=left_out.__setitem__,
        )
    found = base_to_encode(model)
    if level is not None:
        check_level(level, found.levels)
    default_level = found.config["default_level"]
    wanted_level = None if target else default_level if level is None else level
    wanted = Wanted(wanted_level, tau_hint, found.short_digest, strip, thumbnail)

    def warn_of(job: Job) -> Callable[[str], None]:
        return lambda text: complain(text if len(planned) == 1 else named(job.name, text))

    def read(job: Job) -> Picture | Finished[Encoded]:
        goal = job.outputs[0]
        if resume and (there := complete_encoding(job.source, goal, wanted, limits)):
            size = goal.stat().st_size
            above = target is not None and size > target.most_bytes(there.width * there.height)
            if not above or (there.level == 0 and not strict):  # at level 0, the same file would be made again
                missed = f"the target {target} is out of reach: level 0, the smallest, gives {size} bytes"
                if above:
                    warn_of(job)(f"warning: {missed}")
                return Finished((_encoded(goal, size, there, missed if above else None, skipped=True),))
        refuse_output(goal, force=force)
        data = read_input(job.source, limits.file_bytes)
        held = memory.encode_bytes(effort)
        return read_picture(data, job.name, limits, strip=strip, warn=warn_of(job), per_pixel=held)

    def work(job: Job, picture: Picture) -> Iterator[tuple[bytes, str | None]]:
        with keeping_all():
            from dlcodec.codecs.refinement import STEPS
            from dlcodec.targeting import encode_picture
        data, missed = encode_picture(
            picture,
            level,
            target,
            device,
            limits,
            tau_hint=tau_hint,
            strict=strict,
            thumbnail=thumbnail,
            effort=effort,
            precision=precision,
            after_step=count_steps(None if target else STEPS, "refinement") if len(planned) == 1 else lambda: None,
            base=found,
        )
        if missed:
            warn_of(job)(f"warning: {missed}")
        yield data, missed

    def write(job: Job, made: tuple[bytes, str | None]) -> Encoded:
        data, missed = made
        goal = job.outputs[0]
        if out_dir is not None:
            make_folder(goal.parent)
        write_output(goal, data, force=force)
        return _encoded(goal, len(data), unpack(data, limits).header, missed, skipped=False)

    outcomes = run(planned, read, work, write, overlap=min(jobs, len(planned)) - 1)
    report(outcomes, len(planned), left_out, as_json=as_json)
