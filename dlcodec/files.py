"""Bounded reads and atomic writes."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dlcodec.errors import InputError, LimitError, OutputError

_SYSTEM = re.compile(r"/dev/[^/]*|/proc/.*", re.DOTALL)
"""Where names are the system's own, whatever they lead to at the moment, as ``/dev/stdout`` does."""


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a file of at most ``most`` bytes.

    Raises InputError when it cannot be read and LimitError when it is larger.
    """
    try:
        with path.open("rb") as stream:
            # A read takes all the memory it is allowed at once; the size of a pipe is 0, and not known.
            size = os.fstat(stream.fileno()).st_size or most
            data = stream.read(min(size, most) + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > most:
        raise LimitError(f"{path} is larger than the limit of {most} bytes")
    return data


def _read_all(stream: BinaryIO, most: int) -> bytes:
    """Up to ``most`` bytes; a raw stream gives them piece by piece."""
    pieces = []
    while most > 0 and (piece := stream.read(most)):
        if not isinstance(piece, bytes):
            raise InputError("the stream gives text; open it in binary mode")
        pieces.append(piece)
        most -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def take_bytes(source: bytes | str | Path | BinaryIO, most: int) -> bytes:
    """The bytes of a file that is given as such, by its path or as a binary stream; raises InputError or LimitError."""
    if isinstance(source, str | Path):
        return read_bounded(Path(source), most)
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif hasattr(source, "read"):
        data = _read_all(source, most + 1)
    else:
        raise InputError(f"a file must be a path, bytes or a binary stream, not {type(source)}")
    if len(data) > most:
        raise LimitError(f"the file is larger than the limit of {most} bytes")
    return data


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise OutputError if ``path`` must not be written: it exists and ``force`` is off, or it is no plain file."""
    try:
        exists, folder, plain = os.path.lexists(path), path.is_dir(), path.is_file() or not path.exists()
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    if folder:
        raise OutputError(f"{path} is a folder; name a file")
    if not plain or _SYSTEM.fullmatch(place_of(path)):
        hint = "for standard output, encode and decode use -o -"
        raise OutputError(f"{path} is not a plain file; name another ({hint})")
    if exists and not force:
        raise OutputError(f"{path} exists; --force overwrites it")


def place_of(path: Path) -> str:
    """What tells two files apart before they are written: their folder without symbolic links, and their name."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def refuse_input(output: Path, source: Path) -> None:
    """Raise OutputError where writing ``output`` would replace ``source``, which nothing can force."""
    if place_of(output) == place_of(source):
        raise OutputError(f"{output} is an input itself; name another file")


def readable(name: str) -> str:
    """The name of a file as text that every encoding of Unicode takes: bytes that are not UTF-8 become ``\\xff``."""
    return name.encode("utf-8", sys.getfilesystemencodeerrors()).decode("utf-8", "backslashreplace")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where it is missing; raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {path}: {error.strerror or error}") from error


def write_atomically(path: Path, data: bytes, *, force: bool) -> None:
    """Write ``data`` to ``path`` so that at every moment the old file or the whole new one is there.

    Raises OutputError when it cannot be written, or without ``force`` exists by now; no temporary file is left.
    """
    write_together({path: data}, force=force)


def write_together(files: Mapping[Path, bytes], *, force: bool) -> None:
    """As ``write_atomically`` for several files: none is replaced, in their order, before all have been written."""
    # 48 characters are at most 192 bytes: a name of the longest 255 bytes still has a temporary one. The name is known
    # before the file is made, so that no signal can come between the two; 64 random bits belong to nobody else.
    temporary = {path: path.parent / f".{path.name[:48]}.{secrets.token_hex(8)}.tmp" for path in files}
    try:
        for path, data in files.items():
            with _telling(path), open(temporary[path], "xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        new: list[Path] = []
        try:
            for path in files:
                with _telling(path):
                    _publish(temporary[path], path, force=force)
                new.append(path)
        except BaseException:
            if not force:  # then they replaced nothing, and are parts of nothing
                for path in new:
                    with suppress(OSError):
                        path.unlink()
            raise
    finally:
        for each in temporary.values():
            with suppress(OSError):  # gone when all went well
                os.unlink(each)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _publish(temporary: Path, path: Path, *, force: bool) -> None:
    """Give a file its name; without ``force`` by a link, which unlike a renaming replaces nothing."""
    if not force:
        try:
            os.link(temporary, path)
            return
        except OSError:  # the name is taken, or the file system has no links
            refuse_existing(path, force=False)
    os.replace(temporary, path)
