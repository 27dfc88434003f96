"""The command ``decode``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcodec.cli.batching import AsJson, Jobs, OutDir, Recursive, Resume, check_streams, report
from dlcodec.cli.options import (
    Device,
    DeviceName,
    Force,
    MaxMemory,
    MaxPixels,
    PrecisionName,
    ScaleName,
    count_steps,
    parse_crop,
    parse_taus,
    short,
)
from dlcodec.cli.starting import keeping_all
from dlcodec.console import complain, on_terminal, say, stage
from dlcodec.errors import UsageError

if TYPE_CHECKING:
    from dlcodec.arguments import Crop
    from dlcodec.batch.plan import Job
    from dlcodec.batch.run import Finished
    from dlcodec.container import Header
    from dlcodec.limits import Limits
    from dlcodec.picture import RGB, Extras, Picture


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture that was written or found complete; ``bytes`` of its file."""

    output: str
    bytes: int
    width: int
    height: int
    tau: float
    skipped: bool

    def describe(self) -> str:
        """One line for a person."""
        return f"{self.output}: {self.width} x {self.height} pixels, tau {short(self.tau)}"


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How one file is decoded; see ``pipeline.decode_images``."""

    steps: int | None
    seed: int
    precision: PrecisionName
    device: DeviceName
    limits: Limits
    crop: Crop | None
    counts_steps: bool


@dataclass(frozen=True, slots=True)
class _File:
    """A file that was read and found sound, and what is to become of it: one output a tau."""

    data: bytes
    header: Header
    extras: Extras
    taus: tuple[float, ...]
    outputs: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    picture: Picture
    tau: float
    output: Path


def _name_outputs(pattern: Path, taus: list[float]) -> list[Path]:
    outputs = [Path(str(pattern).replace("{tau}", short(tau))) for tau in taus]
    if len(set(outputs)) < len(outputs):
        raise UsageError("several taus need an output name with {tau} in it, such as out-{tau}.png, and no tau twice")
    return outputs


def _found(
    job: Job, size: tuple[int, int], taus: list[float], outputs: list[Path], limits: Limits
) -> tuple[Decoded, ...]:
    """What is told of outputs that are complete already, ``size`` their width and height; nothing unless all are."""
    from dlcodec.batch.resume import complete_decoding

    if not complete_decoding(job.source, outputs, size, limits):
        return ()
    pairs = zip(outputs, taus, strict=True)
    return tuple(Decoded(str(path), path.stat().st_size, *size, tau, True) for path, tau in pairs)


def decode_one(data: bytes, header: Header, taus: tuple[float, ...], options: DecodeOptions) -> Iterator[RGB]:
    """One picture a tau, (H, W, 3) uint8 sRGB, of the bytes of one .dlc file."""
    from dlcodec import checkpoint

    base = checkpoint.find(header.family, header.model_digest)
    fused = sum(value != 1 for value in taus)
    total = fused * (options.steps or checkpoint.find_fusion(base).config["steps"]) if fused else 0
    with keeping_all():
        from dlcodec.pipeline import decode_images

    return decode_images(
        data,
        taus,
        options.device.value,
        options.limits,
        steps=options.steps,
        seed=options.seed,
        precision=options.precision.value,
        after_step=count_steps(total) if options.counts_steps else None,
        crop=options.crop,
    )


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
        int | None, typer.Option(metavar="N", help="Steps of the fusion sampler, 1 to 50.", show_default="10")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the sampler's noise.")] = 0,
    quality: Annotated[
        int | None,
        typer.Option(metavar="N", help="1 to 100, of a lossy output.", show_default="JPEG 95, AVIF 90, WebP lossless"),
    ] = None,
    precision: Annotated[
        PrecisionName, typer.Option(help="Of the networks below tau 1; auto takes bf16 where the device has it.")
    ] = PrecisionName.auto,
    device: Device = DeviceName.auto,
    force: Force = False,
    crop: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="Decode this part alone, in pixels.", show_default="the whole picture"),
    ] = None,
    scale: Annotated[ScaleName, typer.Option(help="Write a smaller picture.")] = ScaleName.whole,
    resume: Resume = False,
    jobs: Jobs = 2,
    as_json: AsJson = False,
    max_pixels: MaxPixels = None,
    max_memory: MaxMemory = None,
) -> None:
    """Decompress .dlc files into images, between fidelity (tau 1) and realism (tau 0)."""
    from dlcodec import container, memory
    from dlcodec.arguments import check_sampling
    from dlcodec.batch.plan import plan
    from dlcodec.batch.run import Finished, run
    from dlcodec.files import make_folder
    from dlcodec.formats import choose_target
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.streams import read_input, refuse_output, write_output

    target = choose_target(Path("-.png" if output in (None, "-") else output or ""), quality)
    limits = DEFAULT_LIMITS.allow(max_pixels, max_memory)
    part = None if crop is None else parse_crop(crop)
    taus = None if tau is None else parse_taus(tau)
    check_sampling(steps, seed)
    check_streams(inputs, output, as_json=as_json, resume=resume)
    endings = [".png"] if taus is None or len(taus) == 1 else [f"-{short(value)}.png" for value in taus]
    if output is not None:
        _name_outputs(Path(output), taus or [0.0])
    elif len(set(endings)) < len(endings):
        raise UsageError(f"a tau is there twice in {tau}")
    with stage("plan"):
        planned = plan(
            inputs,
            frozenset({".dlc"}),
            lambda stem: [stem + ending for ending in endings],
            output=output,
            out_dir=out_dir,
            recursive=recursive,
            note=say,
        )
    counts = len(planned) == 1 and on_terminal()
    options = DecodeOptions(steps, seed, precision, device, limits, part, counts_steps=counts)

    def name_outputs(job: Job, values: list[float]) -> list[Path]:
        return _name_outputs(job.outputs[0], values) if out_dir is None else list(job.outputs)

    def read(job: Job) -> _File | Finished[Decoded]:
        if taus is not None and not resume:  # what cannot be written needs no reading
            for path in name_outputs(job, taus):
                refuse_output(path, force=force)
        data = read_input(job.source, limits.file_bytes)
        file = container.unpack(data, limits)
        header = file.header
        if part is not None:
            part.check(header.width, header.height)
        values = [header.default_tau] if taus is None else taus
        outputs = name_outputs(job, values)
        width, height = (header.width, header.height) if part is None else (part.width, part.height)
        size = -(-width // scale.factor), -(-height // scale.factor)
        if resume and (there := _found(job, size, values, outputs, limits)):
            return Finished(there)
        for path in outputs:
            refuse_output(path, force=force)
        fused = any(value != 1 for value in values)
        memory.work_memory(limits, header.width * header.height, memory.DECODE_FUSED if fused else memory.DECODE)
        from dlcodec.sections import unpack_extras

        extras = unpack_extras(file)
        if part is not None:
            extras = extras.cut(part.left, part.top, part.width, part.height)
        target.check(*size, grey=extras.grey, alpha=extras.alpha is not None)
        return _File(data, header, extras, tuple(values), tuple(outputs))

    def work(job: Job, file: _File) -> Iterator[_Made]:
        from dlcodec.picture import Picture

        pictures = decode_one(file.data, file.header, file.taus, options)
        for pixels, value, path in zip(pictures, file.taus, file.outputs, strict=True):
            yield _Made(Picture(pixels, file.extras).reduce(scale.factor), value, path)

    def write(job: Job, made: _Made) -> Decoded:
        if out_dir is not None:
            make_folder(made.output.parent)
        data = target.encode(made.picture, complain)
        write_output(made.output, data)
        height, width = made.picture.rgb.shape[:2]
        return Decoded(str(made.output), len(data), width, height, made.tau, False)

    outcomes = run(planned, read, work, write, overlap=min(jobs, len(planned)) - 1)
    report(outcomes, len(planned), as_json=as_json)
