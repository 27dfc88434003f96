"""The functions of the package as a user's script calls them."""

from __future__ import annotations

import inspect
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlcodec
import dlcodec.limits
from dlcodec import pipeline
from dlcodec.errors import CorruptFileError, DlcodecError, InputError, LimitError, UsageError, WeightsError

ROOT = Path(__file__).resolve().parent.parent


def test_several_taus_give_the_pictures_of_decode(tiny_file: bytes) -> None:
    taus = [1.0, 0.0, 0.5, 0.0]
    pictures = list(dlcodec.decode_taus(tiny_file, taus, steps=3, seed=5))
    assert len(pictures) == 4
    for tau, picture in zip(taus, pictures, strict=True):
        assert np.array_equal(picture, dlcodec.decode(tiny_file, tau=tau, steps=3, seed=5))


def test_several_taus_are_cropped_and_limited_as_one_is(tiny_file: bytes) -> None:
    part = (3, 4, 20, 10)
    pictures = list(dlcodec.decode_taus(tiny_file, (0, 1), crop=part))
    for tau, picture in zip((0, 1), pictures, strict=True):
        assert np.array_equal(picture, dlcodec.decode(tiny_file, tau=tau, crop=part))
    with pytest.raises(UsageError, match="not inside"):
        dlcodec.decode_taus(tiny_file, (1,), crop=(0, 0, 9999, 1))
    with pytest.raises(LimitError):
        dlcodec.decode_taus(tiny_file, (1,), max_pixels=10)


