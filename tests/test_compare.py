"""``dlcodec compare``: what is read, what is refused, and what the sheet shows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import dlcodec
from dlcodec import compare, limits, pipeline
from dlcodec.cli import app
from dlcodec.cli.options import parse_crop
from dlcodec.colour import apply_profile
from dlcodec.compare import PSNR, Measure, read_source, run_compare
from dlcodec.container import Container
from dlcodec.errors import CorruptFileError, DlcodecError, InputError, LimitError, OutputError, UsageError
from dlcodec.pipeline import decode_images
from dlcodec.sheet import Column
from tests.conftest import RGB
from tests.profiles import adobe_rgb, grey


@pytest.fixture
def folder(tmp_path: Path, tiny_file: bytes, photo: RGB) -> Path:
    """The picture of tiny_file as a.png, with a few changed pixels as b.png, and compressed as a.dlc."""
    rgb = photo[100:150, 200:270].copy()
    Image.fromarray(rgb).save(tmp_path / "a.png")
    rgb[40:44, 60:64] ^= 0x80
    Image.fromarray(rgb).save(tmp_path / "b.png")
    Image.fromarray(rgb[:, :60]).save(tmp_path / "small.png")
    (tmp_path / "a.dlc").write_bytes(tiny_file)
    return tmp_path


def _never() -> Sequence[Measure]:
    raise AssertionError


def _decode(file: Container, tau: float) -> RGB:
    return next(decode_images(file, (tau,)))


@pytest.fixture
def drawn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Column], str]]:
    """Compare files of the folder; gives the columns and the caption of the sheet."""

    def draw(*names: str, crop: str | None = None, zoom: int = 1) -> tuple[list[Column], str]:
        seen: list[tuple[list[Column], str]] = []
        whole = compare.draw_sheet
        monkeypatch.setattr(compare, "draw_sheet", lambda *each: seen.append(each) or whole(*each))
        window = None if crop is None else parse_crop(crop)
        paths = [str(folder / name) for name in names]
        run_compare(paths, folder / "o.png", _decode, lambda: [PSNR], crop=window, zoom=zoom, force=True)
        return seen[0]

    return draw


def test_labels_tell_name_bytes_rate_and_figures(folder: Path, drawn: Callable[..., tuple[list[Column], str]]) -> None:
    columns, caption = drawn("a.png", "b.png", "a.dlc@1")
    a, b, c = (column.label.splitlines() for column in columns)
    size = (folder / "a.png").stat().st_size
    assert a == ["a.png", f"{size} bytes, {8 * size / 3500:.3f} bpp", "reference"]
    assert (b[0], b[2]) == ("b.png", f"PSNR {10 * np.log10(255**2 / (128**2 * 16 / 3500)):.2f} dB")
    assert c[0] == "a.dlc, tau 1"
    assert c[1].startswith(f"{(folder / 'a.dlc').stat().st_size} bytes")
    assert caption == "70 x 50 pixels at 0,0. Figures are over all 70 x 50 pixels."


def test_the_crop_is_the_same_of_every_picture(
    folder: Path, tiny_file: bytes, drawn: Callable[..., tuple[list[Column], str]]
) -> None:
    columns, caption = drawn("a.png", "b.png", "a.dlc@0.5", crop="50,30,20,15", zoom=3)
    assert caption.startswith("20 x 15 pixels at 50,30, enlarged 3 times.")
    with Image.open(folder / "b.png") as b:
        expected = b.crop((50, 30, 70, 45)).resize((60, 45), Image.Resampling.NEAREST)
    assert columns[1].pictures[0].tobytes() == expected.tobytes()
    half = dlcodec.decode(tiny_file, tau=0.5).crop((50, 30, 70, 45)).resize((60, 45), Image.Resampling.NEAREST)
    assert columns[2].pictures[0].tobytes() == half.tobytes()


def test_a_file_without_a_tau_is_decoded_at_its_own(folder: Path) -> None:
    (folder / "hint.dlc").write_bytes(dlcodec.encode(folder / "a.png", tau_hint=0.5))
    assert read_source(str(folder / "hint.dlc")).tau == 0.5
    assert read_source(str(folder / "a.dlc")).tau == 0.0
    assert read_source(f"{folder / 'a.dlc'}@0.25").tau == 0.25


def test_a_picture_whose_name_has_an_at_is_itself(folder: Path) -> None:
    (folder / "a.png").rename(folder / "a@2.png")
    assert read_source(str(folder / "a@2.png")).name == "a@2.png"


def test_a_metric_that_needs_larger_pictures_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(compare, "_label", lambda *each, inner=compare._label: seen.append(inner(*each)) or seen[-1])
    measures = [PSNR, Measure("LARGE", "{}", 51, lambda *_: 1.0), Measure("FITS", "{}", 50, lambda *_: 2.0)]
    names = [str(folder / name) for name in ("a.png", "b.png")]
    run_compare(names, folder / "o.png", _decode, lambda: measures, crop=None, zoom=1, force=False)
    assert "FITS 2.0" in seen[1]
    assert "LARGE" not in seen[1]


@pytest.mark.parametrize(
    ("error", "match", "names", "output", "options"),
    [
        (InputError, "small.png is 60 x 50 pixels, but a.png is 70 x 50", ("a.png", "small.png"), "o.png", {}),
        (InputError, "a.png is 70 x 50 pixels, but small.png is 60 x 50", ("small.png", "a.png"), "o.png", {}),
        (InputError, "cannot read", ("a.png", "absent.png"), "o.png", {}),
        (InputError, "cannot read", ("a.png", "absent.dlc@0.5"), "o.png", {}),
        (InputError, "cannot read .*absent@2x.png", ("a.png", "absent@2x.png"), "o.png", {}),
        (InputError, "name too long", ("a" * 300, "a.png"), "o.png", {}),
        (CorruptFileError, "signature", ("a.png", "bad.dlc"), "o.png", {}),
        (UsageError, "at least two", ("a.png",), "o.png", {}),
        (UsageError, "outside 0 to 1", ("a.png", "a.dlc@1.5"), "o.png", {}),
        (UsageError, "not a number", ("a.png", "a.dlc@x"), "o.png", {}),
        (UsageError, "not a .dlc file", ("a.png", "b.png@0.5"), "o.png", {}),
        (UsageError, "must be a .png", ("a.png", "b.png"), "o.jpg", {}),
        (UsageError, "zoom 0", ("a.png", "b.png"), "o.png", {"zoom": 0}),
        (UsageError, "zoom 17", ("a.png", "b.png"), "o.png", {"zoom": 17}),
        (UsageError, "not inside 70 x 50", ("a.png", "b.png"), "o.png", {"crop": parse_crop("0,0,71,50")}),
        (UsageError, "not inside 70 x 50", ("a.png", "b.png"), "o.png", {"crop": parse_crop("0,1,70,50")}),
        (UsageError, "not inside 70 x 50", ("a.png", "b.png"), "o.png", {"crop": parse_crop("0,0,0,5")}),
        (UsageError, "not inside 70 x 50", ("a.png", "b.png"), "o.png", {"crop": parse_crop("-1,0,5,5")}),
        (OutputError, "--force", ("a.png", "b.png"), "a.png", {}),
        (OutputError, "is an input itself", ("a.png", "b.png"), "b.png", {"force": True}),
    ],
)
def test_what_is_refused_is_refused_before_metrics_are_loaded(
    folder: Path, error: type[DlcodecError], match: str, names: tuple[str, ...], output: str, options: dict[str, int]
) -> None:
    (folder / "bad.dlc").write_bytes(b"garbage")
    before = sorted(folder.iterdir())
    with pytest.raises(error, match=match):
        run_compare(
            [str(folder / name) for name in names],
            folder / output,
            _decode,
            _never,
            **{"crop": None, "zoom": 2, "force": False, **options},  # type: ignore[arg-type]
        )
    assert sorted(folder.iterdir()) == before


def test_a_sheet_over_the_limits_is_refused(folder: Path, photo: RGB) -> None:
    names = [str(folder / "large.png")] * 5
    Image.fromarray(np.tile(photo, (3, 3, 1))).save(folder / "large.png")
    with pytest.raises(LimitError, match="144000 x 19200"):
        run_compare(names, folder / "o.png", _decode, _never, crop=parse_crop("0,0,1800,1200"), zoom=16, force=False)


def test_a_sheet_over_the_limits_is_refused_before_it_is_decoded_without_a_crop_too(folder: Path) -> None:
    def decode(file: Container, tau: float) -> RGB:
        raise AssertionError

    names = [str(folder / "a.dlc")] * 59
    with pytest.raises(LimitError, match="66080 x 800"):
        run_compare(names, folder / "o.png", decode, _never, crop=None, zoom=16, force=False)


def test_the_command_line_moves_the_limit_of_pixels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def invoke(*options: str) -> tuple[int, str]:
        names = ("a.png", "a.dlc@0")
        command = ["compare", *(str(folder / name) for name in names), "-o", str(folder / "o.png"), "--force"]
        result = CliRunner().invoke(app, [*command, *options])
        return result.exit_code, str(result.exception)

    code, said = invoke("--max-pixels", "3499")
    assert (code, "70 x 50" in said) == (1, True)
    assert not (folder / "o.png").exists()
    lower = replace(limits.DEFAULT_LIMITS, pixels=3499)
    for module in (compare, limits):
        monkeypatch.setattr(module, "DEFAULT_LIMITS", lower)
    monkeypatch.setattr(pipeline.decode_images, "__defaults__", ("auto", lower))
    assert invoke()[0] == 1
    assert invoke("--crop", "0,0,9,9", "--zoom", "16", "--max-pixels", "50000")[0] == 0  # the sheet is 288 x 144
    assert (folder / "o.png").exists()


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="needs /dev/fd")
def test_a_pipe_is_read_once(folder: Path) -> None:
    data = (folder / "a.png").read_bytes()
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    source = read_source(f"/dev/fd/{reader}")
    os.close(reader)
    assert (source.file_bytes, source.size) == (len(data), (70, 50))
    with Image.open(folder / "a.png") as original:
        assert np.array_equal(source.contents, original)  # type: ignore[arg-type]


def test_a_picture_with_transparent_pixels_is_refused(folder: Path) -> None:
    Image.new("RGBA", (70, 50), (1, 2, 3, 4)).save(folder / "clear.png")
    with pytest.raises(InputError, match=r"clear\.png has transparent pixels"):
        read_source(str(folder / "clear.png"))


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1.5,0,5,5"])
def test_a_crop_is_four_whole_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="X,Y,W,H"):
        parse_crop(text)


def test_the_command_writes_a_sheet(folder: Path) -> None:
    arguments = ["compare", str(folder / "a.png"), str(folder / "a.dlc@1"), "-o", str(folder / "o.png")]
    result = CliRunner().invoke(app, [*arguments, "--crop", "0,0,30,20", "--zoom", "10", "--device", "cpu"])
    assert (result.exit_code, result.output) == (0, "")
    with Image.open(folder / "o.png") as sheet:
        assert sheet.width == 2 * 300 + 3 * 8
        assert np.asarray(sheet).std() > 0


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_with_a_profile_is_compared_as_it_is_seen(
    tiny: Path, tmp_path: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    original = Image.fromarray(photo[:40, :60]).convert(mode)
    original.save(tmp_path / "a.png", icc_profile=adobe_rgb() if mode == "RGB" else grey(1.0))
    (tmp_path / "a.dlc").write_bytes(dlcodec.encode(tmp_path / "a.png"))
    shown: list[RGB] = []
    monkeypatch.setattr(compare, "most_different", lambda first, rest: shown.extend(rest) or (slice(0, 9), slice(0, 9)))
    answer = CliRunner().invoke(
        app, ["compare", str(tmp_path / "a.png"), str(tmp_path / "a.dlc@1"), "-o", str(tmp_path / "o.png")]
    )
    assert answer.exit_code == 0, answer.output
    decoded = dlcodec.decode(tmp_path / "a.dlc", tau=1)
    seen, _ = apply_profile(decoded, decoded.info["icc_profile"], keep=False)
    assert np.array_equal(shown[0], seen.convert("RGB"))
    assert not np.array_equal(seen, decoded)
