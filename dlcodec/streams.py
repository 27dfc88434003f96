"""``-``: standard input and output in the place of files."""

from __future__ import annotations

import sys
from pathlib import Path

from dlcodec import files
from dlcodec.errors import InputError, LimitError, OutputError

STREAM = Path("-")
"""Standard input among the inputs, standard output among the outputs; a file of that name is an absolute path."""


def read_input(path: Path, most: int) -> bytes:
    """The bytes of a file or of standard input, at most ``most``; raises InputError or LimitError."""
    if path != STREAM:
        return files.read_bounded(path, most)
    if not sys.stdin:
        raise InputError("standard input is closed")
    if sys.stdin.isatty():
        raise InputError("standard input is a terminal; name a file, or send one in by < or a pipe")
    try:
        data = sys.stdin.buffer.read(most + 1)
    except OSError as error:
        raise InputError(f"cannot read standard input: {error.strerror or error}") from error
    if len(data) > most:
        raise LimitError(f"standard input is larger than the limit of {most} bytes")
    return data


def refuse_output(path: Path, *, force: bool) -> None:
    """As ``files.refuse_existing``; of standard output, raise OutputError where it is closed or a terminal."""
    if path != STREAM:
        files.refuse_existing(path, force=force)
    elif not sys.stdout:
        raise OutputError("standard output is closed")
    elif sys.stdout.isatty():
        raise OutputError("standard output is a terminal, which cannot take binary data; name a file, or use a pipe")


def write_output(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file as ``files.write_atomically`` does, or to standard output; raises OutputError."""
    if path != STREAM:
        files.write_atomically(path, data, force=force)
        return
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        sys.stdout = None  # else the interpreter tries, and fails, to flush it once more
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error
