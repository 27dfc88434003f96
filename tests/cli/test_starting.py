"""What has to be settled before torch is imported."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from dlcodec.cli.starting import wait_briefly


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"GOMP_SPINCOUNT": "3000", "OPENBLAS_NUM_THREADS": "1"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7", "OPENBLAS_NUM_THREADS": "1"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active", "OPENBLAS_NUM_THREADS": "1"}),
        (
            {"OMP_WAIT_POLICY": "active", "OPENBLAS_NUM_THREADS": "2"},
            {"OMP_WAIT_POLICY": "active", "OPENBLAS_NUM_THREADS": "2"},
        ),
    ],
)
def test_threads_wait_briefly_unless_the_environment_says_how(before: dict[str, str], after: dict[str, str]) -> None:
    wait_briefly(before)
    assert before == after


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such option")
def test_memory_that_is_freed_is_used_again() -> None:
    code = (
        "import resource, numpy\n"
        "from dlcodec.cli.starting import reuse_memory\n"
        "reuse_memory()\n"
        "numpy.ones(2**23)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "numpy.ones(2**23)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 100  # of 16,384 pages


def test_a_command_says_so_before_it_imports_torch() -> None:
    code = (
        "import os, sys\n"
        "sys.addaudithook(lambda event, args: event == 'import' and args[0] == 'torch'"
        " and sys.exit(os.environ.get('GOMP_SPINCOUNT')))\n"
        "sys.argv = ['dlcodec', 'demo']\n"
        "from dlcodec.cli import main\n"
        "main()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert ended.stderr.strip() == "3000"
