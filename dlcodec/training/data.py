"""Training tiles in memory, and random crops of them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dlcodec.console import complain
from dlcodec.errors import InputError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".ppm", ".tif", ".tiff", ".bmp"}


def _encoded_images(source: Path) -> Iterator[bytes]:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file():
                yield path.read_bytes()
        return
    with tarfile.open(source) as tar:
        for member in tar:
            path = Path(member.name)
            if member.isfile() and path.suffix.lower() in _SUFFIXES and not path.name.startswith("."):
                stream = tar.extractfile(member)
                if stream is not None:
                    yield stream.read()


def _to_array(encoded: bytes) -> npt.NDArray[np.uint8] | None:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:  # Pillow raises nearly anything for damaged bytes
        return None


def load_tiles(sources: Sequence[Path], smallest: int) -> list[Tensor]:
    """Every image of the folders and tar files, as (3, H, W) uint8 tensors of at least ``smallest`` pixels a side.

    Images that cannot be read are left out, with a word on stderr. Raises InputError when a source is missing or no
    tar file, and when nothing usable is found.
    """
    tiles: list[Tensor] = []
    unread = 0
    with ThreadPoolExecutor() as pool:
        for source in sources:
            try:
                for array in pool.map(_to_array, _encoded_images(source)):
                    if array is None:
                        unread += 1
                    elif min(array.shape[:2]) >= smallest:
                        tiles.append(torch.from_numpy(array.copy()).permute(2, 0, 1).contiguous())
            except (OSError, tarfile.TarError) as error:
                raise InputError(f"cannot read {source} as a folder or tar file of images: {error}") from error
    if unread:
        complain(f"{unread} images cannot be read and are left out")
    if not tiles:
        raise InputError(f"no image of at least {smallest} x {smallest} pixels in {', '.join(map(str, sources))}")
    return tiles


class CropSampler:
    """Endless batches of random, flipped and transposed crops; tiles are drawn in proportion to their area.

    Each crop is reduced by a factor uniform between 1 and ``reduce``, or what its tile is large enough for.
    """

    def __init__(
        self, tiles: Sequence[Tensor], batch: int, crop: int, device: torch.device, seed: int, reduce: float = 1
    ) -> None:
        self._tiles = [tile.to(device) for tile in tiles]
        areas = np.array([tile.shape[1] * tile.shape[2] for tile in tiles], dtype=np.float64)
        self._weights = areas / areas.sum()
        self._batch, self._crop, self._reduce = batch, crop, reduce
        self._random = np.random.default_rng(seed)

    def _one(self, index: int) -> Tensor:
        tile = self._tiles[index]
        crop = int(self._crop * self._random.uniform(1, self._reduce)) if self._reduce > 1 else self._crop
        crop = min(crop, tile.shape[1], tile.shape[2])
        top = int(self._random.integers(tile.shape[1] - crop + 1))
        left = int(self._random.integers(tile.shape[2] - crop + 1))
        view = tile[:, top : top + crop, left : left + crop]
        turn = int(self._random.integers(8))
        if turn & 1:
            view = view.flip(1)
        if turn & 2:
            view = view.flip(2)
        view = view.transpose(1, 2) if turn & 4 else view
        if crop == self._crop:
            return view.float()
        # Not bilinear: that leaves .45 of what has .45 cycles a pixel, bicubic .61.
        reduced = F.interpolate(view[None].float(), size=self._crop, mode="bicubic", antialias=True)[0]
        return reduced.round().clamp(0, 255)

    def batch(self) -> Tensor:
        """The next batch: (batch, 3, crop, crop) float32 in [0, 1]."""
        picks = self._random.choice(len(self._tiles), self._batch, p=self._weights)
        return torch.stack([self._one(int(index)) for index in picks]) / 255
