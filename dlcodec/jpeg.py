"""JPEG files whose decoding would cost far more than their pixels: bounded before Pillow sees them."""

from __future__ import annotations

import re

from dlcodec.errors import LimitError

MOST_SCANS = 200
"""Each scan of a progressive file goes over all its pixels again; encoders write about ten."""

MOST_EXIF_SEGMENTS = 256
"""Pillow joins them in time that grows with their square; cameras write one."""

_START, _SCAN, _END, _APP1 = 0xD8, 0xDA, 0xD9, 0xE1
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither a stuffed zero, nor a restart, nor padding


def check_segments(data: bytes, name: str) -> None:
    """Raise LimitError where a JPEG file has more scans or EXIF segments than any honest one; others pass.

    ``name`` is what the message calls the file. What is no JPEG passes too. The walk ends with the first picture.
    """
    scans = exif = 0
    at = 0 if data[:2] == b"\xff\xd8" else len(data)
    while marker := _MARKER.search(data, at):
        kind, at = marker[1][0], marker.end()
        if kind == _END:
            return
        if kind in (_START, 0x01):  # they have no length
            continue
        scans += kind == _SCAN
        exif += kind == _APP1 and data.startswith(b"Exif\0", at + 2)
        if scans > MOST_SCANS:
            raise LimitError(f"{name} has more than {MOST_SCANS} scans, each of which would cost a whole picture")
        if exif > MOST_EXIF_SEGMENTS:
            raise LimitError(f"{name} has more than {MOST_EXIF_SEGMENTS} segments of EXIF")
        at += int.from_bytes(data[at : at + 2], "big")
