"""One run at a time on a results folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlcodec.errors import OutputError, UsageError
from dlcodec.files import make_folder

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: two runs on one folder are the user's to avoid
    fcntl = None


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other runs out of ``folder``, which is made where it is missing, by a lock on its file ``.lock``.

    Raises UsageError when another run holds it, OutputError when the file cannot be made.
    """
    make_folder(folder)
    try:
        stream = (folder / ".lock").open("ab")
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror}") from error
    with stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(f"another run is writing into {folder}; wait for it or choose another") from error
            except OSError:
                pass  # a file system without locks
        yield
