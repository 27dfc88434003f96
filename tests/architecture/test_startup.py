"""Start-up: what answers at once answers without torch."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import dlcodec
from dlcodec import errors

SCRIPT = """
import sys
from dlcodec.cli import main
try:
    main()
except SystemExit as stop:
    print("\\n", stop.code, "torch" in sys.modules)
"""


def _run(*arguments: str) -> tuple[int, bool]:
    """The exit code of a command line in a child process, and whether it imported torch."""
    command = [sys.executable, "-c", SCRIPT, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    code, torch = result.stdout.split()[-2:]
    return int(code), torch == "True"


@pytest.fixture
def file(tmp_path: Path, tiny_file: bytes) -> Path:
    path = tmp_path / "a.dlc"
    path.write_bytes(tiny_file)
    return path


def test_importing_the_package_does_not_import_torch() -> None:
    script = "import sys, dlcodec; print(sorted({'torch', 'numpy', 'PIL', 'typer'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["encode", "--help"], 0),
        (["--version"], 0),
        ([], 2),
        (["nonsense"], 2),
        (["decode"], 2),
        (["decode", "IN", "-o", "OUT.gif"], 2),
        (["decode", "IN", "-o", "OUT.png", "--tau", "1.1"], 2),
        (["decode", "IN", "-o", "OUT.png", "--tau", "a"], 2),
        (["decode", "IN", "-o", "OUT.png", "--tau", "0.5,1"], 2),
        (["decode", "IN", "-o", "OUT.png", "--steps", "51"], 2),
        (["decode", "IN", "-o", "OUT.png", "--device", "tpu"], 2),
        (["decode", "IN", "-o", "OUT.png", "--crop", "0,0,71,1"], 2),
        (["decode", "IN", "-o", "OUT.png", "--crop", "0,0,7"], 2),
        (["decode", "IN", "-o", "OUT.png", "--scale", "1/3"], 2),
        (["decode", "IN", "-o", "OUT.png", "--max-pixels", "3499"], 6),
        (["decode", "IN", "-o", "OUT.png", "--max-memory", "0.2"], 6),
        (["encode", "IMAGE", "-o", "OUT.dlc", "--max-pixels", "3499"], 6),
        (["encode", "IMAGE", "-o", "OUT.dlc", "--max-memory", "0.2"], 6),
        (["info", "IN", "--max-pixels", "3499"], 6),
        (["decode", "absent", "-o", "OUT.png"], 3),
        (["decode", "GARBAGE", "-o", "OUT.png"], 4),
        (["encode", "GARBAGE", "-o", "OUT.dlc"], 3),
        (["encode", "GARBAGE", "-o", "OUT.dlc", "-q", "99"], 2),
        (["encode", "GARBAGE", "-o", "OUT.dlc", "-q", "3", "--target-bpp", "1"], 2),
        (["encode", "GARBAGE", "-o", "OUT.dlc", "--target-size", "40XB"], 2),
        (["encode", "GARBAGE", "-o", "OUT.dlc", "--target-size", "40KB"], 3),
        (["decode", "IN", "-o", "IN.png", "-f"], 8),
        (["encode", "IMAGE", "-o", "OUT.dlc", "--model", "absent"], 2),
        (["decode", "IN", "-o", "OUT.png", "--model", "absent"], 2),
        (["info", "IN", "--model", "absent"], 2),
        (["models", "import", "-o", "OUT.dlc"], 2),
        (["eval", "--help"], 0),
        (["eval"], 2),
        (["eval", "report", "absent", "-o", "OUT.html"], 3),
        (["explore", "IN", "-o", "OUT.png"], 2),
        (["explore", "IN", "-o", "OUT.html", "--tau", "1"], 2),
        (["explore", "GARBAGE", "-o", "OUT.html"], 4),
        (["explore", "IN", "-o", "OUT.html", "--original", "GARBAGE"], 3),
        (["compare", "IN", "-o", "OUT.png"], 2),
        (["compare", "IN", "GARBAGE", "-o", "OUT.png"], 3),
        (["info", "IN"], 0),
        (["info", "--json", "IN", "GARBAGE"], 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_needs_no_network_does_not_import_torch(
    file: Path, tmp_path: Path, arguments: list[str], code: int
) -> None:
    (tmp_path / "garbage").write_bytes(b"garbage " * 20)
    (tmp_path / "a.png").mkdir()
    Image.new("RGB", (70, 50)).save(tmp_path / "image.png")
    names = {"IN": file, "IMAGE": tmp_path / "image.png", "IN.png": tmp_path / "a.png", "GARBAGE": tmp_path / "garbage"}
    names |= {name: tmp_path / name for name in ("OUT.png", "OUT.dlc", "OUT.gif", "OUT.jpg", "OUT.html")}
    before = sorted(tmp_path.rglob("*"))
    assert _run(*(str(names.get(word, word)) for word in arguments)) == (code, False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_decode_does_import_torch(file: Path) -> None:
    assert _run("decode", str(file), "-o", str(file.with_suffix(".png"))) == (0, True)


def _times(arguments: list[str]) -> Iterator[float]:
    """Processor seconds, which a busy machine does not stretch as it does elapsed ones."""
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "dlcodec", *arguments], capture_output=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        yield after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_and_info_and_a_refusal_start_quickly(file: Path, tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"garbage " * 20)
    refused = ["decode", str(tmp_path / "garbage"), "-o", str(tmp_path / "b.png")]
    for arguments in (["--help"], ["info", str(file)], refused):
        assert min(_times(arguments)) <= 0.35


def test_the_public_names_are_these() -> None:
    assert dlcodec.__all__ == [
        "DlcodecError",
        "Info",
        "__version__",
        "decode",
        "decode_taus",
        "encode",
        "open_model",
        "read_info",
        "read_thumbnail",
    ]
    assert dlcodec.__all__ == sorted(dlcodec.__all__)
    assert all(hasattr(dlcodec, name) for name in dlcodec.__all__)


def test_every_error_has_an_exit_code_of_its_own() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    classes.remove(errors.NoFusionError)  # a WeightsError that callers may want to tell from others
    assert sorted(kind.exit_code for kind in classes) == list(range(1, 10))
    assert all(issubclass(kind, errors.DlcodecError) for kind in classes)
