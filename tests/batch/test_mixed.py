"""A folder of mixed pictures goes in and comes back: what cannot is named, and nothing is lost without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dlcodec
from dlcodec.errors import DlcodecError
from dlcodec.image import read_picture
from dlcodec.limits import DEFAULT_LIMITS
from tests.batch.mixed import KINDS, Case, mixed, of_kind, write
from tests.batch.pictures import Kept, Refused, Samples, huge

ROOT = Path(__file__).resolve().parents[2]
LEAST_PSNR = 26.0
"""In dB, at the default level and tau 1; the lowest, of 200 colours without dithering, had 27.1."""


@dataclass(frozen=True)
class Ran:
    """A command, as a process of its own: its exit code, its JSON lines by their input, its lines on stderr."""

    code: int
    lines: dict[str, dict[str, Any]]
    said: list[str]
    seconds: float


def run(here: Path, *arguments: str) -> Ran:
    begun = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-m", "dlcodec", *arguments, "--json"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=1800,
    )
    seconds = time.perf_counter() - begun
    lines = [json.loads(line) for line in ended.stdout.decode("ascii").split("\n")[:-1]]
    by_input = {line["input"]: line for line in lines}
    assert len(by_input) == len(lines)  # each input is told of once
    return Ran(ended.returncode, by_input, ended.stderr.decode().split("\n")[:-1], seconds)


def shown(name: bytes) -> str:
    """A path as the JSON has it."""
    return name.decode("utf-8", "backslashreplace")


def files_below(folder: Path) -> set[bytes]:
    return {
        os.fsencode(os.path.relpath(os.path.join(place, name), folder))
        for place, _, names in os.walk(folder)
        for name in names
    }


def check_account(
    ran: Ran,
    refused: dict[bytes, Refused],
    kept: dict[bytes, bytes],
    outputs: Path,
    *,
    skipped: bool = False,
    left_out: tuple[bytes, ...] = (),
) -> None:
    """Every input of a run has its output or its failure, by name, and the folder of outputs holds nothing else.

    ``refused`` are inputs as they are named on the command line; ``kept`` have their outputs, named likewise. With
    ``skipped``, the outputs were there before; ``left_out`` are told of as such.
    """
    assert set(ran.lines) == {shown(name) for name in (*refused, *kept, *left_out)}
    assert {name for name, line in ran.lines.items() if "left_out" in line} == set(map(shown, left_out))
    for name, output in kept.items():
        line = ran.lines[shown(name)]
        assert "error" not in line, line
        assert (line["output"], line["skipped"]) == (shown(output), skipped)
    for name, why in refused.items():
        line = ran.lines[shown(name)]
        assert set(line) == {"input", "output", "seconds", "error", "exit_code"}
        assert (line["output"], line["exit_code"]) == (None, why.code), line
        assert shown(name) in line["error"]
        assert why.sentence in line["error"]
    failures = [line for line in ran.lines.values() if "error" in line]
    assert ran.said[len(ran.said) - len(failures) :] == [f"dlcodec: {line['error']}" for line in failures]
    assert ran.code == failures[0]["exit_code"]
    assert {outputs.name.encode() + b"/" + name for name in files_below(outputs)} == set(kept.values())


def check_accompaniment(outcome: Kept, image: Image.Image) -> None:
    """All but the pixels: sides, grey or colour, alpha, and metadata."""
    image.load()
    assert image.size == outcome.pixels.shape[1::-1]
    assert image.mode == ("L" if outcome.pixels.ndim == 2 else "RGB") + ("" if outcome.alpha is None else "A")
    if outcome.alpha is not None:
        assert np.array_equal(np.asarray(image.getchannel("A")), outcome.alpha)
    exif = image.info.get("exif")
    assert (exif and exif.removeprefix(b"Exif\0\0")) == outcome.exif
    assert image.info.get("icc_profile") == outcome.icc
    assert image.info.get("xmp") == outcome.xmp


def psnr(outcome: Kept, samples: Samples) -> float:
    """Of the pixels that are not fully transparent, in dB."""
    squares = np.square(samples.astype(np.int32) - outcome.pixels)
    mean = squares.mean() if outcome.alpha is None else squares[outcome.alpha > 0].mean()
    return float(10 * np.log10(255**2 / max(mean, 1e-9)))


def opaque(image: Image.Image) -> Samples:
    return np.asarray(image.convert("L" if image.mode in ("L", "LA") else "RGB"))


def there_and_back(here: Path, cases: list[Case]) -> dict[bytes, Path]:
    """Encode and decode a folder of ``cases`` and hold every file against what becomes of it by the documentation.

    Gives the decoded file of each picture by its name.
    """
    write(here / "in", cases)
    for name in (".hidden.png", "notes.txt"):  # which folders leave out by documented rules
        (here / "in" / name).write_bytes(cases[0].data)
    pictures = {case.name: case.outcome for case in cases if isinstance(case.outcome, Kept)}
    dlc = {name: b"dlc/" + os.path.splitext(name)[0] + b".dlc" for name in pictures}
    refused = {b"in/" + case.name: case.outcome for case in cases if isinstance(case.outcome, Refused)}

    kept = {b"in/" + name: output for name, output in dlc.items()}
    encoded = run(here, "encode", "-r", "in", "--out-dir", "dlc")
    left_out = (b"in/notes.txt",)
    check_account(encoded, refused, kept, here / "dlc", left_out=left_out)
    again = run(here, "encode", "-r", "in", "--out-dir", "dlc", "--resume")
    check_account(again, refused, kept, here / "dlc", skipped=True, left_out=left_out)
    warnings = {b"in/" + name: outcome.warning for name, outcome in pictures.items() if outcome.warning}
    *warned, left = encoded.said[: -len(refused)]
    assert sorted(warned) == sorted(f"dlcodec: {shown(n)}{w}" for n, w in warnings.items())
    assert left == "dlcodec: 1 file left out: 1 by suffix (.txt)"
    for case in cases:  # originals are left alone
        assert (here / "in" / os.fsdecode(case.name)).read_bytes() == case.data
    assert len(files_below(here / "in")) == len(cases) + 2

    whole = (here / os.fsdecode(dlc[cases[0].name])).read_bytes()
    damaged = {"cut": whole[:-9], "empty": b"", "flipped": whole[:50] + bytes([whole[50] ^ 4]) + whole[51:]}
    for name, data in damaged.items():
        (here / "dlc" / f"{name}.dlc").write_bytes(data)
    unreadable = {f"dlc/{name}.dlc".encode(): Refused(4, "") for name in damaged}
    decoded = run(here, "decode", "-r", "dlc", "--out-dir", "png", "--tau", "1")
    png = {name: b"png/" + os.path.splitext(name)[0] + b".png" for name in pictures}
    check_account(decoded, unreadable, {dlc[name]: png[name] for name in pictures}, here / "png")
    assert len(decoded.said) == len(damaged)

    results = {}
    for name, outcome in pictures.items():
        results[name] = here / os.fsdecode(png[name])
        for line in (encoded.lines[shown(b"in/" + name)], decoded.lines[shown(dlc[name])]):
            assert (line["width"], line["height"]) == outcome.pixels.shape[1::-1]
        with Image.open(results[name]) as image:
            check_accompaniment(outcome, image)
    print(f"{len(cases)} files: {len(pictures)} written in {encoded.seconds:.0f} s, {len(refused)} refused by name;")
    print(f"{len(decoded.lines)} files: {len(results)} decoded in {decoded.seconds:.0f} s, {len(damaged)} refused;")
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_read_by_its_documented_rule_or_refused(kind: str) -> None:
    cases = of_kind(kind, 10)
    assert len(cases) == 10
    for case in cases:
        warnings: list[str] = []
        if isinstance(case.outcome, Refused):
            with pytest.raises(DlcodecError, match=case.outcome.sentence) as caught:
                read_picture(case.data, "it", DEFAULT_LIMITS)
            assert caught.value.exit_code == case.outcome.code
            continue
        picture = read_picture(case.data, "it", DEFAULT_LIMITS, warn=warnings.append)
        assert picture.extras.grey == (case.outcome.pixels.ndim == 2)
        samples = picture.rgb[..., 0] if picture.extras.grey else picture.rgb
        if case.outcome.peak is None:
            assert psnr(case.outcome, samples) > 35
        else:
            difference = np.abs(samples.astype(int) - case.outcome.pixels)
            seen = difference if case.outcome.alpha is None else difference[case.outcome.alpha > 0]
            assert seen.max(initial=0) <= case.outcome.peak, case.name
        assert warnings == [f"it{case.outcome.warning}"] * bool(case.outcome.warning)


def test_there_are_200_whose_outputs_have_names_of_their_own() -> None:
    assert len({os.path.splitext(case.name)[0] for case in mixed(10)}) == 200


def test_two_of_each_kind_come_back_or_are_named(tiny: Path, tmp_path: Path) -> None:
    cases = mixed(2)
    results = there_and_back(tmp_path, cases)
    for case in cases:  # the network of random weights shows no picture, but each its own
        if isinstance(case.outcome, Kept) and case.outcome.peak == 0 and case.outcome.alpha is None:
            with Image.open(results[case.name]) as image:
                expected = dlcodec.decode(dlcodec.encode(case.outcome.pixels), tau=1)
                assert np.abs(np.asarray(image).astype(int) - np.asarray(expected)).max() <= 1, case.name


@pytest.mark.slow
def test_200_mixed_pictures_and_a_huge_one_come_back_or_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the shipped weights."""
    monkeypatch.setenv("DLCODEC_WEIGHTS", "")
    cases = [*mixed(10), Case(b"huge.jpg", *huge())]
    outcomes = {case.name: case.outcome for case in cases}
    measured = {}
    for name, path in there_and_back(tmp_path, cases).items():
        outcome = outcomes[name]
        assert isinstance(outcome, Kept)
        with Image.open(path) as image:
            if outcome.photo:
                measured[name] = psnr(outcome, opaque(image))
    least = min(measured, key=measured.__getitem__)
    print(f"PSNR of {len(measured)} photographs at least {measured[least]:.1f} dB ({shown(least)}),")
    print(f"in the mean {np.mean(list(measured.values())):.1f} dB; huge.jpg {measured[b'huge.jpg']:.1f} dB")
    assert measured[least] >= LEAST_PSNR
