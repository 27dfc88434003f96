"""Which files a command line names, hostile folders among them."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path

import pytest

from dlcodec.batch.gather import Reason, Source, describe_left_out, gather
from dlcodec.errors import InputError, UsageError
from dlcodec.streams import STREAM

PNG = frozenset({".png"})


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures by name alone, and one hidden, one of another kind, one outside."""
    for name in (
        "in/b.png",
        "in/a.PNG",
        "in/sub/deep/c.png",
        "in/notes.txt",
        "in/.hidden.png",
        "in/.git/x.png",
        "out.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*inputs: str, recursive: bool = False) -> list[str]:
    return [str(source.path) for source in gather(inputs, PNG, recursive=recursive, leave=lambda path, reason: None)]


def test_a_folder_gives_its_pictures_sorted_and_nothing_hidden(tree: Path) -> None:
    assert names("in", recursive=True) == ["in/a.PNG", "in/b.png", "in/sub/deep/c.png"]
    found = gather(["in"], PNG, recursive=True, leave=lambda path, reason: None)
    assert found[2] == Source(Path("in/sub/deep/c.png"), Path("sub/deep/c.png"))


def test_a_folder_needs_the_option(tree: Path) -> None:
    with pytest.raises(UsageError, match="-r"):
        names("in")


def test_the_order_of_the_inputs_is_kept(tree: Path) -> None:
    assert names("out.png", "in/b.png", "in/a.PNG") == ["out.png", "in/b.png", "in/a.PNG"]


def test_a_pattern_is_expanded_below_its_fixed_part(tree: Path) -> None:
    assert names("in/*.png") == ["in/b.png"]
    assert names("in/**/*.png") == ["in/b.png", "in/sub/deep/c.png"]
    assert names("in/[ab].*") == ["in/a.PNG", "in/b.png"]
    (source,) = gather(["in/s*/**/*.png"], PNG, recursive=False, leave=lambda path, reason: None)
    assert source.relative == Path("sub/deep/c.png")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree: Path) -> None:
    (tree / "x[1].png").touch()
    assert names("x[1].png") == ["x[1].png"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("in/*.gif", InputError), ("in/**x", UsageError), ("in/*/../b.png", UsageError), ("", UsageError)],
)
def test_a_pattern_without_a_match_is_refused(tree: Path, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        names(text)


def test_an_empty_folder_and_an_empty_list_are_refused(tree: Path) -> None:
    (tree / "empty").mkdir()
    (tree / "empty.txt").touch()
    for text in ("empty", "@empty.txt"):
        with pytest.raises(InputError, match="no input files"):
            names(text, recursive=True)


def test_a_list_has_one_path_a_line(tree: Path) -> None:
    (tree / "list.txt").write_bytes(b"in/b.png\r\n\nout.png\nin/sub")
    assert names("@list.txt", recursive=True) == ["in/b.png", "out.png", "in/sub/deep/c.png"]
    with pytest.raises(InputError, match="cannot read"):
        names("@absent.txt")
    (tree / "list.txt").write_bytes(b"a\0b")
    with pytest.raises(InputError, match="zero byte"):
        names("@list.txt")


def test_a_list_may_come_from_standard_input(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"out.png\n")))
    assert names("@-") == ["out.png"]


def test_a_dash_is_standard_input_and_a_file_of_that_name_is_a_file(tree: Path) -> None:
    (tree / "-").touch()
    assert names("-") == [str(STREAM)]
    assert names("./-") == [str(tree / "-")]


def test_links_are_followed_only_to_files_inside(tree: Path) -> None:
    (tree / "in" / "out.png").symlink_to(tree / "out.png")
    (tree / "in" / "up").symlink_to(tree, target_is_directory=True)
    (tree / "in" / "loop").symlink_to(tree / "in", target_is_directory=True)
    (tree / "in" / "broken.png").symlink_to(tree / "in" / "nothing")
    (tree / "in" / "inside.png").symlink_to("b.png")
    left: dict[Path, Reason] = {}
    found = [str(s.path) for s in gather(["in"], PNG, recursive=True, leave=left.__setitem__)]
    assert found == ["in/a.PNG", "in/b.png", "in/inside.png", "in/sub/deep/c.png"]
    assert [str(path) for path, reason in left.items() if reason == "link"] == ["in/out.png", "in/up"]
    assert names("in/**/*.png") == ["in/b.png", "in/inside.png", "in/sub/deep/c.png"]
    assert names("in/out.png") == ["in/out.png"]  # named by the user


