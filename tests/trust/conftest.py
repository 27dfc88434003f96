from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import run as run
from tests.trust.children import Start


@pytest.fixture(scope="session")
def start(tiny_folder: Path) -> Start:
    """Starts ``target(*arguments)`` in a child with the tiny weights in memory, which takes milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.trust.preload", "tests.trust.children"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLCODEC_WEIGHTS", str(tiny_folder))
        patch.setenv("OMP_NUM_THREADS", "1")  # a process with threads of OpenMP cannot be forked
        multiprocessing.forkserver.ensure_running()

    def begin(target: Any, *arguments: Any, **options: Any) -> Any:
        child = context.Process(target=target, args=arguments, kwargs=options, daemon=True)
        child.start()
        return child

    return begin
