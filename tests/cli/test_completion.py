"""The shell's completion."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
sys.argv[0] = "dlcodec"
from dlcodec.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""


@pytest.mark.parametrize(("words", "expected"), [("dlcodec en", "encode"), ("dlcodec models v", "verify")])
def test_commands_are_completed_without_torch(words: str, expected: str) -> None:
    place = str(len(words.split()) - 1)
    environment = {**os.environ, "_DLCODEC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place}
    result = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=60)
    assert (result.stdout.split(), result.stderr) == ([expected], "")
