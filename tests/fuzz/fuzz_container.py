"""The container: header, numbers and sections of any bytes, with the checksum made right."""

from __future__ import annotations

from dataclasses import replace

from dlcodec.container import pack, unpack
from dlcodec.errors import DlcodecError
from dlcodec.info import describe
from dlcodec.limits import DEFAULT_LIMITS
from tests.forged import seal


def check(data: bytes) -> bool:
    """A file is refused by an error of ours, or says the same when it is packed anew; whether it is sound."""
    sound = False
    for file in (data, seal(data[:-4])):
        try:
            read = unpack(file, DEFAULT_LIMITS)
        except DlcodecError:
            continue
        again = unpack(pack(read.header, read.sections), DEFAULT_LIMITS)
        assert replace(again, version=read.version) == read
        info = describe(file)
        assert (info.width, info.height) == (read.header.width, read.header.height)
        assert info.payload_bytes == len(read.payload) <= len(file)
        sound = True
    return sound
