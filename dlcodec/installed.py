"""Which weights are installed: found by family, digest and base, without torch."""

from __future__ import annotations

import os
from pathlib import Path

from dlcodec.checkpoint import Checkpoint, read_metadata
from dlcodec.errors import NoFusionError, WeightsError


def weight_folders() -> list[Path]:
    """Where weights are looked for: $DLCODEC_WEIGHTS, then the installed package, then its checkout."""
    package = Path(__file__).resolve().parent
    folders = [package / "weights", package.parent / "weights"]
    if chosen := os.environ.get("DLCODEC_WEIGHTS"):
        folders.insert(0, Path(chosen))
    return folders


def named(folder: Path, pattern: str) -> list[Path]:
    """The paths that fit below a folder, by name; none where it is no folder, or a name that no system takes."""
    return sorted(folder.glob(pattern), key=lambda path: path.stem) if os.path.isdir(folder) else []


def find(family: str, short_digest: bytes | None = None) -> Checkpoint:
    """The base checkpoint of a family: the one with this digest, or the first found, ``base`` before ``base-NAME``.

    Raises WeightsError when there is none, or none with this digest; a damaged one hides no other that has it.
    """
    others: list[str] = []
    fault: WeightsError | None = None
    for folder in weight_folders():
        for path in named(folder / family, "base*.safetensors"):
            try:
                checkpoint = read_metadata(path)
            except WeightsError as error:
                if short_digest is None:
                    raise
                fault = fault or error
                continue
            if checkpoint.family != family or checkpoint.is_fusion:
                continue
            if short_digest is None or checkpoint.short_digest == short_digest:
                return checkpoint
            others.append(checkpoint.short_digest.hex())
    if fault:
        raise fault
    if short_digest is None or not others:
        places = ", ".join(str(folder / family) for folder in weight_folders())
        raise WeightsError(f"no {family} weights found in {places}; reinstall dlcodec or set DLCODEC_WEIGHTS")
    raise WeightsError(
        f"the file needs {family} weights {short_digest.hex()}, but those installed are {', '.join(others)}; "
        "put the right ones under DLCODEC_WEIGHTS"
    )


def find_fusion(base: Checkpoint) -> Checkpoint:
    """The fusion checkpoint that was trained beside ``base``.

    Raises NoFusionError when there is none, WeightsError when the only ones that might be are damaged.

    A base that lies in no weight folder has its own folder looked through first.
    """
    others = 0
    fault: WeightsError | None = None
    folders = [folder / base.family for folder in weight_folders()]
    if base.path.parent not in folders:
        folders.insert(0, base.path.parent)
    for folder in folders:
        for path in named(folder, "fusion*.safetensors"):
            try:
                checkpoint = read_metadata(path)
            except WeightsError as error:
                fault = fault or error
                continue
            if checkpoint.config.get("base") == base.digest:
                return checkpoint
            others += 1
    if fault:
        raise fault
    have = "those installed belong to another base" if others else "none are installed"
    raise NoFusionError(
        f"tau below 1 needs fusion weights for the {base.family} base {base.short_digest.hex()}, and {have}; use tau 1 "
        "or train them (dlcodec train fusion)"
    )
