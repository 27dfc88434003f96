"""The command line. Only typer, rich, the console and the error tree are imported before a command runs."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dlcodec import __version__
from dlcodec.console import complain, say, show
from dlcodec.errors import DlcodecError, UsageError

app = typer.Typer(
    name="dlcodec",
    help="A neural image codec. Exit codes: 0 ok, 1 bug, 2 usage, 3 input, 4 corrupt, 5 unsupported, 6 over a limit, "
    "7 weights, 8 output, 9 latent mismatch, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class PrecisionName(StrEnum):
    """The number type of the fusion network."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class DeviceName(StrEnum):
    """Where the networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Device = Annotated[DeviceName, typer.Option(help="Where the networks run; auto takes CUDA when present.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite the output if it exists.")]


def _show_version(value: bool) -> None:
    if value:
        print(f"dlcodec {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass


@app.command()
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
    tau_hint: Annotated[
        float | None, typer.Option(metavar="TAU", help="What decode takes for tau unless it is told.")
    ] = None,
    device: Device = DeviceName.auto,
    force: Force = False,
) -> None:
    """Compress an image into a .dlc file."""
    from dlcodec import checkpoint
    from dlcodec.arguments import check_level, check_tau
    from dlcodec.files import refuse_existing, write_atomically
    from dlcodec.image import load
    from dlcodec.limits import DEFAULT_LIMITS

    if tau_hint is not None:
        check_tau(tau_hint)
    refuse_existing(output, force=force)
    found = checkpoint.find(checkpoint.DEFAULT_FAMILY)
    if level is not None:
        check_level(level, found.levels)
    rgb = load(source, DEFAULT_LIMITS)
    from dlcodec.pipeline import encode_image

    data = encode_image(rgb, level, device.value, tau_hint=tau_hint)
    write_atomically(output, data)
    height, width = rgb.shape[:2]
    say(f"{output}: {width} x {height} pixels, {len(data)} bytes, {8 * len(data) / (width * height):.3f} bpp")


def _parse_taus(text: str) -> list[float]:
    from dlcodec.arguments import check_tau

    try:
        taus = [abs(float(part)) if float(part) == 0 else float(part) for part in text.split(",")]  # -0 is 0
    except ValueError:
        raise UsageError(f"tau {text!r} is not a number, or several separated by commas") from None
    for tau in taus:
        check_tau(tau)
    return taus


def _short(tau: float) -> str:
    return repr(tau).removesuffix(".0")


def _name_outputs(pattern: Path, taus: list[float]) -> list[Path]:
    if pattern.suffix.lower() != ".png":
        raise UsageError(f"the output must be a .png file, not {pattern.name}")
    outputs = [Path(str(pattern).replace("{tau}", _short(tau))) for tau in taus]
    if len(set(outputs)) < len(outputs):
        raise UsageError("several taus need an output name with {tau} in it, such as out-{tau}.png, and no tau twice")
    return outputs


def _step_counter(total: int) -> Callable[[], None]:
    """Counts the sampler's steps on a terminal, once they have taken a second."""
    begun, done = time.monotonic(), 0

    def after_step() -> None:
        nonlocal done
        done += 1
        if sys.stderr and sys.stderr.isatty() and time.monotonic() - begun > 1:
            print(f"\rfusion: step {done} of {total}\r", end="", file=sys.stderr, flush=True)

    return after_step


