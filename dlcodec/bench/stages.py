"""The parts of one encode and one decode, timed and counted as they run in the pipeline."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dlcodec.bench.clock import Meter, Timing, count_parts, time_parts
from dlcodec.bench.subject import Subject
from dlcodec.console import complain
from dlcodec.container import unpack
from dlcodec.files import read_bounded, write_atomically
from dlcodec.formats import choose_writing
from dlcodec.image import load, png_bytes
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import Extras, Picture
from dlcodec.pipeline import decode_images, encode_image

_FIRST, _LATER = "fusion, up to the first step", "fusion, later steps"


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the chain: ``flops`` it executes (0 where it is no network) and the number type they are done in.

    ``share`` is its operations a second over those that the machine reaches when it multiplies matrices.
    """

    name: str
    timing: Timing
    flops: int
    number_type: str | None
    share: float | None


def _encode(subject: Subject, folder: Path, meter: Meter) -> None:
    rgb = load(folder / "in.png", DEFAULT_LIMITS)
    meter.lap("read")
    data = encode_image(
        rgb, subject.level, subject.device, precision=subject.precision, base=subject.found, lap=meter.lap
    )
    write_atomically(folder / "out.dlc", data, force=True)
    meter.lap("write")


def _decode(subject: Subject, folder: Path, meter: Meter) -> None:
    file = unpack(read_bounded(folder / "in.dlc", DEFAULT_LIMITS.file_bytes), DEFAULT_LIMITS)
    meter.lap("read")
    done = 0

    def after_step() -> None:
        nonlocal done
        meter.lap(_LATER if done else _FIRST)
        done += 1

    pictures = decode_images(
        file,
        (subject.tau,),
        subject.device,
        steps=subject.steps,
        precision=subject.precision,
        base=subject.found,
        after_step=after_step,
        lap=meter.lap,
    )
    picture = Picture(next(pictures), Extras())
    write_atomically(folder / "out.png", choose_writing(Path("out.png"), None).encode(picture, complain), force=True)
    meter.lap("write")


def _split(first: float, later: float, rest: float, steps: int) -> tuple[float, float]:
    """What fusion spends once and on each step, from its two laps and what follows them."""
    step = later / (steps - 1)
    return max(0.0, first - step) + rest, step


def _split_fusion(
    timings: Mapping[str, Timing], flops: Mapping[str, int], measured: int, steps: int
) -> tuple[dict[str, Timing], dict[str, int]]:
    """The laps of a fusion of ``measured`` steps turned into its condition branch, one step, and one of ``steps``."""
    timings, flops = dict(timings), dict(flops)
    laps = (_FIRST, _LATER, "fusion")
    a, b, c = (timings[name] for name in laps)
    elapsed = _split(a.seconds, b.seconds, c.seconds, measured)
    processor = _split(a.processor_seconds, b.processor_seconds, c.processor_seconds, measured)
    first, later, rest = (flops[name] for name in laps)
    counts = tuple(map(round, _split(first, later, rest, measured)))
    names = {_FIRST: "fusion, condition branch", _LATER: "fusion, a step", "fusion": "fusion, all steps"}
    pairs = [(once, each, once + steps * each) for once, each in (elapsed, processor)]
    values = [Timing(*pair) for pair in zip(*pairs, strict=True)]
    numbers = [*counts, counts[0] + steps * counts[1]]
    new_timings = dict(zip(names.values(), values, strict=True))
    new_flops = dict(zip(names.values(), numbers, strict=True))
    ordered = {names.get(name, name): new_timings.get(names.get(name, name), timings[name]) for name in timings}
    return ordered, {**flops, **new_flops}


def _number_type(part: str, subject: Subject) -> str:
    if part in ("analysis", "correction"):
        return subject.encoding_type()
    if part.startswith(("fusion", "synthesis")):
        return subject.number_type()
    return "float64" if part == "exact path" else "float32"


def time_stages(subject: Subject, rates: Mapping[str, float], repeats: int) -> tuple[Stage, ...]:
    """Every stage of encode and of decode, ``repeats`` runs of each; below tau = 1 the sampler takes 2 steps at least.

    ``rates`` are the machine's, by number type. Raises what encoding and decoding raise.
    """
    steps = subject.steps
    if subject.tau != 1:
        subject = replace(subject, steps=max(2, steps))
    runs: dict[str, Callable[[Subject, Path, Meter], None]] = {"encode": _encode, "decode": _decode}
    stages = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_atomically(folder / "in.png", png_bytes(subject.rgb), force=True)
        write_atomically(folder / "in.dlc", subject.encode(), force=True)
        for direction, run in runs.items():

            def measured(meter: Meter, run: Callable[[Subject, Path, Meter], None] = run) -> None:
                run(subject, folder, meter)

            timings, flops = time_parts(measured, repeats), count_parts(measured)
            if direction == "decode" and subject.tau != 1:
                timings, flops = _split_fusion(timings, flops, subject.steps, steps)
            for part, timing in timings.items():
                kind = _number_type(part, subject) if flops[part] else None
                share = flops[part] / timing.seconds / rates[kind] if kind else None
                stages.append(Stage(f"{direction}: {part}", timing, flops[part], kind, share))
    return tuple(stages)
