"""What a run will measure, and with what: images, points, weights, metrics and peers that are really here."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

import torch

from dlcodec import installed
from dlcodec.arguments import Device, Effort, check_level, check_sampling, check_tau
from dlcodec.checkpoint import Checkpoint
from dlcodec.errors import DlcodecError, InputError, UsageError
from dlcodec.evaluation.metrics import METRICS, LpipsNet, Measure, load_measure, lpips_weights
from dlcodec.evaluation.patch_fid import PatchFid, fid_weights
from dlcodec.evaluation.peers import Peer, load_peer
from dlcodec.evaluation.results import OURS, Failure, Point, Settings
from dlcodec.formats import READ_SUFFIXES
from dlcodec.fusion.fuse import choose_dtype
from dlcodec.loading import choose_device
from dlcodec.machine import device_name, find_versions
from dlcodec.selection import base_to_encode

_PACKAGES = (
    *("torch", "numpy", "pillow", "pillow-jxl-plugin", "constriction"),
    *("pytorch-msssim", "lpips", "torchvision", "pyiqa", "torch-fidelity"),
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for: no levels means every whole one, no steps the model's; ``model`` as for ``selection``."""

    source: Path
    output: Path
    levels: tuple[float, ...]
    taus: tuple[float, ...]
    steps: tuple[int, ...]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    metric_weights: Path | None
    peers: tuple[str, ...]
    device: Device
    model: str | None = None
    effort: Effort = "medium"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: the images of ``source`` at ``points``; ``fid`` is None when it was not asked for."""

    source: Path
    output: Path
    points: tuple[Point, ...]
    peers: Mapping[str, Peer]
    measures: Mapping[str, Measure]
    fid: PatchFid | None
    device: Device
    base: Checkpoint
    effort: Effort = "medium"


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder by their suffix, sorted, none hidden; raises InputError when there are none."""
    try:
        visible = (path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
        paths = sorted(path for path in visible if path.suffix.lower() in READ_SUFFIXES)
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from error
    if not paths:
        raise InputError(f"{folder} holds no images")
    return paths


def lay_points(
    levels: Sequence[float], taus: Sequence[float], steps: Sequence[int], seeds: Sequence[int], peers: Sequence[Peer]
) -> tuple[Point, ...]:
    """All points of a run. Nothing is sampled at tau 1, so steps and seeds do not multiply it."""
    points = []
    for level in levels:
        points += [Point(OURS, level, 1.0)] if 1 in taus else []
        points += [
            Point(OURS, level, tau, count, seed) for count in steps for seed in seeds for tau in taus if tau != 1
        ]
    points += [Point(peer.name, float(quality)) for peer in peers for quality in peer.qualities]
    return tuple(dict.fromkeys(points))


def _weights_digests(metrics: Iterable[str], folder: Path | None) -> dict[str, str]:
    """The first 16 hex digits of the SHA-256 of each metric's weights file; none for what a library downloads."""
    digests = {}
    for metric in metrics:
        path = fid_weights(folder) if metric == "fid" else None
        for net in get_args(LpipsNet):
            path = lpips_weights(net, folder) if metric == f"lpips-{net}" else path
        if path is not None:
            with path.open("rb") as stream:
                digests[metric] = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    return digests


def _had(names: Sequence[str], load: Callable[[str], T], missing: dict[str, DlcodecError]) -> dict[str, T]:
    """What loads of ``names``; why the rest does not goes into ``missing``."""
    loaded = {}
    for name in names:
        try:
            with redirect_stdout(sys.stderr or io.StringIO()):  # libraries announce their downloads on stdout
                loaded[name] = load(name)
        except DlcodecError as error:
            missing[name] = error
    return loaded


def prepare(request: Request) -> tuple[Plan, Settings, list[Failure]]:
    """The plan of a request, its settings, and what of the request cannot be had here: it is left out of the plan.

    Raises UsageError for a value out of its range or an unknown name, WeightsError when there is no base codec,
    InputError when there are no images, or the first reason when nothing is left to measure.
    """
    list_images(request.source)
    if unknown := [name for name in request.metrics if name not in METRICS]:
        raise UsageError(f"metric {unknown[0]!r} is none of {', '.join(METRICS)}")
    where = choose_device(request.device)
    device: Literal["cpu", "cuda"] = "cuda" if where.type == "cuda" else "cpu"
    base = base_to_encode(request.model)
    levels = request.levels or tuple(map(float, range(base.levels)))
    for level in levels:
        check_level(level, base.levels)
    for tau in request.taus:
        check_tau(tau)
    if not request.seeds and any(tau != 1 for tau in request.taus):
        raise UsageError("tau below 1 needs a seed; --seeds names none")
    for seed in request.seeds:
        for count in request.steps or (None,):
            check_sampling(count, seed)

    missing: dict[str, DlcodecError] = {}
    taus, steps, fusion = tuple(map(abs, request.taus)), request.steps, None  # abs: -0.0 is 0
    if any(tau != 1 for tau in taus):
        found = _had(("tau below 1",), lambda _: installed.find_fusion(base), missing)
        fusion = next(iter(found.values()), None)
        if fusion is None:
            taus = tuple(tau for tau in taus if tau == 1)
        else:
            steps = steps or (int(fusion.config["steps"]),)
    peers = _had(request.peers, load_peer, missing)
    per_image = [name for name in request.metrics if name != "fid"]
    measures = _had(per_image, lambda name: load_measure(name, device, request.metric_weights), missing)
    fids = _had(
        [name for name in request.metrics if name == "fid"],
        lambda _: PatchFid(device, request.metric_weights),
        missing,
    )
    points = lay_points(levels, taus, steps, request.seeds, list(peers.values()))
    if not points or not (measures or fids):
        raise next(iter(missing.values()), UsageError("nothing to measure: name a tau or a peer, and a metric"))
    settings = Settings(
        source=str(request.source),
        family=base.family,
        base=base.digest,
        fusion=fusion.digest if fusion else None,
        metrics=(*measures, *fids),
        device=device,
        device_name=device_name(where),
        threads=torch.get_num_threads(),
        precision=str(choose_dtype("auto", where)).removeprefix("torch."),
        versions=find_versions(_PACKAGES),
        metric_weights=_weights_digests((*measures, *fids), request.metric_weights),
        default_steps=int(fusion.config["steps"]) if fusion else None,
        effort=request.effort,
    )
    plan = Plan(
        source=request.source,
        output=request.output,
        points=points,
        peers=peers,
        measures=measures,
        fid=fids.get("fid"),
        device=request.device,
        base=base,
        effort=request.effort,
    )
    return plan, settings, [Failure(name, str(error), error.exit_code) for name, error in missing.items()]