@app.command()
def decode(
    source: Annotated[Path, typer.Argument(metavar="IN.dlc", help="The file to decompress.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.png", help="The PNG file to write; {tau} stands for tau.")
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
    precision: Annotated[
        PrecisionName, typer.Option(help="Of the fusion network; auto takes bf16 where the device has it.")
    ] = PrecisionName.auto,
    device: Device = DeviceName.auto,
    force: Force = False,
) -> None:
    """Decompress a .dlc file into PNG images, between fidelity (tau 1) and realism (tau 0)."""
    from dlcodec import container
    from dlcodec.arguments import check_sampling
    from dlcodec.files import read_bounded, refuse_existing, write_atomically
    from dlcodec.limits import DEFAULT_LIMITS

    taus = None if tau is None else _parse_taus(tau)
    check_sampling(steps, seed)
    if taus is not None:
        for path in _name_outputs(output, taus):
            refuse_existing(path, force=force)
    data = read_bounded(source, DEFAULT_LIMITS.file_bytes)
    header = container.unpack(data, DEFAULT_LIMITS).header
    if taus is None:
        taus = [header.default_tau]
    outputs = _name_outputs(output, taus)
    for path in outputs:
        refuse_existing(path, force=force)
    from dlcodec import checkpoint

    base = checkpoint.find(header.family, header.model_digest)
    fused = sum(value != 1 for value in taus)
    total = fused * (steps or checkpoint.find_fusion(base).config["steps"]) if fused else 0
    from dlcodec.image import png_bytes
    from dlcodec.pipeline import decode_images

    images = decode_images(
        data,
        taus,
        device.value,
        steps=steps,
        seed=seed,
        precision=precision.value,
        after_step=_step_counter(total),
    )
    for path, value, pixels in zip(outputs, taus, images, strict=True):
        write_atomically(path, png_bytes(pixels))
        say(f"{path}: {header.width} x {header.height} pixels, tau {_short(value)}")


def _line(key: str, value: Any) -> str:
    shown = "none" if value is None else f"{value:.6g}" if isinstance(value, float) else value
    return f"{key.replace('_', ' '):<15} {shown}"


@app.command()
def info(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The .dlc files to describe.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array with one object a file.")] = False,
) -> None:
    """Describe .dlc files without decoding them."""
    import json
    from dataclasses import asdict

    from dlcodec.files import read_bounded
    from dlcodec.info import describe
    from dlcodec.limits import DEFAULT_LIMITS

    described: list[dict[str, Any]] = []
    worst: DlcodecError | None = None
    for path in files:
        try:
            described.append({"file": str(path), **asdict(describe(read_bounded(path, DEFAULT_LIMITS.file_bytes)))})
        except DlcodecError as error:
            complain(f"{path}: {error}")
            worst = worst or error
    if as_json:
        show(json.dumps(described, indent=2))
    elif described:
        show("\n\n".join("\n".join(_line(*pair) for pair in entry.items()) for entry in described))
    if worst:
        raise typer.Exit(worst.exit_code)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the files go.")] = Path(
        "dlcodec-demo"
    ),
    level: Annotated[float, typer.Option("--level", "-q", metavar="LEVEL", help="Rate level, 0 to 7.")] = 3.0,
    device: Device = DeviceName.auto,
    force: Force = False,
) -> None:
    """Round-trip a bundled photograph: write the .dlc, decodes at tau 1, .5 and 0, and all of them side by side."""
    import os

    from dlcodec.demo import Distance, run_demo

    lpips: Distance | None = None
    weights = os.environ.get("DLCODEC_METRIC_WEIGHTS")
    if weights and (Path(weights) / "lpips_v0.1_alex.safetensors").is_file():
        from dlcodec.evaluation.metrics import load_measure

        lpips = load_measure("lpips-alex", "cpu", Path(weights))
    run_demo(folder, level, device.value, lpips, force=force)


@app.command(
    name="eval",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def evaluate(context: typer.Context) -> None:
    """Measure the codec and its peers on a folder of images; plots, comparisons and a report. See eval --help."""
    from dlcodec.evaluation.commands import app as evaluation

    evaluation(context.args, prog_name="dlcodec eval")


@app.command()
def explore(
    source: Annotated[Path, typer.Argument(metavar="IN.dlc", help="The file to look into.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.html", help="The page to write.")],
    original: Annotated[
        Path | None, typer.Option("--original", metavar="IMG", help="The picture that was encoded, to compare with.")
    ] = None,
    tau: Annotated[
        str | None,
        typer.Option(metavar="TAU[,TAU...]", help="Values of tau; 1 is always added.", show_default="0,0.1,...,1"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of the fusion sampler, 1 to 50.", show_default="10")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the sampler's noise.")] = 0,
    max_mb: Annotated[float, typer.Option(metavar="MB", help="The most that the page may take, in 10^6 bytes.")] = 24.0,
    device: Device = DeviceName.auto,
    force: Force = False,
) -> None:
    """Write a page that shows a .dlc file along tau: a slider, comparisons, a map of what was invented."""
    from dlcodec.explore.command import choose_taus, run_explore

    taus = choose_taus(None if tau is None else _parse_taus(tau))
    page = run_explore(
        source,
        output,
        original=original,
        taus=taus,
        steps=steps,
        seed=seed,
        most_megabytes=max_mb,
        device=device.value,
        force=force,
        count_steps=_step_counter,
    )
    kept = "lossless" if page.quality == 100 else f"WebP quality {page.quality}"
    say(f"{output}: {len(taus)} values of tau, {len(page.data) / 1e6:.1f} MB, pictures {kept}")


def main() -> None:
    """Run the command line; every DlcodecError becomes one sentence on stderr and its exit code."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug and sys.stderr:
            traceback.print_exc()
        elif isinstance(error, DlcodecError):
            complain(str(error))
        else:
            complain(f"internal error ({type(error).__name__}: {error}); --debug shows where")
        sys.exit(error.exit_code if isinstance(error, DlcodecError) else 1)