def test_several_taus_need_one_entropy_decode(tiny_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    inner = pipeline.decode_latent
    monkeypatch.setattr(pipeline, "decode_latent", lambda *each: calls.append(1) or inner(*each))
    assert len(list(dlcodec.decode_taus(tiny_file, (0, 0.5, 1)))) == 3
    assert len(calls) == 1
    assert list(dlcodec.decode_taus(tiny_file, ())) == []


@pytest.mark.parametrize(
    ("error", "taus", "steps", "seed"),
    [(UsageError, [0, 2], None, 0), (UsageError, [0], 0, 0), (UsageError, [0], None, -1)],
)
def test_a_wrong_argument_is_refused_before_a_picture_is_asked_for(
    tiny_file: bytes, error: type[DlcodecError], taus: list[float], steps: int | None, seed: int
) -> None:
    with pytest.raises(error, match="outside"):
        dlcodec.decode_taus(tiny_file, taus, steps=steps, seed=seed)


def test_a_damaged_file_is_refused_before_a_picture_is_asked_for(tiny_file: bytes) -> None:
    with pytest.raises(CorruptFileError):
        dlcodec.decode_taus(tiny_file[:-1], [0])


def test_every_public_function_has_a_docstring_that_names_its_errors() -> None:
    public = [getattr(dlcodec, name) for name in dlcodec.__all__]
    functions = [each for each in public if inspect.isfunction(each)]
    assert {dlcodec.encode, dlcodec.open_model, dlcodec.read_thumbnail} <= set(functions)
    for function in functions:
        text = inspect.getdoc(function) or ""
        assert "Raises " in text or "errors are" in text, function.__name__


def test_the_types_ship_with_the_package() -> None:
    assert (ROOT / "dlcodec" / "py.typed").is_file()
    assert 'packages = ["dlcodec"]' in (ROOT / "pyproject.toml").read_text()  # hatchling packs every file below it


SCRIPT = """
from collections.abc import Iterator

from PIL import Image

import dlcodec
import dlcodec.pillow

data: bytes = dlcodec.encode("photo.png", level=3.5, tau_hint=0.3)
picture: Image.Image = dlcodec.decode(data, tau=0.3, steps=5, seed=1, precision="fp32", device="cpu")
pictures: Iterator[Image.Image] = dlcodec.decode_taus(data, [0, 0.5, 1])
info: dlcodec.Info = dlcodec.read_info(data)
rate: float = info.bits_per_pixel
with Image.open("photo.dlc") as opened:
    assert isinstance(opened, dlcodec.pillow.DlcImageFile)
    opened.tau = 0.3
    tau: float | None = opened.tau
    seed: int = opened.seed
try:
    dlcodec.decode(b"")
except dlcodec.DlcodecError as error:
    code: int = error.exit_code
"""
WRONG = """
import dlcodec

dlcodec.encode("photo.png", level="high")
dlcodec.decode(b"", device="tpu")
dlcodec.no_such_name
"""


@pytest.mark.slow
@pytest.mark.parametrize(("script", "faults"), [(SCRIPT, 0), (WRONG, 3)])
def test_mypy_strict_knows_the_types(tmp_path: Path, script: str, faults: int) -> None:
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(tmp_path / "script.py")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert result.stdout.count("error:") == faults, result.stdout


def test_a_picture_can_be_a_path_an_array_or_a_pillow_image(tmp_path: Path, tiny: Path) -> None:
    image = Image.linear_gradient("L").convert("RGB").resize((40, 30))
    image.save(tmp_path / "a.png")
    forms: Iterator[bytes] = map(
        dlcodec.encode, (image, np.asarray(image), tmp_path / "a.png", str(tmp_path / "a.png"))
    )
    assert len(set(forms)) == 1


def test_a_file_is_given_as_bytes_path_or_stream(tiny_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.dlc"
    path.write_bytes(tiny_file)
    expected = dlcodec.decode(tiny_file, tau=1).tobytes()
    for source in (path, str(path), io.BytesIO(tiny_file), bytearray(tiny_file), memoryview(tiny_file)):
        assert dlcodec.decode(source, tau=1).tobytes() == expected
    assert [each.tobytes() for each in dlcodec.decode_taus(path, (tau for tau in (1, 1)))] == [expected] * 2
    assert dlcodec.read_info(path) == dlcodec.read_info(tiny_file)
    assert dlcodec.read_thumbnail(str(path)) is None
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe, ThreadPoolExecutor(1) as pool:
        whole = pool.submit(dlcodec.read_info, pipe)
        with open(writing, "wb", buffering=0) as feeder:
            for start in range(0, len(tiny_file), 100):
                feeder.write(tiny_file[start : start + 100])
        assert whole.result() == dlcodec.read_info(tiny_file)
    with pytest.raises(InputError, match="binary mode"):
        dlcodec.decode(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a path, bytes or a binary stream"):
        dlcodec.decode(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="binary mode"):
        dlcodec.read_info(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot read"):
        dlcodec.decode(tmp_path / "absent.dlc")


@pytest.mark.parametrize("read", [dlcodec.read_info, dlcodec.read_thumbnail, dlcodec.decode])
def test_every_reader_has_a_limit_of_pixels_that_can_be_moved(
    tiny: Path, read: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dlcodec.encode(Image.new("RGB", (70, 50)), thumbnail=16)
    with pytest.raises(LimitError, match="70 x 50"):
        read(data, max_pixels=3499)
    with pytest.raises(UsageError, match="max-pixels 0"):
        read(data, max_pixels=0)
    monkeypatch.setattr(dlcodec.limits, "DEFAULT_LIMITS", replace(dlcodec.limits.DEFAULT_LIMITS, pixels=3499))
    with pytest.raises(LimitError, match=r"70 x 50.*in Python max_pixels"):
        read(data)
    assert read(data, max_pixels=3500) is not None


@pytest.mark.parametrize("crop", [(0.0, 0, 8, 8), (0, 0, 8), "0123", None.__class__])
def test_a_crop_is_four_whole_numbers(tiny_file: bytes, crop: object) -> None:
    with pytest.raises(UsageError, match="four whole numbers"):
        dlcodec.decode(tiny_file, crop=crop)  # type: ignore[arg-type]


def test_a_model_is_opened_and_used(
    tiny: Path, tiny_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = dlcodec.open_model(device="cpu")
    assert (opened.path, opened.levels, opened.role) == (str(tiny), 3, "base")
    monkeypatch.delenv("DLCODEC_WEIGHTS")
    picture = Image.new("RGB", (20, 30), "teal")
    for model in (opened, tiny, str(tiny), tiny.parent):
        data = dlcodec.encode(picture, level=1, model=model)
        assert dlcodec.read_info(data).model_digest == opened.digest[:16]
        whole = dlcodec.decode(data, model=model)
        assert [each.tobytes() for each in dlcodec.decode_taus(data, [0.0], model=model)] == [whole.tobytes()]
    sized = dlcodec.encode(picture, target_bytes=len(data), model=opened)
    assert dlcodec.read_info(sized).model_digest == opened.digest[:16]
    with pytest.raises(WeightsError, match=opened.digest[:16]):
        dlcodec.decode(data)
    with pytest.raises(UsageError, match="neither a family"):
        dlcodec.open_model("nonsense")


def test_a_base_without_a_fusion_is_opened_and_a_damaged_one_is_not(without_fusion: Path, tmp_path: Path) -> None:
    assert dlcodec.open_model().role == "base"
    path = Path(dlcodec.open_model().path)
    damaged = tmp_path / "damaged.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(WeightsError):
        dlcodec.open_model(damaged)


def test_a_base_with_a_damaged_fusion_is_not_opened(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DLCODEC_WEIGHTS")
    shutil.copytree(tiny.parent, tmp_path / "copy")
    (fusion,) = (tmp_path / "copy").glob("fusion*.safetensors")
    fusion.write_bytes(fusion.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=f"{fusion.name} is truncated"):
        dlcodec.open_model(tmp_path / "copy")


def test_steps_and_seeds_that_are_no_whole_numbers_are_refused(tiny_file: bytes) -> None:
    """A seed of 0.9 once gave the picture of seed 0."""
    for given in ({"seed": 0.9}, {"steps": 2.5}, {"seed": "1"}):
        with pytest.raises(UsageError, match="not a whole number"):
            dlcodec.decode(tiny_file, tau=0, **given)  # type: ignore[arg-type]


def test_too_little_memory_is_refused_before_a_picture_is_asked_for(tiny_file: bytes) -> None:
    with pytest.raises(LimitError, match="GiB of memory"):
        dlcodec.decode_taus(tiny_file, [0], max_memory=0.5)
