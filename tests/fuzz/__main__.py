"""``python -m tests.fuzz container -max_total_time=600 FOLDER``: fuzz one target; needs atheris (extra ``fuzz``).

New inputs go into FOLDER; all arguments after the target's name are libFuzzer's.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import atheris

HERE = Path(__file__).parent
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"the target is one of {', '.join(TARGETS)}")
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["dlcodec", "PIL"]):
        target = import_module(f"tests.fuzz.fuzz_{name}")
        for path in sorted((HERE / "corpus" / name).iterdir()):  # what is imported on the way is instrumented too
            target.check(path.read_bytes())

    def run(data: bytes) -> None:
        target.check(data)

    atheris.Setup([*sys.argv, str(HERE / "corpus" / name)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
