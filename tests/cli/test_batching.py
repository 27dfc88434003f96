"""``encode`` and ``decode`` of many files, with the tiny weights."""

from __future__ import annotations

import gc
import json
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlcodec
from dlcodec import checkpoint, container, files, loading, pipeline, targeting
from dlcodec.cli import batching
from dlcodec.errors import InputError, OutputError
from tests.cli.conftest import Run
from tests.conftest import RGB

HOSTILE = [b"-o.png", b"two\nlines.png", b"\xff\xfe.png", b"x" * 251 + b".png", b"\x1b[2J.png", b"$(touch x).png"]


@pytest.fixture
def here(tmp_path: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three pictures below ``in``."""
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(("in/a.png", "in/b.png", "in/sub/c.png")):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo[:40, 50 * place : 50 * place + 30 + place]).save(name)
    return tmp_path


def below(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_tree_goes_there_and_back(here: Path, run: Run, jobs: str) -> None:
    encoded = run("encode", "-r", "in", "--out-dir", "dlc", "-q", "1", "--json", "--jobs", jobs)
    assert (encoded.code, encoded.err) == (0, "")
    assert below("dlc") == ["a.dlc", "b.dlc", "sub/c.dlc"]
    for line, name, width in zip(encoded.lines, ("a", "b", "sub/c"), (30, 31, 32), strict=True):
        size = Path(f"dlc/{name}.dlc").stat().st_size
        assert line.pop("seconds") > 0
        assert line.pop("bpp") == pytest.approx(8 * size / (40 * width), abs=1e-5)
        same = {
            "input": f"in/{name}.png",
            "output": f"dlc/{name}.dlc",
            "bytes": size,
            "width": width,
            "height": 40,
            "level": 1,
            "warning": None,
        }
        assert line == {**same, "skipped": False}
        with Image.open(f"in/{name}.png") as image:
            assert Path(f"dlc/{name}.dlc").read_bytes() == dlcodec.encode(image, level=1)
    decoded = run("decode", "dlc/**/*.dlc", "--out-dir", "png", "--tau", "1", "--json", "--jobs", jobs)
    assert (decoded.code, decoded.err) == (0, "")
    assert below("png") == ["a.png", "b.png", "sub/c.png"]
    assert [(line["tau"], line["width"]) for line in decoded.lines] == [(1, 30), (1, 31), (1, 32)]
    for name in ("a", "b", "sub/c"):
        with Image.open(f"png/{name}.png") as image:
            assert np.array_equal(image, dlcodec.decode(Path(f"dlc/{name}.dlc").read_bytes(), tau=1.0))


def test_the_checkpoint_is_loaded_once(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    real = checkpoint.load_arrays
    monkeypatch.setattr(checkpoint, "load_arrays", lambda found: loads.append(found) or real(found))
    loading._load_codec.cache_clear()
    assert run("encode", "-r", "in", "--out-dir", "dlc").code == 0
    assert len(loads) == 1


def test_a_decode_unpacks_its_file_once(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.dlc").write_bytes(dlcodec.encode(Path("in/a.png")))
    unpacked = []
    real = container.unpack
    monkeypatch.setattr(container, "unpack", lambda data, limits: unpacked.append(1) or real(data, limits))
    assert run("decode", "a.dlc", "-o", "a.png", "--tau", "1").code == 0
    dlcodec.decode(Path("a.dlc"), tau=1)
    assert len(unpacked) == 2


def test_a_list_names_the_inputs(here: Path, run: Run) -> None:
    Path("list.txt").write_text("in/sub/c.png\nin/a.png\n")
    result = run("encode", "@list.txt", "--out-dir", "dlc", "--json")
    assert [line["output"] for line in result.lines] == ["dlc/c.dlc", "dlc/a.dlc"]


def test_several_taus_give_several_files_each(here: Path, run: Run) -> None:
    run("encode", "in/a.png", "in/b.png", "--out-dir", "dlc")
    result = run("decode", "-r", "dlc", "--out-dir", "png", "--tau", "0,1", "--steps", "2", "--json")
    assert below("png") == ["a-0.png", "a-1.png", "b-0.png", "b-1.png"]
    assert [(line["input"], line["tau"]) for line in result.lines] == [
        *(("dlc/a.dlc", 0), ("dlc/a.dlc", 1), ("dlc/b.dlc", 0), ("dlc/b.dlc", 1))
    ]
    assert run("decode", "-r", "dlc", "--out-dir", "png", "--tau", "1,1.0").code == 2


def test_a_failure_is_told_at_the_end_and_the_rest_is_done(here: Path, run: Run) -> None:
    Path("in/a.png").write_bytes(b"garbage")
    Path("in/bb.png").write_bytes(b"")
    Path("dlc").mkdir()
    Path("dlc/absent.dlc").write_bytes(b"mine")
    result = run("encode", "-r", "in", "absent.png", "--out-dir", "dlc", "--json")
    assert result.code == 3
    assert below("dlc") == ["absent.dlc", "b.dlc", "sub/c.dlc"]
    assert result.err.splitlines() == [
        "dlcodec: cannot read in/a.png as an image: it is not in a known image format",
        "dlcodec: in/bb.png is empty",
        "dlcodec: absent.png: dlc/absent.dlc exists; --force overwrites it",
    ]
    assert [line.get("exit_code", 0) for line in result.lines] == [3, 0, 3, 0, 8]
    assert [line["output"] for line in result.lines] == [None, "dlc/b.dlc", None, "dlc/sub/c.dlc", None]
    assert "error" not in result.lines[1]
    assert result.lines[2]["error"] == "in/bb.png is empty"


def test_the_exit_code_is_that_of_the_first_failure(here: Path, run: Run) -> None:
    run("encode", "-r", "in", "--out-dir", "dlc")
    Path("dlc/a.dlc").write_bytes(Path("dlc/a.dlc").read_bytes()[:-1])
    Path("png/b.png").mkdir(parents=True)
    result = run("decode", "-r", "dlc", "--out-dir", "png", "--tau", "1")
    assert (result.code, result.out) == (4, "")
    assert [line.split(":")[1].strip() for line in result.err.splitlines()] == ["dlc/a.dlc", "dlc/b.dlc"]
    assert below("png") == ["sub/c.png"]


def test_a_bug_in_one_file_is_a_failure_of_that_file(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = files.write_atomically

    def write(path: Path, data: bytes, *, force: bool) -> None:
        if path.name == "b.dlc":
            raise ZeroDivisionError("a bug")
        real(path, data, force=force)

    monkeypatch.setattr(files, "write_atomically", write)
    result = run("encode", "-r", "in", "--out-dir", "dlc")
    said = "dlcodec: in/b.png: internal error (ZeroDivisionError: a bug); --debug shows where\n"
    assert (result.code, result.err) == (1, said)
    assert below("dlc") == ["a.dlc", "sub/c.dlc"]


@pytest.mark.parametrize("name", ["a", "10", "file"])
def test_a_failure_names_its_file_alone_or_among_others(here: Path, run: Run, name: str) -> None:
    Path("whole.dlc").write_bytes(dlcodec.encode(Path("in/a.png")))
    Path(name).write_bytes(Path("whole.dlc").read_bytes()[:10])
    said = f"dlcodec: {name}: the file is truncated: 10 bytes\n"
    assert run("decode", name, "-o", "x.png").err == said
    assert run("decode", name, "whole.dlc", "--out-dir", "png", "--tau", "1").err == said


def test_an_empty_out_dir_is_not_the_working_folder(here: Path, run: Run) -> None:
    before = below(".")
    refused = run("encode", "-r", "in", "--out-dir", "")
    assert (refused.code, refused.err.count("--out-dir"), below(".")) == (2, 1, before)


def test_an_unreadable_folder_is_told_at_the_end_and_the_rest_is_done(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(folder: Path) -> object:
        if str(folder) == "in/sub":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    for inputs, out in ((["-r", "in"], "folder"), (["in/**/*.png"], "pattern")):
        result = run("encode", *inputs, "--out-dir", out, "--json", "-q", "0")
        assert (result.code, result.err) == (3, "dlcodec: cannot read in/sub: Permission denied\n")
        assert [line.get("exit_code", 0) for line in result.lines] == [0, 0, 3]
        assert set(os.listdir(out)) == {"a.dlc", "b.dlc"}


def test_two_inputs_on_one_output_fail_and_the_others_go_on(here: Path, run: Run) -> None:
    Image.open("in/a.png").save("in/a.bmp")
    result = run("encode", "-r", "in", "--out-dir", "dlc", "--json", "-q", "0")
    assert (result.code, result.err.count("\n")) == (8, 2)
    failed = [line["input"] for line in result.lines if line.get("exit_code") == 8]
    assert failed == ["in/a.bmp", "in/a.png"]
    assert below("dlc") == ["b.dlc", "sub/c.dlc"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "in/a.png"],
        ["encode", "in", "--out-dir", "x"],
        ["encode", "in/a.png", "in/b.png", "-o", "x.dlc"],
        ["encode", "in/a.png", "-o", "x.dlc", "--out-dir", "x"],
        ["encode", "in/a.png", "-o", "-", "--json"],
        ["encode", "-", "-o", "x.dlc", "--resume"],
        ["encode", "-", "--out-dir", "x"],
        ["--quiet", "--verbose", "encode", "in/a.png", "-o", "x.dlc"],
        ["encode", "in/a.png", "-o", "x.dlc", "--jobs", "0"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_code_2(here: Path, run: Run, arguments: list[str]) -> None:
    before = below(".")
    assert run(*arguments).code == 2
    assert below(".") == before


def test_hostile_names_go_there_and_back(here: Path, run: Run) -> None:
    odd = here / "odd"
    odd.mkdir()
    picture = Path("in/a.png").read_bytes()
    for name in HOSTILE:
        Path(os.fsdecode(os.fsencode(odd) + b"/" + name)).write_bytes(picture)
    encoded = run("encode", "-r", "odd", "--out-dir", "dlc", "--json")
    assert (encoded.code, encoded.err, len(encoded.lines)) == (0, "", len(HOSTILE))
    assert "odd/\\xff\\xfe.png" in {line["input"] for line in encoded.lines}
    decoded = run("decode", "-r", "dlc", "--out-dir", "png", "--tau", "1", "--json")
    assert (decoded.code, decoded.err) == (0, "")
    assert sorted(os.listdir(b"png")) == sorted(HOSTILE)
    assert not (here / "x").exists()


def test_an_output_name_that_is_too_long_is_one_line(here: Path, run: Run) -> None:
    long = "x" * 255
    Path(long).write_bytes(Path("in/a.png").read_bytes())
    result = run("encode", long, "in/b.png", "--out-dir", "dlc", "--json")
    assert (result.code, result.err.count("\n")) == (8, 1)
    assert "too long" in result.err
    assert below("dlc") == ["b.dlc"]
    run("encode", "in/a.png", "-o", "y" * 251 + ".dlc")
    assert run("decode", "y" * 251 + ".dlc", "in/../dlc/b.dlc", "--out-dir", "png", "--tau", "0.25,1").code == 8
    assert below("png") == ["b-0.25.png", "b-1.png"]


def test_a_failing_hostile_name_is_one_line_that_no_terminal_obeys(here: Path, run: Run) -> None:
    names = [b"\x1b[2J\xff.png", b"two\nlines.png"]
    for name in names:
        Path(os.fsdecode(b"in/" + name)).write_bytes(b"garbage")
    result = run("encode", "-r", "in", "--out-dir", "dlc")
    assert (result.code, result.err.count("\n")) == (3, 2)
    assert "\x1b" not in result.err
    assert "\\x1b[2J\\xff.png" in result.err
    assert "two lines.png" in result.err


def test_info_shows_no_name_that_a_terminal_obeys(here: Path, run: Run) -> None:
    data = dlcodec.encode(Path("in/a.png"))
    names = [os.fsdecode(name) for name in (b"\x1b[2J\xff.dlc", b"a\nfamily          forged.dlc")]
    for name in names:
        Path(name).write_bytes(data)
    shown = run("info", *names)
    assert (shown.code, shown.err) == (0, "")
    assert [line.split(maxsplit=1)[1] for line in shown.out.splitlines() if line.startswith("file  ")] == [
        "\\x1b[2J\\xff.dlc",
        "a family forged.dlc",
    ]
    assert "\x1b" not in shown.out
    assert sum(line.startswith("family") for line in shown.out.splitlines()) == 2
    listed = json.loads(run("info", "--json", *names).out)
    assert [entry["file"] for entry in listed] == ["\x1b[2J\\xff.dlc", names[1]]


def test_resume_skips_what_is_complete_and_matches(here: Path, run: Run) -> None:
    arguments = ["encode", "-r", "in", "--out-dir", "dlc", "--resume", "--json", "-q", "1.5"]
    assert [line["skipped"] for line in run(*arguments).lines] == [False] * 3
    first = {name: Path("dlc", name).stat().st_mtime_ns for name in below("dlc")}
    Path("dlc/b.dlc").unlink()
    again = run(*arguments)
    assert [line["skipped"] for line in again.lines] == [True, False, True]
    assert [line["bytes"] for line in again.lines] == [Path("dlc", name).stat().st_size for name in below("dlc")]
    assert {name for name in first if Path("dlc", name).stat().st_mtime_ns != first[name]} == {"b.dlc"}


def test_a_file_over_a_smaller_target_is_not_done(here: Path, run: Run) -> None:
    arguments = ["encode", "-r", "in", "--out-dir", "dlc", "--resume", "--json", "--target-size"]
    made = run(*arguments, "300").lines
    assert [line["skipped"] for line in run(*arguments, "300").lines] == [True] * 3
    largest = max(line["bytes"] for line in made)
    smaller = run(*arguments, str(largest - 1))
    assert smaller.code == 8
    assert sum("error" in line for line in smaller.lines) == sum(line["bytes"] == largest for line in made)
    refused = run("encode", "-r", "in", "--out-dir", "dlc", "--resume", "--target-psnr", "15")
    assert (refused.code, "PSNR" in refused.err) == (2, True)


def test_a_target_out_of_reach_is_told_in_json_and_done_when_resumed(here: Path, run: Run) -> None:
    arguments = ["encode", "-r", "in", "--out-dir", "dlc", "--resume", "--json", "--target-size", "50"]
    made, again = run(*arguments), run(*arguments)
    assert (made.code, again.code) == (0, 0)
    assert again.err.count("warning: the target 50 bytes is out of reach") == 3
    assert [line["skipped"] for line in again.lines] == [True] * 3
    for line in made.lines + again.lines:
        assert (line["level"], "out of reach" in line["warning"]) == (0, True)
    assert {line["warning"] for line in run(*arguments[:-1], "300", "--force").lines} == {None}
    assert run(*arguments, "--strict").code == 8


def test_resume_heeds_strip_and_thumbnail(here: Path, run: Run, photo: RGB) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    Image.fromarray(photo[:40, :30]).save("in/a.png", exif=exif)

    def resumed(*options: str) -> list[bool]:
        forced = run("encode", "-r", "in", "--out-dir", "dlc", "--resume", "--force", "--json", *options)
        assert (forced.code, forced.err) == (0, "")
        return [line["skipped"] for line in forced.lines]

    assert resumed() == [False] * 3
    assert resumed("--strip") == [False, True, True]
    assert resumed() == [True] * 3  # the file does not tell
    for options in (["--thumbnail", "16"], ["--thumbnail", "32"], []):
        assert resumed(*options) == [False] * 3
        assert resumed(*options) == [True] * 3
    resumed("--thumbnail", "64")  # more than the picture has
    assert resumed("--thumbnail", "64") == [True] * 3


def test_resume_makes_again_what_is_damaged_only_by_force(here: Path, run: Run) -> None:
    arguments = ["encode", "-r", "in", "--out-dir", "dlc", "--resume", "--json"]
    run(*arguments)
    whole = Path("dlc/a.dlc").read_bytes()
    Path("dlc/a.dlc").write_bytes(whole[:-1])
    assert run(*arguments).code == 8
    forced = run(*arguments, "--force")
    assert [line["skipped"] for line in forced.lines] == [False, True, True]
    assert Path("dlc/a.dlc").read_bytes() == whole


def test_a_resumed_decode_skips_whole_pictures_that_are_not_older(here: Path, run: Run) -> None:
    run("encode", "-r", "in", "--out-dir", "dlc")
    arguments = ["decode", "-r", "dlc", "--out-dir", "png", "--tau", "1", "--resume", "--force", "--json"]
    run(*arguments)
    assert [line["skipped"] for line in run(*arguments).lines] == [True] * 3
    cut = Path("png/a.png")
    cut.write_bytes(cut.read_bytes()[:-20])
    os.utime("dlc/b.dlc")
    os.utime("dlc/b.dlc", ns=(0, Path("png/b.png").stat().st_mtime_ns + 1))
    assert [line["skipped"] for line in run(*arguments).lines] == [False, False, True]


def test_a_resumed_decode_makes_the_taus_that_are_missing(here: Path, run: Run) -> None:
    run("encode", "in/a.png", "in/b.png", "--out-dir", "dlc")
    arguments = ["decode", "-r", "dlc", "--out-dir", "png", "--tau", "0.5,1", "--steps", "2", "--resume", "--json"]
    run(*arguments)
    whole = {name: Path("png", name).read_bytes() for name in below("png")}
    for gone in ("png/a-1.png", "png/b-0.5.png"):
        Path(gone).unlink()
        again = run(*arguments)
        assert (again.code, again.err) == (0, "")
        assert {line["output"] for line in again.lines if not line["skipped"]} == {gone}
        assert len(again.lines) == 4
    assert {name: Path("png", name).read_bytes() for name in below("png")} == whole


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_leaves_whole_files_only(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch, jobs: str) -> None:
    real = pipeline.encode_image

    def encode(rgb: RGB, *arguments: object, **options: object) -> bytes:
        if rgb.shape[1] == 32:
            raise KeyboardInterrupt
        return real(rgb, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(targeting, "encode_image", encode)
    assert run("encode", "-r", "in", "--out-dir", "dlc", "--jobs", jobs).code == 130
    assert below("dlc") in (["a.dlc"], ["a.dlc", "b.dlc"])
    for name in below("dlc"):
        dlcodec.read_info(Path("dlc", name).read_bytes())


@pytest.mark.parametrize(("end", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143), (OutputError("x"), 8)])
def test_failures_are_told_at_a_sudden_end_too(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch, end: BaseException, code: int
) -> None:
    def show(text: str) -> None:
        if "b.dlc" in text:
            raise end

    monkeypatch.setattr(batching, "show", show)
    Path("in/a.png").write_bytes(b"garbage")
    result = run("encode", "-r", "in", "--out-dir", "dlc", "--json", "-q", "0")
    assert result.code == code
    assert "dlcodec: cannot read in/a.png as an image: it is not in a known image format" in result.err.splitlines()


def test_files_left_out_of_a_folder_are_counted_at_the_end_in_a_script_too(here: Path, run: Run) -> None:
    for name in ("in/b.psd", "in/sub/notes.TXT", "in/.hidden.png", "in/bad.png"):
        Path(name).write_bytes(b"garbage")
    Path("in/link.png").symlink_to("/etc/hostname")
    arguments = ["encode", "-r", "in", "--out-dir", "dlc", "-q", "0", "--json"]
    result = run(*arguments)
    left, failed = result.err.splitlines()
    assert left == "dlcodec: 3 files left out: 2 by suffix (.psd, .txt), 1 as links out of their folder"
    assert (result.code, failed.startswith("dlcodec: cannot read in/bad.png")) == (3, True)
    assert len(result.lines) == 7
    assert {line["input"]: line["left_out"] for line in result.lines if "left_out" in line} == {
        "in/b.psd": "suffix",
        "in/link.png": "link",
        "in/sub/notes.TXT": "suffix",
    }
    assert set(result.lines[-1]) == {"input", "output", "left_out"}
    quiet = run("--quiet", *arguments, "--resume")
    assert quiet.err.splitlines() == [failed]
    assert [line for line in quiet.lines if "left_out" in line] == result.lines[-3:]
    Path("in/bad.png").unlink()
    assert run(*arguments, "--resume").code == 0


def test_what_failed_keeps_no_picture_in_memory(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[RGB]] = []
    counts: list[int] = []

    def fail(rgb: RGB, *_: object, **__: object) -> bytes:
        gc.collect()
        counts.append(sum(each() is not None for each in alive))
        alive.append(weakref.ref(rgb))
        try:
            raise KeyError
        except KeyError as error:
            raise InputError("no") from error

    monkeypatch.setattr(targeting, "encode_image", fail)
    for place in range(6):
        Image.new("RGB", (9, 9), (place, 0, 0)).save(f"in/x{place}.png")
    assert run("encode", "-r", "in", "--out-dir", "dlc", "--jobs", "1").code == 3
    assert counts == [0] * 9
