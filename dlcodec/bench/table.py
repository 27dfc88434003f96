"""A report as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from dlcodec.bench.clock import Timing
from dlcodec.bench.measure import Report
from dlcodec.console import aligned, printable

_MIB = 2**20


def _milliseconds(timing: Timing) -> list[str]:
    return [f"{timing.seconds * 1e3:.1f}", f"{timing.processor_seconds * 1e3:.1f}"]


def _heading(report: Report) -> Iterator[str]:
    machine = report.machine
    sampler = "" if report.tau == 1 else f", steps {report.steps}"
    picture = f"{printable(report.picture)}, {report.width} x {report.height}"
    where = f"{picture}, {report.family}, level {report.level:g}"
    yield f"{where}, tau {report.tau:g}{sampler} in {report.number_type}"
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    yield f"{machine.name}, {machine.cores} cores, {machine.threads} threads; {versions}"
    rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in machine.rates.items())
    yield f"products of matrices, GFLOP/s: {rates}; medians of {report.repeats} runs"
    for network in report.networks:
        parts = ", ".join(f"{name} {count:,}" for name, count in network.parts.items())
        yield f"{network.role} {network.digest[:16]}: {network.parameters / 1e6:.2f} million parameters: {parts}"


def _stages(report: Report) -> list[list[str]]:
    rows = [["stage", "ms", "processor ms", "GFLOP", "type", "of the rate"]]
    for stage in report.stages:
        share = ["", "", ""]
        if stage.share is not None:
            share = [f"{stage.flops / 1e9:.2f}", stage.number_type or "", f"{stage.share:.0%}"]
        rows.append([stage.name, *_milliseconds(stage.timing), *share])
    return rows


def as_lines(report: Report) -> Iterator[str]:
    """The whole report for a person, in the same order every time."""
    yield from _heading(report)
    yield ""
    yield from aligned(_stages(report))
    yield ""
    wholes = [[each.name, *_milliseconds(each.timing), str(each.bytes)] for each in report.wholes]
    yield from aligned([["memory to memory", "ms", "processor ms", "bytes of the file"], *wholes])
    yield f"peak memory of this process: {report.peak_memory / _MIB:.0f} MiB"
    if report.commands:
        yield ""
        rows = [
            [f"dlcodec {each.name}", *_milliseconds(each.timing), f"{each.peak_memory / _MIB:.0f}"]
            for each in report.commands
        ]
        yield from aligned([["command, cold", "ms", "processor ms", "peak MiB until then"], *rows])
    if report.batch:
        batch = report.batch
        yield (
            f"one decode command for {batch.pictures} pictures: {batch.timing.seconds:.1f} s, "
            f"{batch.timing.seconds / batch.pictures * 1e3:.0f} ms each; as many cold commands take {batch.ratio:.1f} x"
        )
    if report.costs:
        yield ""
        rows = [["megapixels", "encode s", "decode s", "encode s/MP", "decode s/MP", "peak MiB until then"]]
        for cost in report.costs:
            million = cost.pixels / 1e6
            seconds = (cost.encode.seconds, cost.decode.seconds)
            figures = [f"{value:.2f}" for value in (*seconds, *(each / million for each in seconds))]
            rows.append([f"{million:.2f}", *figures, f"{cost.peak_memory / _MIB:.0f}"])
        yield from aligned(rows)
