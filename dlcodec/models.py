"""The checkpoints that are installed: what they say of themselves, and whether they are sound. Without torch."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors

from dlcodec import checkpoint as checkpoints
from dlcodec import installed
from dlcodec.errors import UsageError, WeightsError

_MOST_NESTED = 50
_LARGEST = 1e9
_NO_PARAMETERS = ("tables.", "train.")
_NETWORKS = {
    **{name: name for name in ("g_a", "h_a", "h_s", "g_s", "adapters", "blocks")},
    **{"context_prediction": "context", "entropy_parameters": "context", "denoiser": "D"},
}
"""By the first part of the names of their tensors, ``exact.`` aside."""


@dataclass(frozen=True, slots=True)
class Model:
    """One checkpoint, JSON-ready; ``digest`` and ``base`` are 64 hex digits, ``file_bytes`` is the size on disk.

    ``parameters`` counts the entries of all tensors that encoding and decoding use, the entropy coder's tables aside,
    and ``networks`` those of each network; what belongs to none, as gains do, is there as ``others``. ``levels``,
    ``default_level``, ``lambdas`` (None where unknown) and ``orientation`` are a base's; ``base`` and ``steps`` are a
    fusion network's. ``record`` is how it was made and ``results`` what was measured, None where the file says nothing:
    by the name of a set of pictures, how many these are (``images``), and ``rows`` of the means at a level and a tau,
    all with the same keys: ``level``, ``tau``, ``bpp`` and metrics.
    """

    path: str
    role: Literal["base", "fusion"]
    family: str
    digest: str
    file_bytes: int
    tensors: int
    parameters: int
    networks: Mapping[str, int]
    levels: int | None
    default_level: float | None
    lambdas: tuple[float | None, ...] | None
    orientation: str | None
    base: str | None
    steps: int | None
    record: Mapping[str, Any] | None
    results: Mapping[str, Any] | None


def checkpoint_files() -> list[Path]:
    """All base and fusion checkpoints of all weight folders, in the order they are looked for, each file once."""
    found: dict[Path, Path] = {}
    for folder in installed.weight_folders():
        for kind in ("base", "fusion"):
            for path in sorted(installed.named(folder, f"*/{kind}*.safetensors")):
                found.setdefault(path.resolve(), path)
    return list(found.values())


def _is_shallow(value: Any) -> bool:
    """Whether lists and dicts are nested less than _MOST_NESTED deep."""
    layer = [value]
    for _ in range(_MOST_NESTED):
        inner = [list(one.values()) if isinstance(one, dict) else one for one in layer if isinstance(one, dict | list)]
        layer = [each for one in inner for each in one]
    return not layer


def _parsed(path: Path, raw: Mapping[str, str], key: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(raw.get(key, "null"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"the entry {key} in {path} is damaged") from error
    if value is not None and not isinstance(value, dict):
        raise WeightsError(f"the entry {key} in {path} is damaged")
    if not _is_shallow(value):
        raise WeightsError(f"the {key} in {path} is nested too deep")
    return value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST  # NaN is not


def _results(path: Path, raw: Mapping[str, str]) -> Mapping[str, Any] | None:
    found = _parsed(path, raw, "results")
    for each in (found or {}).values():
        rows = each.get("rows") if isinstance(each, dict) else None
        if not (
            isinstance(rows, list)
            and rows
            and _is_number(each.get("images"))
            and all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows)
            and rows[0].keys() >= {"level", "tau", "bpp"}
            and all(_is_number(value) for row in rows for value in row.values())
        ):
            raise WeightsError(f"the entry results in {path} is damaged")
    return found


def _count(shapes: Mapping[str, list[int]]) -> dict[str, int]:
    """The parameters of each network, in the order of ``_NETWORKS``."""
    counts = dict.fromkeys((*_NETWORKS.values(), "others"), 0)
    for name, shape in shapes.items():
        if not name.startswith(_NO_PARAMETERS):
            counts[_NETWORKS.get(name.removeprefix("exact.").partition(".")[0], "others")] += math.prod(shape)
    return {network: count for network, count in counts.items() if count}


def describe(path: Path) -> Model:
    """What a checkpoint says of itself; its tensors are not read. Raises WeightsError."""
    found = checkpoints.read_metadata(path)
    config = found.config
    raw: Mapping[str, str] = {}
    shapes: dict[str, list[int]] = {}
    for file in found.files:
        try:
            with safetensors.safe_open(file, framework="numpy") as handle:
                raw = raw or handle.metadata()
                shapes |= {name: handle.get_slice(name).get_shape() for name in handle.keys()}  # noqa: SIM118
        except (OSError, safetensors.SafetensorError) as error:
            raise checkpoints.unreadable(file) from error
    is_fusion = found.is_fusion
    networks = _count(shapes)
    return Model(
        path=str(path),
        role="fusion" if is_fusion else "base",
        family=found.family,
        digest=found.digest,
        file_bytes=found.file_bytes,
        tensors=len(shapes),
        parameters=sum(networks.values()),
        networks=networks,
        levels=None if is_fusion else found.levels,
        default_level=config.get("default_level"),
        lambdas=None if is_fusion else tuple(config["lambdas"]),
        orientation=config.get("orientation"),
        base=config.get("base"),
        steps=config.get("steps"),
        record=_parsed(path, raw, "record"),
        results=_results(path, raw),
    )


def record(path: Path, name: str, results: Mapping[str, Any]) -> None:
    """Write what was measured on the set ``name`` into a checkpoint, beside the results on other sets.

    Raises WeightsError, OutputError.
    """
    checkpoints.save_results(path, {**(describe(path).results or {}), name: results})


def verify(path: Path) -> None:
    """Read a whole checkpoint and hold its contents against its digest; raises WeightsError or LimitError."""
    checkpoints.load_arrays(checkpoints.read_metadata(path))


def choose(names: list[str]) -> Iterator[Path]:
    """The checkpoints that are named by a path or by how their digest begins; all installed ones without a name.

    Raises WeightsError where nothing is installed, UsageError where a name fits none.
    """
    files = checkpoint_files()
    if not names and not files:
        places = ", ".join(map(str, installed.weight_folders()))
        raise WeightsError(f"no weights found in {places}; reinstall dlcodec or set DLCODEC_WEIGHTS")
    if not names:
        yield from files
    for name in names:
        if os.path.isfile(name):
            yield Path(name)
            continue
        fitting = [path for path in files if name and _digest_begins(path, name.lower())]
        if not fitting:
            raise UsageError(
                f"{name} is neither a file nor the beginning of an installed digest; see dlcodec models list"
            )
        yield from fitting


def _digest_begins(path: Path, start: str) -> bool:
    try:
        return checkpoints.read_metadata(path).digest.startswith(start)
    except WeightsError:
        return False
