"""The golden files of format version 1, as ``v1/manifest.json`` names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

FOLDER = Path(__file__).parent / "v1"
PATH = FOLDER / "manifest.json"


@dataclass(frozen=True, slots=True)
class GoldenFile:
    """One .dlc file and what it decodes to; paths are relative to ``v1``, all digests are hex.

    ``latent_digest`` is that of its header, over all decoded integers; ``latent`` the CRC-32 of the fixed-point latent.
    ``pictures`` has the reference pixels at tau 1, and at tau 0 where the set has fusion weights.
    """

    file: str
    level: float
    latent_digest: str
    latent: str
    pictures: dict[str, str]

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return (FOLDER / self.file).read_bytes()

    def picture(self, tau: str) -> npt.NDArray[np.uint8]:
        """The reference pixels, (H, W, 3) uint8, at tau "1" or "0"."""
        path = FOLDER / self.pictures[tau]
        pixels: npt.NDArray[np.uint8] = np.load(path) if path.suffix == ".npy" else np.asarray(Image.open(path))
        return pixels


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """Files of one base checkpoint; ``base`` and ``fusion`` are the digests of the weights that decode them.

    ``weights`` is the folder that holds those weights, None where they are the shipped ones. ``sha256`` has the digest
    of every file of the set by its path.
    """

    name: str
    family: str
    base: str
    fusion: str | None
    weights: str | None
    files: tuple[GoldenFile, ...]
    sha256: dict[str, str]


def read() -> tuple[GoldenSet, ...]:
    """All sets, in the order in which they were made."""
    sets: list[dict[str, Any]] = json.loads(PATH.read_text())
    return tuple(GoldenSet(**{**s, "files": tuple(GoldenFile(**f) for f in s["files"])}) for s in sets)


def write(sets: Sequence[GoldenSet]) -> None:
    """Write the manifest."""
    PATH.write_text(json.dumps([asdict(each) for each in sets], indent=1) + "\n")


def seal(sets: Sequence[GoldenSet]) -> str:
    """A digest over what the manifest says of ``sets``: one word of it changed is another digest."""
    text = json.dumps([asdict(each) for each in sets], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
