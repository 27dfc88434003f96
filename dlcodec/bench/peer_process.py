"""Peers in a process of their own, which inherits settings of threads: ours keeps freed memory, and so would theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dlcodec.bench.children import environment
from dlcodec.bench.clock import time_run
from dlcodec.bench.peers import load_peer
from dlcodec.bench.subject import Subject
from dlcodec.checkpoint import read_metadata
from dlcodec.errors import DlcodecError, UsageError

_SERVE = "from dlcodec.bench.peer_process import serve; serve()"


class PeerProcess:
    """Runs the functions of peers on a subject, one at a time; a context manager.

    ``sizes`` are the bytes of the coded picture, by function. Raises UsageError for a peer that is unknown or not
    installed.
    """

    def __init__(self, names: Sequence[str], subject: Subject) -> None:
        command = [sys.executable, "-P", "-c", _SERVE]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
        told = {n: v for n, v in asdict(subject).items() if n not in ("rgb", "found")}
        asked = {**told, "path": str(subject.found.path), "shape": subject.rgb.shape, "peers": list(names)}
        answer = self._ask(json.dumps(asked).encode() + b"\n" + subject.rgb.tobytes())
        self.sizes: Mapping[str, int] = answer

    def run(self, function: str) -> tuple[float, float]:
        """Call a function once: elapsed and processor seconds."""
        seconds, processor = self._ask(function.encode() + b"\n")
        return seconds, processor

    def _ask(self, question: bytes) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(question)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        if not (line := self._process.stdout.readline()):
            raise DlcodecError("the process that runs the peers has ended")
        answer = json.loads(line)
        if isinstance(answer, str):
            raise UsageError(answer)
        return answer

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Answer the questions of a PeerProcess, one JSON line each, until they end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(value: object) -> None:
        print(json.dumps(value), file=answers, flush=True)

    asked = json.loads(sys.stdin.buffer.readline())
    names, shape, found = asked.pop("peers"), asked.pop("shape"), read_metadata(Path(asked.pop("path")))
    rgb = np.frombuffer(sys.stdin.buffer.read(int(np.prod(shape))), np.uint8).reshape(shape)
    try:
        peers = [load_peer(name, Subject(rgb=rgb, found=found, **asked)) for name in names]
    except UsageError as error:
        answer(str(error))
        return
    functions = {name: function for peer in peers for name, function in peer.functions.items()}
    answer({name: peer.bytes for peer in peers for name in peer.functions})
    for line in sys.stdin.buffer:
        answer(time_run(functions[line.decode().strip()]))
