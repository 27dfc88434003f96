"""Which outputs are complete already, and are what a run would make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlcodec import container
from dlcodec.arguments import LEVEL_STEPS
from dlcodec.errors import DlcodecError
from dlcodec.files import read_bounded
from dlcodec.image import read_size, read_whole_size
from dlcodec.limits import Limits
from dlcodec.thumbnail import read_thumbnail

_METADATA = {container.SECTION_EXIF, container.SECTION_ICC, container.SECTION_XMP}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a .dlc file must say: its level, None for any, and tau hint, None for none, before rounding; 8 bytes.

    ``strip`` is for a file without metadata, ``thumbnail`` the longer side in pixels of its thumbnail, None for none.
    """

    level: float | None
    tau_hint: float | None
    model_digest: bytes
    strip: bool
    thumbnail: int | None

    def fits(self, file: container.Container) -> bool:
        """Whether an encode as wanted would give such a file, the picture's part aside; raises CorruptFileError."""
        header = file.header
        hint = None if self.tau_hint is None else round(self.tau_hint * container.TAU_STEPS)
        level = header.level if self.level is None else round(self.level * LEVEL_STEPS)
        if (header.level, header.tau_hint, header.model_digest) != (level, hint, self.model_digest):
            return False
        if self.strip and _METADATA & {section.type for section in file.sections}:
            return False
        small = read_thumbnail(file)
        side = None if self.thumbnail is None else min(self.thumbnail, max(header.width, header.height))
        return side == (None if small is None else max(small.shape[:2]))


def _not_older(output: Path, source: Path) -> bool:
    return output.stat().st_mtime_ns >= source.stat().st_mtime_ns


def complete_encoding(source: Path, output: Path, wanted: Wanted, limits: Limits) -> container.Header | None:
    """The header of ``output`` if it is sound, as wanted, of the picture's size and not older; else None.

    The picture's pixels are not decoded.
    """
    try:
        if not output.is_file() or not _not_older(output, source):
            return None
        data = read_bounded(output, limits.file_bytes)
        file = container.unpack(data, limits)
        header = file.header
        if not wanted.fits(file) or (header.width, header.height) != read_size(source, limits):
            return None
    except (DlcodecError, OSError):
        return None
    return header


def complete_decoding(source: Path, output: Path, size: tuple[int, int], limits: Limits) -> bool:
    """Whether the output is a whole image of this width and height that is not older than the source."""
    try:
        return output.is_file() and _not_older(output, source) and read_whole_size(output, limits) == size
    except (DlcodecError, OSError):
        return False
