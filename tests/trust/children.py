"""What runs in children, and how a child ended."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dlcodec.cli import main
from dlcodec.errors import DlcodecError
from dlcodec.picture import RGB

Start = Callable[..., BaseProcess]
"""Starts ``target(*arguments)`` in a child that is forked from a warm process; see ``conftest.start``."""

WRONG = 77
"""The exit code of a child that made another picture than it should have."""

HANG = 120
"""Seconds after which a child counts as hanging, far beyond what a busy machine needs."""


@dataclass(frozen=True)
class Ended:
    """``code`` is the exit code, or the negative of the signal that killed the child; ``said`` its stderr."""

    code: int
    said: str


@dataclass(frozen=True)
class Spent:
    """Of one decode: how its process ended, as in ``Ended``, its processor seconds and highest resident memory."""

    code: int
    seconds: float
    mebibytes: float


def ended(child: BaseProcess, errors: Path) -> Ended:
    """Wait for a child; one that hangs is killed, and fails the test."""
    child.join(HANG)
    if child.is_alive():
        child.kill()
        child.join()
        raise AssertionError("the child hangs")
    assert child.exitcode is not None
    return Ended(child.exitcode, errors.read_text() if errors.exists() else "")


def spent_on(start: Start, files: list[bytes], tau: float, expected: RGB, errors: Path) -> tuple[list[Spent], str]:
    """What ``decode_each`` tells of the files, and what was said on stderr."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = start(decode_each, files, tau, expected, errors, sender)
    sender.close()
    spent: list[Spent] = receiver.recv()
    child.join()
    return spent, errors.read_text()


def say_into(errors: Path) -> None:
    """Send standard error of this process, also that of libraries in C and Rust, into a file."""
    handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(handle, 2)
    sys.stderr = os.fdopen(handle, "w")


def run_lines(lines: list[list[str]], errors: Path, *, for_ever: bool = False) -> None:
    """Run command lines one after the other, over and over until a signal comes; exits as the first that fails."""
    say_into(errors)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started with it ignored
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # those of nohup with this one
    try:
        while True:
            for line in lines:
                sys.argv = ["dlcodec", *line]
                try:
                    main()
                except SystemExit as stop:
                    if stop.code:
                        raise
            if not for_ever:
                return
    except KeyboardInterrupt:  # between two command lines
        sys.exit(130)


def run_into(output: Path, line: list[str], errors: Path) -> None:
    """Run a command line whose standard output is this file, pipe or device."""
    os.dup2(os.open(output, os.O_WRONLY), 1)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    run_lines([line], errors)


def run_with_files_of(most: int, line: list[str], errors: Path) -> None:
    """Run a command line that can write files of at most ``most`` bytes, as on a full disk."""
    errors.touch()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    run_lines([line], errors)


def run_without_privileges(line: list[str], errors: Path) -> None:
    """Run a command line as root without the right to write where modes forbid it, or as any other user."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")
    run_lines([line], errors)


def run_without_network(line: list[str], errors: Path) -> None:
    """Run a command line in which any use of a socket, a name server or a URL is an internal error."""

    def refuse(event: str, _: Any) -> None:
        if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "ssl.")):
            os.write(2, f"network: {event}\n".encode())  # whoever catches what follows
            raise RuntimeError(f"network: {event}")

    sys.addaudithook(refuse)
    run_lines([line], errors)


def decode_each(files: list[bytes], tau: float, expected: RGB, errors: Path, connection: Any) -> None:
    """Decode each file in a child of its own; sends how each ended and what it spent.

    A child exits as the command line does, and with ``WRONG`` where a picture differs from the one that is expected.
    """
    say_into(errors)
    spent = []
    for data in files:
        if (child := os.fork()) == 0:
            signal.alarm(HANG)
            try:
                os._exit(_decode(data, tau, expected))
            finally:
                traceback.print_exc()
                os._exit(1)
        _, status, used = os.wait4(child, 0)
        seconds = used.ru_utime + used.ru_stime
        spent.append(Spent(os.waitstatus_to_exitcode(status), seconds, used.ru_maxrss / 1024))
    connection.send(spent)


def _decode(data: bytes, tau: float, expected: RGB) -> int:
    from dlcodec.pipeline import decode_image

    try:
        picture = decode_image(data, tau)
    except DlcodecError as error:
        return error.exit_code
    height, width = (min(sides) for sides in zip(picture.shape[:2], expected.shape[:2], strict=True))
    return 0 if (picture[:height, :width] == expected[:height, :width]).all() else WRONG


def resident_mebibytes() -> float:
    """The resident memory of this process, in MiB."""
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
