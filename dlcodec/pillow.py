"""Pillow reads and writes .dlc files once this module is imported.

    import dlcodec.pillow
    from PIL import Image

    with Image.open("photo.dlc") as picture:   # the header only: size, mode, info
        picture.tau = 0.3                      # optional, and so are steps, seed and model
        picture.save("photo.png")              # decodes
    Image.open("photo.png").save("small.dlc", quality=30)

A program that lets Pillow open images of more than 2^27 pixels, by ``PIL.Image.MAX_IMAGE_PIXELS``, lets it open and
save .dlc files of as many. Importing this module imports Pillow, but not torch; the first decode or save does. Errors
are those that Pillow's own plugins raise, with the sentence of dlcodec: ValueError for an argument out of its range,
DecompressionBombError for a picture over the limits, OSError for everything else. The DlcodecError is their
``__cause__``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar

from PIL import Image, ImageFile

import dlcodec
from dlcodec.arguments import check_sampling, check_tau
from dlcodec.container import MAGIC, SECTION_ALPHA, unpack
from dlcodec.errors import DlcodecError, LimitError, UsageError
from dlcodec.limits import DEFAULT_LIMITS, Limits
from dlcodec.metadata import EXIF_KEYS, XMP_KEYS
from dlcodec.picture import pillow_info
from dlcodec.sections import unpack_extras
from dlcodec.selection import base_to_encode

if TYPE_CHECKING:
    from dlcodec.models import Model

__all__ = ["EXTENSION", "FORMAT", "MIME_TYPE", "DlcImageFile"]

FORMAT = "DLC"
EXTENSION = ".dlc"
MIME_TYPE = "image/x-dlcodec"
_METADATA = {"exif": EXIF_KEYS, "icc_profile": ("icc_profile",), "xmp": XMP_KEYS}
"""The options of ``save`` that replace what ``info`` has, and where that is."""
_PIECE = 2**20  # bytes
_T = TypeVar("_T")


@contextmanager
def _pillow_errors() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise ValueError(str(error)) from error
    except LimitError as error:
        raise Image.DecompressionBombError(str(error)) from error
    except DlcodecError as error:
        raise OSError(str(error)) from error


def _limits() -> Limits:
    """Our own, or as many pixels as the program lets Pillow open without a warning, where those are more."""
    most = DEFAULT_LIMITS.side**2
    pixels = most if Image.MAX_IMAGE_PIXELS is None else min(Image.MAX_IMAGE_PIXELS, most)
    return DEFAULT_LIMITS.allow(pixels, None) if pixels > DEFAULT_LIMITS.pixels else DEFAULT_LIMITS


class _Option(Generic[_T]):
    """An attribute that says how to decode; as ``seek()`` does, setting it makes the next ``load()`` decode anew."""

    def __init__(self, default: _T, check: Callable[[_T], None]) -> None:
        self._default, self._check = default, check

    def __set_name__(self, owner: type[DlcImageFile], name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, picture: DlcImageFile | None, owner: type[DlcImageFile]) -> _T:
        value: _T = self._default if picture is None else vars(picture).get(self._name, self._default)
        return value

    def __set__(self, picture: DlcImageFile, value: _T) -> None:
        with _pillow_errors():
            self._check(value)
            picture._decode_anew()
        vars(picture)[self._name] = value


def _check_tau(tau: float | None) -> None:
    if tau is not None:
        check_tau(tau)


class DlcImageFile(ImageFile.ImageFile):
    """A .dlc file as Pillow opens it: decoded when its pixels are first needed.

    ``info`` holds ``level`` (0 to 7) and ``model`` (hex digits), and where the file has them ``tau_hint``,
    ``icc_profile``, ``exif`` and ``xmp``.
    """

    format = FORMAT
    format_description = "dlcodec, a neural image codec"

    tau: _Option[float | None] = _Option(None, _check_tau)
    """From 0 (realism) to 1 (fidelity); None takes the file's hint, or 0 where it has none."""
    steps: _Option[int | None] = _Option(None, lambda steps: check_sampling(steps, 0))
    """Steps of the fusion sampler, 1 to 50; None takes the model's default."""
    seed: _Option[int] = _Option(0, lambda seed: check_sampling(None, seed))
    """Chooses the sampler's noise."""
    model: _Option[str | Path | Model | None] = _Option(None, lambda _: None)
    """The weights to look among, as of ``dlcodec.decode``; None takes all that are installed."""

    _data: bytes | None = None  # None in a picture that was unpickled: it has pixels and no file
    _offered: frozenset[Any] = frozenset()  # keys of info that were there once: what is in them is the caller's
    _pending = False
    _max_pixels: int | None = None

    def _open(self) -> None:
        assert self.fp is not None
        read = bytearray(self.fp.read(len(MAGIC)))
        if read != MAGIC:
            raise SyntaxError("not a dlcodec file")
        limits = _limits()
        # A read may take all the memory it is allowed at once.
        while len(read) <= limits.file_bytes and (piece := self.fp.read(_PIECE)):
            read += piece
        data = bytes(read)
        with _pillow_errors():
            if len(data) > limits.file_bytes:
                raise LimitError(f"the file is larger than the limit of {limits.file_bytes} bytes")
            file = unpack(data, limits)
            extras = unpack_extras(file, alpha=False)
        transparent = any(section.type == SECTION_ALPHA for section in file.sections)
        self._mode = ("L" if extras.grey else "RGB") + ("A" if transparent else "")
        header = file.header
        self._size = header.width, header.height
        self.info = {"level": header.rate_level, "model": header.model_digest.hex()}
        if header.tau_hint is not None:
            self.info["tau_hint"] = header.default_tau
        self.info.update(pillow_info(extras))
        self._data, self._offered, self._pending = data, frozenset(self.info), True
        self._max_pixels = limits.pixels

    def _decode_anew(self) -> None:
        if self._data is None:
            raise UsageError("the picture was unpickled; it can be decoded anew only after Image.open")
        self._pending = True

    def load(self) -> Any:
        """Decode, unless that is done; raises OSError or ValueError."""
        if self._pending and self._data is not None:
            with _pillow_errors():
                decoded = dlcodec.decode(
                    self._data,
                    tau=self.tau,
                    steps=self.steps,
                    seed=self.seed,
                    model=self.model,
                    max_pixels=self._max_pixels,
                )
            self._mode, self._size, self.im = decoded.mode, decoded.size, decoded.im
            self.readonly = decoded.readonly
            self.info.update((key, value) for key, value in decoded.info.items() if key not in self._offered)
            self._offered = self._offered.union(decoded.info)
            self._pending = False
            if self.fp and self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return super().load()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _choose_level(options: dict[str, Any]) -> float | None:
    """The level of ``level=`` or ``quality=``, None without either; raises ValueError."""
    level, quality = options.get("level"), options.get("quality")
    if quality is None:
        return level
    if level is not None:
        raise ValueError("level and quality are two names for the rate; give one of them")
    if isinstance(quality, bool) or not isinstance(quality, int | float) or not 0 <= quality <= 100:
        raise ValueError(f"quality {quality!r} is not a number from 0 to 100")
    return quality * (base_to_encode(dlcodec._name_of(options.get("model"))).levels - 1) / 100


def _save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    options = im.encoderinfo
    given = {name: options[name] for name in _METADATA if name in options}
    if given:
        im = im.copy()
        for key in (key for name in given for key in _METADATA[name]):
            im.info.pop(key, None)
        im.info |= {
            name: each.tobytes() if isinstance(each, Image.Exif) else each
            for name, each in given.items()
            if each is not None  # None leaves it out
        }
    with _pillow_errors():
        fp.write(
            dlcodec.encode(
                im,
                level=_choose_level(options),
                tau_hint=options.get("tau_hint"),
                effort=options.get("effort", "medium"),
                precision=options.get("precision", "auto"),
                model=options.get("model"),
                max_pixels=_limits().pixels,
            )
        )


Image.register_open(FORMAT, DlcImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, EXTENSION)
Image.register_mime(FORMAT, MIME_TYPE)
