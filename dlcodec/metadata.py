"""EXIF and XMP of a Pillow image, made to say that the picture is upright."""

from __future__ import annotations

import re
import struct

from PIL import ExifTags, Image

from dlcodec.picture import EXIF_PREFIX

EXIF_KEYS = ("exif", "Raw profile type exif")
XMP_KEYS = ("xmp", "XML:com.adobe.xmp")
"""Where Pillow keeps EXIF and XMP in ``Image.info``."""
_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:="|>))([0-9])')  # what Pillow honours too
_PHOTOGRAPH_TAGS = (
    *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.XResolution),
    *(ExifTags.Base.YResolution, ExifTags.Base.ResolutionUnit, ExifTags.Base.Software, ExifTags.Base.DateTime),
    *(ExifTags.Base.Artist, ExifTags.Base.Copyright),
)


def read_orientation(image: Image.Image) -> int:
    """How an image lies, 1 (upright) to 8 as in EXIF: by its EXIF, also of one cut short, else by its XMP."""
    try:
        orientation: int = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises nearly anything for damaged bytes
        found = _XMP_ORIENTATION.search(read_xmp(image) or b"")
        orientation = int(found[2]) if found else 1
    return orientation


def upright_exif(exif: bytes) -> bytes | None:
    """The TIFF structure of EXIF with orientation 1 and every other byte as it was; None when it is damaged.

    Patched in place rather than written anew: the notes of camera makers point to absolute positions.
    """
    exif = exif.removeprefix(EXIF_PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return None
    (at,) = struct.unpack_from(f"{order}I", exif, 4)
    if at + 2 > len(exif):
        return None
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    if at + 2 + 12 * count > len(exif):
        return None
    upright = struct.pack(f"{order}HHIHH", _ORIENTATION, 3, 1, 1, 0)
    patched = bytearray(exif)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from(f"{order}H", exif, entry) == (_ORIENTATION,):
            patched[entry : entry + 12] = upright
    return bytes(patched)


def upright_xmp(xmp: bytes) -> bytes:
    """The packet with ``tiff:Orientation`` 1 wherever it has one."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def photograph_tags(source: Image.Exif) -> Image.Exif:
    """Of EXIF, what tells of the photograph: in a TIFF file it lies among tags that say where the samples are."""
    taken = Image.Exif()
    for tag in _PHOTOGRAPH_TAGS:
        if tag in source:
            taken[tag] = source[tag]
    for folder in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if tags := source.get_ifd(folder):
            taken.get_ifd(folder).update(tags)
            taken[folder] = taken.get_ifd(folder)
    return taken


def read_exif(image: Image.Image) -> bytes | None:
    """The EXIF bytes of a loaded Pillow image, with or without the prefix of JPEG."""
    plain, raw = map(image.info.get, EXIF_KEYS)
    exif = plain
    if exif is None and (text := raw):  # as ImageMagick wrote it into PNG
        try:
            exif = bytes.fromhex("".join(text.split("\n")[3:]))
        except ValueError:
            exif = b"damaged"
    if exif is None and image.format == "TIFF":
        tags = photograph_tags(image.getexif())
        try:
            exif = tags.tobytes() if tags else None
        except Exception:  # of a tag that has not the type it should have
            exif = b"damaged"
    return exif or None


def read_xmp(image: Image.Image) -> bytes | None:
    """The XMP packet of a loaded Pillow image."""
    xmp = next(filter(None, map(image.info.get, XMP_KEYS)), None)
    return (xmp.encode() if isinstance(xmp, str) else xmp) or None
