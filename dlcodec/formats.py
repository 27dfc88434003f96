"""Image formats by their suffix: those that are read, those that ``decode`` writes, and what each of these can hold."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcodec.errors import OutputError, UsageError

if TYPE_CHECKING:
    from PIL import Image

    from dlcodec.picture import Picture


@dataclass(frozen=True, slots=True)
class Format:
    """One image format: Pillow's name for it, what it takes, and how it is written.

    ``quality`` is that of the format when none is named, None where it is then lossless; ``lossy`` says whether it
    takes one. ``most_side`` is in pixels, ``most_block`` the bytes that EXIF and XMP may have each.
    """

    name: str
    lossy: bool = False
    quality: int | None = None
    alpha: bool = True
    metadata: bool = True
    most_side: int = 65535
    most_block: int = 2**32


_TIFF_XMP = 700
_JPEG = Format("JPEG", lossy=True, quality=95, alpha=False, most_side=65500, most_block=65500)
_TIFF = Format("TIFF")
_PPM = Format("PPM", alpha=False, metadata=False)
READ_SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".mpo", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx"),
    )
)
"""Of the images that are taken from folders."""
FORMATS = {
    ".png": Format("PNG"),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format("WEBP", lossy=True, most_side=16383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".ppm": _PPM,
    ".pgm": _PPM,
    ".avif": Format("AVIF", lossy=True, quality=90),
}


@dataclass(frozen=True, slots=True)
class Writing:
    """A format and the quality to write it with; None is lossless."""

    suffix: str
    format: Format
    quality: int | None

    def check(self, width: int, height: int, *, grey: bool, alpha: bool) -> None:
        """Raise UsageError where the format cannot hold such a picture."""
        if alpha and not self.format.alpha:
            raise UsageError(f"the picture has transparency, which {self.suffix} cannot hold; take .png or .webp")
        if self.suffix == ".pgm" and not grey:
            raise UsageError("the picture has colours, which .pgm cannot hold; take .ppm")
        if max(width, height) > self.format.most_side:
            raise UsageError(f"{self.suffix} holds at most {self.format.most_side} pixels a side; take .png")

    def encode(self, picture: Picture, warn: Callable[[str], None]) -> bytes:
        """The bytes of an image file; ``warn`` takes a sentence for what the format cannot hold.

        A picture of another colour space becomes sRGB where the format holds no profile. Raises OutputError.
        """
        from dlcodec.colour import apply_profile
        from dlcodec.opening import quiet
        from dlcodec.picture import to_pillow

        image = to_pillow(picture)
        info: dict[str, Any] = {str(key): value for key, value in image.info.items()}
        if not self.format.metadata:
            image, _ = apply_profile(image, info.pop("icc_profile", None), keep=False)
        for key in ("exif", "xmp"):
            if key in info and (not self.format.metadata or len(info[key]) > self.format.most_block):
                warn(
                    f"{self.suffix} cannot hold the picture's {key.upper()}, {len(info.pop(key))} bytes; it is left out"
                )
        image.info = {}
        with quiet():
            try:
                return self._save(image, info)
            except Exception as error:  # metadata may be anything, and Pillow raises nearly anything for it
                if (exif := info.pop("exif", None)) is None:
                    raise OutputError(f"cannot write the picture as {self.format.name}: {error}") from error
                fault = error
            try:
                data = self._save(image, info)
            except Exception as error:
                raise OutputError(f"cannot write the picture as {self.format.name}: {error}") from error
        warn(f"{self.suffix} cannot hold the picture's EXIF, {len(exif)} bytes ({fault}); it is left out")
        return data

    def _save(self, image: Image.Image, info: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        image.save(stream, self.format.name, **self._options(dict(info)))
        return stream.getvalue()

    def _options(self, info: dict[str, Any]) -> dict[str, Any]:
        """What Pillow is to be told: quality and the metadata in ``info``."""
        if self.format.name == "PNG":
            from PIL.PngImagePlugin import PngInfo

            options: dict[str, Any] = {"compress_level": 3}
            if "xmp" in info:
                options["pnginfo"] = PngInfo()
                options["pnginfo"].add_itxt("XML:com.adobe.xmp", info.pop("xmp"))
        elif self.format.name == "TIFF":
            from PIL.Image import Exif

            from dlcodec.metadata import photograph_tags

            whole = Exif()
            whole.load(info.pop("exif", b""))
            tags = photograph_tags(whole)  # a TIFF file has EXIF and XMP among tags of its own
            if "xmp" in info:
                tags[_TIFF_XMP] = info.pop("xmp")
            options = {"exif": tags}  # uncompressed: Pillow writes EXIF into no compressed TIFF
        elif self.quality is None:
            options = {"lossless": True} if self.format.lossy else {}
        else:
            options = {"quality": self.quality, "subsampling": "4:4:4"}
        return options | info


def choose_writing(path: Path, quality: int | None) -> Writing:
    """How the suffix of an output says that it is written; ``quality`` is 1 to 100, or None for the format's own.

    Raises UsageError for an unknown suffix, and for a quality out of its range or where nothing is lossy.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"the output must end in one of {', '.join(FORMATS)}, not {path.name}")
    form = FORMATS[suffix]
    if quality is not None and not form.lossy:
        raise UsageError(f"{suffix} is lossless and takes no quality")
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} is outside 1 to 100")
    if form.name == "AVIF":
        from PIL import features

        if not features.check("avif"):
            raise UsageError("this Pillow writes no AVIF; take .png or .webp")
    return Writing(suffix, form, form.quality if quality is None else quality)
