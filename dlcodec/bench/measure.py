"""All figures of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dlcodec import installed
from dlcodec.bench.children import Batch, Command, time_batch, time_commands
from dlcodec.bench.clock import Timing, time_in_turns, time_run
from dlcodec.bench.machine import Machine, describe_machine, peak_memory
from dlcodec.bench.peer_process import PeerProcess
from dlcodec.bench.stages import Stage, time_stages
from dlcodec.bench.subject import Subject
from dlcodec.bench.sweep import Cost, sweep
from dlcodec.models import describe


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is measured beside the stages; ``batch`` in pictures and ``sweep`` in seconds, 0 for neither."""

    repeats: int
    peers: tuple[str, ...]
    cold: bool
    batch: int
    sweep: float


@dataclass(frozen=True, slots=True)
class Whole:
    """One function from memory to memory, and the bytes of the coded picture."""

    name: str
    timing: Timing
    bytes: int


@dataclass(frozen=True, slots=True)
class Network:
    """A checkpoint in use: its digest and the number of its parameters, in all and of each ``part``, as g_a."""

    role: str
    digest: str
    parameters: int
    parts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a run, JSON-ready; seconds, bytes, floating-point operations.

    ``number_type`` is that of fusion and synthesis.
    """

    picture: str
    width: int
    height: int
    family: str
    level: float
    tau: float
    steps: int
    number_type: str
    repeats: int
    machine: Machine
    networks: tuple[Network, ...]
    stages: tuple[Stage, ...]
    wholes: tuple[Whole, ...]
    commands: tuple[Command, ...]
    batch: Batch | None
    costs: tuple[Cost, ...]
    peak_memory: int


def _networks(subject: Subject) -> tuple[Network, ...]:
    found = [subject.found] if subject.tau == 1 else [subject.found, installed.find_fusion(subject.found)]
    models = [describe(each.path) for each in found]
    return tuple(Network(model.role, model.digest, model.parameters, model.networks) for model in models)


def _time_wholes(subject: Subject, names: Sequence[str], repeats: int) -> tuple[Whole, ...]:
    """Encode and decode of ours, here, and of the peers, in a process of their own, in turns."""
    data = subject.encode()
    runs: dict[str, Callable[[], tuple[float, float]]] = {
        "dlcodec: encode": partial(time_run, subject.encode),
        f"dlcodec: decode, tau {subject.tau:g}": partial(time_run, partial(subject.decode, data)),
    }
    sizes = dict.fromkeys(runs, len(data))
    if not names:
        timings = time_in_turns(runs, repeats)
    else:
        with PeerProcess(list(dict.fromkeys(names)), subject) as peers:
            runs |= {name: partial(peers.run, name) for name in peers.sizes}
            sizes |= peers.sizes
            timings = time_in_turns(runs, repeats)
    return tuple(Whole(name, timing, sizes[name]) for name, timing in timings.items())


def measure(subject: Subject, wanted: Wanted) -> Report:
    """Time and count everything that is wanted. Raises what encoding, decoding and the peers raise."""
    machine = describe_machine(subject.where())
    wholes = _time_wholes(subject, wanted.peers, wanted.repeats)
    stages = time_stages(subject, machine.rates, wanted.repeats)
    peak = peak_memory()
    commands = time_commands(subject, wanted.repeats) if wanted.cold or wanted.batch else ()
    height, width = subject.rgb.shape[:2]
    return Report(
        picture=subject.name,
        width=width,
        height=height,
        family=subject.found.family,
        level=subject.level,
        tau=subject.tau,
        steps=subject.steps,
        number_type=subject.number_type(),
        repeats=wanted.repeats,
        machine=machine,
        networks=_networks(subject),
        stages=stages,
        wholes=wholes,
        commands=commands,
        batch=time_batch(subject, wanted.batch, commands[1].timing) if wanted.batch else None,
        costs=tuple(sweep(subject, wanted.sweep)) if wanted.sweep else (),
        peak_memory=peak,
    )
