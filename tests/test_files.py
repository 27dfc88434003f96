from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dlcodec import files
from dlcodec.errors import InputError, LimitError, OutputError
from dlcodec.files import read_bounded, refuse_existing, write_atomically, write_together


def test_the_whole_file_is_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"\x00new\r\n", force=True)
    assert (tmp_path / "a").read_bytes() == b"\x00new\r\n"
    assert os.listdir(tmp_path) == ["a"]


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old and longer")
    write_atomically(tmp_path / "a", b"new", force=True)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"", force=True)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_threads_that_write_at_once_leave_the_umask_as_it_was(tmp_path: Path) -> None:
    """Reading the umask means setting it: two threads that do so could leave it at 0, and files open to everybody."""
    old = os.umask(0o027)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: write_atomically(tmp_path / str(number), b"", force=True), range(400)))
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "SIGINT"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: BaseException
) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OutputError if isinstance(fault, OSError) else KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"new", force=True)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def _without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", refuse)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_came_to_be_after_the_check_is_kept_without_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        _without_links(monkeypatch)
    write_atomically(tmp_path / "a", b"first", force=False)
    with pytest.raises(OutputError, match="a exists; --force overwrites it"):
        write_atomically(tmp_path / "a", b"second", force=False)
    assert (tmp_path / "a").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a"]


def test_of_several_that_write_one_file_at_once_without_force_one_succeeds(tmp_path: Path) -> None:
    def write(number: int) -> int | None:
        try:
            write_atomically(tmp_path / "a", b"%d" % number, force=False)
        except OutputError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        (written,) = [number for number in pool.map(write, range(40)) if number is not None]
    assert (tmp_path / "a").read_bytes() == b"%d" % written


def test_of_several_files_none_is_left_where_one_came_to_be_without_force(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"another's")
    with pytest.raises(OutputError, match="b exists"):
        write_together({tmp_path / "a": b"mine", tmp_path / "b": b"mine"}, force=False)
    assert os.listdir(tmp_path) == ["b"]
    assert (tmp_path / "b").read_bytes() == b"another's"


def test_of_several_new_files_none_is_left_by_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link(source: Path, goal: Path) -> None:
        if goal.name == "b":
            raise KeyboardInterrupt
        real(source, goal)

    monkeypatch.setattr(files.os, "link", link)
    with pytest.raises(KeyboardInterrupt):
        write_together({tmp_path / "a": b"mine", tmp_path / "b": b"mine"}, force=False)
    assert os.listdir(tmp_path) == []


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the refusal is the one the system would give to others.
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "open", deny, raising=False)
    with pytest.raises(OutputError, match="Permission denied") as caught:
        write_atomically(tmp_path / "a", b"new", force=True)
    assert caught.value.exit_code == 8
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        write_atomically(tmp_path / "absent" / "a", b"new", force=True)
    assert os.listdir(tmp_path) == []


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError):
        write_atomically(tmp_path / "a", b"new", force=True)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_refused_as_output(tmp_path: Path, force: bool) -> None:
    with pytest.raises(OutputError, match="folder"):
        refuse_existing(tmp_path, force=force)


@pytest.mark.parametrize("force", [False, True])
def test_a_pipe_is_refused_as_output(tmp_path: Path, force: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="not a plain file"):
        refuse_existing(tmp_path / "pipe", force=force)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/{}", "/proc/self/fd/{}", "/dev/null", "/dev/new"])
def test_what_the_system_names_is_refused_as_output_even_where_it_is_a_file(
    tmp_path: Path, name: str, force: bool
) -> None:
    with (tmp_path / "a").open("wb") as stream, pytest.raises(OutputError, match="encode and decode use -o -"):
        refuse_existing(Path(name.format(stream.fileno())), force=force)


def test_a_link_to_nothing_needs_force(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("absent")
    with pytest.raises(OutputError, match="a exists; --force"):
        refuse_existing(tmp_path / "a", force=False)
    refuse_existing(tmp_path / "a", force=True)


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(OutputError, match="--force"):
        refuse_existing(tmp_path / "a", force=False)
    refuse_existing(tmp_path / "a", force=True)
    refuse_existing(tmp_path / "b", force=False)


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        refuse_existing(tmp_path / ("a" * 300), force=False)


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bounded(tmp_path / "a", 5) == b"12345"
    with pytest.raises(LimitError, match="limit of 4 bytes"):
        read_bounded(tmp_path / "a", 4)


def test_an_endless_device_is_refused() -> None:
    with pytest.raises(LimitError):
        read_bounded(Path("/dev/zero"), 1000)


@pytest.mark.parametrize("name", [".", "absent", "absent/deeper", "a" * 300])
def test_what_cannot_be_read_is_an_input_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_bounded(tmp_path / name, 10)
