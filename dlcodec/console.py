"""What the command line prints, on streams that may be closed or broken.

``--quiet`` leaves errors only, ``--verbose`` adds stages and their seconds. Colour is rich's and typer's alone, which
leave it out where ``NO_COLOR`` is set.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import IntEnum

from dlcodec.errors import OutputError


class Volume(IntEnum):
    """How much is told on standard error."""

    quiet = 0
    normal = 1
    verbose = 2


volume: ContextVar[Volume] = ContextVar("volume", default=Volume.normal)
"""Set once a run, by the command line; threads that are started have the default."""


def printable(text: str) -> str:
    """The text in one line that no terminal takes for a command: control characters and odd bytes become escapes."""
    line = " ".join(text.split())
    try:
        line = line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte of a file's name
        line = line.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def on_terminal() -> bool:
    """Whether a person looks at standard error and wants to be told. ``sys.stderr`` is None when it was closed."""
    return bool(sys.stderr and sys.stderr.isatty() and volume.get() > Volume.quiet)


def say(text: str) -> None:
    """Tell a person; a script reads nothing it did not ask for."""
    if on_terminal():
        _to_stderr(printable(text))


def detail(text: str) -> None:
    """One line on stderr for ``--verbose``, terminal or not."""
    if volume.get() >= Volume.verbose:
        _to_stderr(printable(text))


@contextmanager
def stage(name: str) -> Iterator[None]:
    """With ``--verbose``, say how many seconds the block took."""
    begun = time.perf_counter()
    yield
    detail(f"{name}: {time.perf_counter() - begun:.3f} s")


def remark(text: str) -> None:
    """One line on stderr, terminal or not, that ``--quiet`` spares."""
    if volume.get() > Volume.quiet:
        complain(text)


def complain(text: str) -> None:
    """One line on stderr, if there is one."""
    _to_stderr(f"dlcodec: {printable(text)}")


def _to_stderr(line: str) -> None:
    if sys.stderr:
        with suppress(OSError):
            print(line, file=sys.stderr)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table: columns aligned at the right, but for the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        yield "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]).rstrip()


def show(text: str) -> None:
    """Data on stdout; raises OutputError when nobody takes it."""
    if not sys.stdout:
        raise OutputError("standard output is closed")
    try:
        print(text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding), flush=True)
    except OSError as error:
        sys.stdout = None  # else the interpreter tries, and fails, to flush it once more
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error
