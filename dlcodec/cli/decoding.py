"""The command ``decode``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcodec.arguments import Crop, Precision, check_sampling
from dlcodec.arguments import Device as DeviceName
from dlcodec.cli.batching import AsJson, Jobs, OutDir, Recursive, Resume, check_streams, report
from dlcodec.cli.options import (
    Device,
    Force,
    MaxMemory,
    MaxPixels,
    Model,
    ScaleName,
    count_steps,
    parse_crop,
    parse_taus,
    short,
)
from dlcodec.cli.starting import keeping_all
from dlcodec.console import complain, stage
from dlcodec.errors import InputError, UsageError

if TYPE_CHECKING:
    from dlcodec.batch.gather import Reason
    from dlcodec.batch.plan import Job
    from dlcodec.batch.run import Finished
    from dlcodec.container import Container
    from dlcodec.limits import Limits
    from dlcodec.picture import RGB, Extras, Picture


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture that was written or found complete; ``bytes`` of its file, ``tau`` None of a thumbnail."""

    output: str
    bytes: int
    width: int
    height: int
    tau: float | None
    skipped: bool

    def describe(self) -> str:
        """One line for a person."""
        what = "thumbnail" if self.tau is None else f"tau {short(self.tau)}"
        return f"{self.output}: {self.width} x {self.height} pixels, {what}"


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How one file is decoded; see ``pipeline.decode_images``."""

    model: str | None
    steps: int | None
    seed: int
    precision: Precision
    device: DeviceName
    limits: Limits
    crop: Crop | None
    counts_steps: bool


@dataclass(frozen=True, slots=True)
class _File:
    """A file that was read and found sound, and what is to become of it: one output a tau."""

    unpacked: Container
    extras: Extras
    taus: tuple[float, ...]
    outputs: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    picture: Picture
    tau: float | None
    output: Path


_Make = Callable[[], Iterator[_Made | Decoded]]


def _name_outputs(pattern: Path, taus: list[float]) -> list[Path]:
    outputs = [Path(str(pattern).replace("{tau}", short(tau))) for tau in taus]
    if len(set(outputs)) < len(outputs):
        raise UsageError("several taus need an output name with {tau} in it, such as out-{tau}.png, and no tau twice")
    return outputs


def _found(job: Job, size: tuple[int, int], todo: dict[Path, float], limits: Limits) -> tuple[Decoded, ...]:
    """What is told of the outputs that are complete; ``size`` their width and height, ``todo`` their taus."""
    from dlcodec.batch.resume import complete_decoding

    there = [path for path in todo if complete_decoding(job.source, path, size, limits)]
    return tuple(Decoded(str(path), path.stat().st_size, *size, todo[path], True) for path in there)


def decode_one(file: Container, taus: tuple[float, ...], options: DecodeOptions) -> Iterator[RGB]:
    """One picture a tau, (H, W, 3) uint8 sRGB, of one .dlc file."""
    from dlcodec import installed
    from dlcodec.selection import base_to_decode

    base = base_to_decode(options.model, file.header.family, file.header.model_digest)
    fused = sum(value != 1 for value in taus)
    total = fused * (options.steps or installed.find_fusion(base).config["steps"]) if fused else 0
    with keeping_all():
        from dlcodec.pipeline import decode_images

    return decode_images(
        file,
        taus,
        options.device,
        options.limits,
        steps=options.steps,
        seed=options.seed,
        precision=options.precision,
        after_step=count_steps(total) if options.counts_steps else lambda: None,
        crop=options.crop,
        base=base,
    )


def _decode_file(file: _File, options: DecodeOptions, factor: int) -> Iterator[_Made]:
    from dlcodec.picture import Picture

    pictures = decode_one(file.unpacked, file.taus, options)
    for pixels, tau, path in zip(pictures, file.taus, file.outputs, strict=True):
        yield _Made(Picture(pixels, file.extras).reduce(factor), tau, path)


def decode(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN.dlc",
            help=".dlc files, folders with -r, quoted patterns, @LIST with one path a line, or - for standard input.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The image to write for one input: .png, .jpg, .webp, .tiff, .ppm, .pgm or .avif; {tau} stands for "
            "tau; - is stdout, as PNG.",
        ),
    ] = None,
    out_dir: OutDir = None,
    recursive: Recursive = False,
    tau: Annotated[
        str | None,
        typer.Option(
            metavar="TAU[,TAU...]",
            help="0 (realism) to 1 (fidelity: the base codec bit for bit), or several.",
            show_default="the file's hint, else 0",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of the fusion sampler, 1 to 50.", show_default="the model's")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the sampler's noise.")] = 0,
    model: Model = None,
    quality: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Quality of a lossy output, 1 to 100.", show_default="JPEG 95, AVIF 90, WebP lossless"
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(help="Number type of fusion and synthesis; auto: bf16 where the device has it, fp32 at tau 1."),
    ] = "auto",
    device: Device = "auto",
    force: Force = False,
    crop: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="Decode this part alone, in pixels.", show_default="the whole picture"),
    ] = None,
    scale: Annotated[ScaleName, typer.Option(help="Write a smaller picture.")] = ScaleName.whole,
    thumbnail: Annotated[
        bool, typer.Option("--thumbnail", help="Write the small picture that encode --thumbnail put into the file.")
    ] = False,
    resume: Resume = False,
    jobs: Jobs = 2,
    as_json: AsJson = False,
    max_pixels: MaxPixels = None,
    max_memory: MaxMemory = None,
) -> None:
    """Decompress .dlc files into images, between fidelity (tau 1) and realism (tau 0)."""
    from dlcodec import memory
    from dlcodec.batch.plan import plan
    from dlcodec.batch.run import Finished, run
    from dlcodec.container import unpack
    from dlcodec.files import make_folder, refuse_input
    from dlcodec.formats import choose_writing
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.streams import STREAM, read_input, refuse_output, write_output

    writing = choose_writing(Path("-.png" if output in (None, "-") else output or ""), quality)
    limits = DEFAULT_LIMITS.allow(max_pixels, max_memory)
    part = None if crop is None else parse_crop(crop)
    if thumbnail and (tau is not None or part is not None or scale is not ScaleName.whole or resume):
        raise UsageError("--thumbnail takes the small picture as it is: without --tau, --crop, --scale and --resume")
    if thumbnail and "{tau}" in (output or ""):
        raise UsageError("a thumbnail has no tau to put into the name of its file")
    taus = None if tau is None else parse_taus(tau)
    check_sampling(steps, seed)
    check_streams(inputs, output, as_json=as_json, resume=resume)
    endings = [".png"] if taus is None or len(taus) == 1 else [f"-{short(value)}.png" for value in taus]
    if output is not None:
        _name_outputs(Path(output), taus or [0.0])
    elif len(set(endings)) < len(endings):
        raise UsageError(f"a tau is there twice in {tau}")
    left_out: dict[Path, Reason] = {}
    with stage("plan"):
        planned = plan(
            inputs,
            frozenset({".dlc"}),
            lambda stem: [stem + ending for ending in endings],
            output=output,
            out_dir=out_dir,
            recursive=recursive,
            leave=left_out.__setitem__,
        )
    options = DecodeOptions(model, steps, seed, precision, device, limits, part, counts_steps=len(planned) == 1)

    def name_outputs(job: Job, values: list[float]) -> list[Path]:
        return _name_outputs(job.outputs[0], values) if out_dir is None else list(job.outputs)

    def read(job: Job) -> _Make | Finished[Decoded]:
        if taus is not None and not resume:  # what cannot be written needs no reading
            for path in name_outputs(job, taus):
                refuse_output(path, force=force)
        file = unpack(read_input(job.source, limits.file_bytes), limits)
        header = file.header
        if part is not None:
            part.check(header.width, header.height)
        if thumbnail:
            made = read_small(job, file)
            return lambda: iter((made,))
        values = [header.default_tau] if taus is None else taus
        todo = dict(zip(name_outputs(job, values), values, strict=True))
        width, height = (header.width, header.height) if part is None else (part.width, part.height)
        size = -(-width // scale.factor), -(-height // scale.factor)
        there = _found(job, size, todo, limits) if resume else ()
        for found in there:
            del todo[Path(found.output)]
        if not todo:
            return Finished(there)
        for path in todo:
            if STREAM not in (path, job.source):
                refuse_input(path, job.source)  # which {tau} could name
            refuse_output(path, force=force)
        fused = any(value != 1 for value in todo.values())
        memory.work_memory(limits, header.width * header.height, memory.DECODE_FUSED if fused else memory.DECODE)
        from dlcodec.sections import unpack_extras

        extras = unpack_extras(file)
        if part is not None:
            extras = extras.cut(part.left, part.top, part.width, part.height)
        writing.check(*size, grey=extras.grey, alpha=extras.alpha is not None)
        rest = _File(file, extras, tuple(todo.values()), tuple(todo))
        return lambda: chain(there, _decode_file(rest, options, scale.factor))

    def read_small(job: Job, file: Container) -> _Made:
        from dlcodec.picture import Extras, Picture
        from dlcodec.thumbnail import read_thumbnail

        pixels = read_thumbnail(file)
        if pixels is None:
            raise InputError(f"{job.name} has no thumbnail; encode --thumbnail adds one")
        refuse_output(job.outputs[0], force=force)
        writing.check(pixels.shape[1], pixels.shape[0], grey=False, alpha=False)
        return _Made(Picture(pixels, Extras()), None, job.outputs[0])

    def work(job: Job, make: _Make) -> Iterator[_Made | Decoded]:
        return make()

    def write(job: Job, made: _Made | Decoded) -> Decoded:
        if isinstance(made, Decoded):
            return made
        if out_dir is not None:
            make_folder(made.output.parent)
        data = writing.encode(made.picture, complain)
        write_output(made.output, data, force=force)
        height, width = made.picture.rgb.shape[:2]
        return Decoded(str(made.output), len(data), width, height, made.tau, False)

    outcomes = run(planned, read, work, write, overlap=min(jobs, len(planned)) - 1)
    report(outcomes, len(planned), left_out, as_json=as_json)
