"""What the command line prints, on streams that may be closed or broken."""

from __future__ import annotations

import sys
from contextlib import suppress

from dlcodec.errors import OutputError


def say(text: str) -> None:
    """Tell a person; a script reads nothing it did not ask for. ``sys.stderr`` is None when it was closed."""
    if sys.stderr and sys.stderr.isatty():
        print(text, file=sys.stderr)


def complain(text: str) -> None:
    """One line on stderr, if there is one."""
    if sys.stderr:
        with suppress(OSError):
            print("dlcodec:", " ".join(text.split()), file=sys.stderr)


def show(text: str) -> None:
    """Data on stdout; raises OutputError when nobody takes it."""
    if not sys.stdout:
        raise OutputError("standard output is closed")
    try:
        print(text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding), flush=True)
    except OSError as error:
        sys.stdout = None  # else the interpreter tries, and fails, to flush it once more
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error