def test_what_is_left_out_of_a_folder_is_given_with_its_reason_unless_it_is_named_besides(tree: Path) -> None:
    for name in ("a.psd", "b.PSD", "bare", "named.txt"):
        (tree / "in" / name).touch()
    (tree / "in" / "broken.png").symlink_to("nothing")
    (tree / "in" / "out.png").symlink_to(tree / "out.png")
    (tree / "in" / "loop").symlink_to(tree / "in", target_is_directory=True)
    left: dict[Path, Reason] = {}
    gather(["in", "./in/named.txt"], PNG, recursive=True, leave=left.__setitem__)
    assert {path.name: reason for path, reason in left.items()} == {
        **dict.fromkeys(("a.psd", "b.PSD", "bare", "notes.txt"), "suffix"),
        "broken.png": "kind",
        "out.png": "link",
    }
    assert describe_left_out(left) == (
        "6 files left out: 4 by suffix (.psd, none, .txt), 1 as links out of their folder, 1 as no plain files"
    )
    many: dict[Path, Reason] = {Path(f"x.{number}"): "suffix" for number in range(9)}
    assert describe_left_out(many).endswith("(.0, .1, .2, .3, .4, .5, .6, .7, ...)")


def test_where_everything_is_left_out_the_refusal_says_why(tree: Path) -> None:
    (tree / "in" / "sub" / "deep" / "c.png").rename(tree / "in" / "sub" / "deep" / "c.txt")
    with pytest.raises(InputError, match=r"no input files there .*; 1 file left out: 1 by suffix \(\.txt\)"):
        names("in/sub", recursive=True)


def test_a_pipe_in_a_folder_is_not_waited_for(tree: Path) -> None:
    os.mkfifo(tree / "in" / "pipe.png")
    assert "in/pipe.png" not in names("in", recursive=True)


def test_odd_names_come_through_as_they_are(tree: Path) -> None:
    odd = [b"-o.png", b"two\nlines.png", b"\xff\xfe.png", b"x" * 251 + b".png", b"$(touch x).png", b" .png"]
    (tree / "odd").mkdir()
    for name in odd:
        Path(os.fsdecode(os.fsencode(tree / "odd") + b"/" + name)).touch()
    assert [os.fsencode(Path(name).name) for name in names("odd", recursive=True)] == sorted(odd)


def test_a_path_longer_than_the_system_takes_is_refused(tree: Path) -> None:
    deep = tree / "deep"
    deep.mkdir()
    handle = os.open(deep, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=handle)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    (source,) = gather(["deep"], PNG, recursive=True, leave=lambda path, reason: None)
    assert "too long" in str(source.fault)


def test_a_pattern_does_not_walk_links_to_folders(tree: Path) -> None:
    (tree / "in" / "zlink").symlink_to("sub", target_is_directory=True)
    (tree / "in" / "sub" / "d.png").touch()
    assert names("in/*/*.png") == ["in/sub/d.png"]
    assert names("in/**/d.png") == ["in/sub/d.png"]
    assert names("in/**/sub/**/*.png") == ["in/sub/d.png", "in/sub/deep/c.png"]
    (tree / "in" / "away").symlink_to(tree, target_is_directory=True)
    for text, told in (("in/*/*.png", 1), ("in/**/*.png", 1), ("in/*.png", 0)):
        left: dict[Path, Reason] = {}
        gather([text], PNG, recursive=False, leave=left.__setitem__)
        assert left == {Path("in/away"): "link"} if told else not left


@pytest.mark.parametrize("text", ["in", "in/**/*.png", "in/*/*/*.png"])
def test_an_unreadable_folder_is_a_failed_input_and_no_other_is_lost(
    tree: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tree / "in" / "locked").mkdir()
    real = os.scandir

    def scandir(folder: Path) -> object:
        if folder.name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    found = {str(s.path): s.fault for s in gather([text], PNG, recursive=True, leave=lambda path, reason: None)}
    assert str(found.pop("in/locked")) == "cannot read in/locked: Permission denied"
    assert "in/sub/deep/c.png" in found
    assert set(found.values()) == {None}
