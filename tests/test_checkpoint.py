from __future__ import annotations

import errno
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from dlcodec import checkpoint, installed
from dlcodec.checkpoint import Checkpoint, compute_digest, load_arrays, read_metadata
from dlcodec.container import unpack
from dlcodec.errors import LimitError, OutputError, WeightsError
from dlcodec.installed import find
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import choose_device, load_codec
from dlcodec.models import checkpoint_files, describe
from dlcodec.pipeline import decode_image
from dlcodec.selection import base_to_decode, base_to_encode
from tests.tiny import write_checkpoint


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    return stream.getvalue()


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    return stream.getvalue()


NOT_CHECKPOINTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "three bytes": (b"\x10\0\0", "is truncated"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git-LFS pointer"),
    "pickle": (pickle.dumps({"a": 1}), "Python pickle"),
    "zip": (_zip(), "zip archive"),
    "PNG": (_png(), "PNG image"),
    "garbage": (b"garbage garbage garbage", "not a safetensors file"),
    "zeros": (bytes(100), "not a safetensors file"),
}


@pytest.mark.parametrize("name", NOT_CHECKPOINTS)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    data, fragment = NOT_CHECKPOINTS[name]
    path = tmp_path / "base.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=fragment) as caught:
        read_metadata(path)
    assert caught.value.exit_code == 7


def test_a_truncated_checkpoint_is_refused(tiny: Path, tmp_path: Path) -> None:
    data, path = tiny.read_bytes(), tmp_path / "base.safetensors"
    for length in (1, 7, 8, 9, 100, 2000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            load_arrays(read_metadata(path))
    path.write_bytes(data[:100])
    with pytest.raises(WeightsError, match="truncated"):
        read_metadata(path)


def test_a_folder_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(WeightsError, match="cannot be read"):
            read_metadata(path)


def test_the_digest_is_over_the_stored_arrays(tiny: Path) -> None:
    found = read_metadata(tiny)
    assert compute_digest(found.family, found.config, safetensors.numpy.load_file(tiny)) == found.digest
    assert found.short_digest == bytes.fromhex(found.digest[:16])


def test_a_byte_changed_in_the_tensors_is_refused(tiny: Path, tmp_path: Path) -> None:
    data, path = tiny.read_bytes(), tmp_path / "base.safetensors"
    start = 8 + int.from_bytes(data[:8], "little")
    places = np.linspace(start, len(data) - 1, 50).astype(int).tolist()
    assert len(set(places)) == 50
    for at in places:
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :])
        with pytest.raises(WeightsError, match="digest does not match"):
            load_arrays(read_metadata(path))


def _rewrite(
    source: Path,
    target: Path,
    meta: Callable[[dict[str, str]], object] = lambda _: None,
    arrays: Callable[[dict[str, Any]], object] = lambda _: None,
    reseal: bool = False,
) -> None:
    with safetensors.safe_open(source, framework="numpy") as handle:
        metadata = dict(handle.metadata())
    tensors = {name: array.copy() for name, array in safetensors.numpy.load_file(source).items()}
    meta(metadata)
    arrays(tensors)
    if reseal:
        metadata["digest"] = compute_digest(metadata["family"], json.loads(metadata["config"]), tensors)
    target.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, target, metadata)


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (lambda meta: meta.pop("schema"), "no dlcodec metadata"),
        (lambda meta: meta.clear(), "no dlcodec metadata"),
        (lambda meta: meta.update(schema="one"), "no dlcodec metadata"),
        (lambda meta: meta.update(schema=str(checkpoint.SCHEMA + 1)), "has schema 2; this dlcodec reads up to 1"),
        (lambda meta: meta.update(config="[1]"), "no dlcodec metadata"),
        (lambda meta: meta.update(config="{}"), "no dlcodec metadata"),
        (lambda meta: meta.update(config="{"), "no dlcodec metadata"),
        (lambda meta: meta.update(config="[" * 100_000), "no dlcodec metadata"),
        (lambda meta: meta.update(digest="abcd"), "no dlcodec metadata"),
        (lambda meta: meta.update(digest="x" * 64), "no dlcodec metadata"),
        (lambda meta: meta.pop("family"), "no dlcodec metadata"),
    ],
)
def test_unusable_metadata_is_refused(tiny: Path, tmp_path: Path, change: Any, fragment: str) -> None:
    path = tmp_path / "base.safetensors"
    _rewrite(tiny, path, meta=change)
    with pytest.raises(WeightsError, match=fragment):
        read_metadata(path)


def test_a_changed_config_is_refused(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    _rewrite(tiny, path, meta=lambda meta: meta.update(config=meta["config"][:-1] + ', "x": 1}'))
    with pytest.raises(WeightsError, match="digest does not match"):
        load_arrays(read_metadata(path))


@pytest.mark.parametrize("lost", ["N", "M", "h_s_shifts"])
def test_a_sealed_config_that_fits_no_codec_is_refused(tiny: Path, tmp_path: Path, lost: str) -> None:
    def drop(meta: dict[str, str]) -> None:
        config = json.loads(meta["config"])
        del config[lost]
        meta["config"] = json.dumps(config)

    path = tmp_path / "base.safetensors"
    _rewrite(tiny, path, meta=drop, reseal=True)
    with pytest.raises(WeightsError):
        load_codec(read_metadata(path), choose_device("cpu"))


def test_weights_of_an_unknown_family_are_refused(tiny: Path, tmp_path: Path) -> None:
    found, path = read_metadata(tiny), tmp_path / "base.safetensors"
    checkpoint.save(path, "foo", found.config, load_arrays(found), {}, force=True)
    with pytest.raises(WeightsError, match="family 'foo' is unknown"):
        load_codec(read_metadata(path), choose_device("cpu"))


def test_a_corrupted_entropy_table_is_refused_at_load(tiny: Path, tmp_path: Path) -> None:
    """The digest is right each time, so the tables must stand by themselves."""
    random = np.random.default_rng(0)
    length = len(safetensors.numpy.load_file(tiny)["tables.cdf"])
    path, refused = tmp_path / "base.safetensors", 0
    for at in random.choice(length, 200, replace=length < 200).tolist():

        def corrupt(arrays: dict[str, Any], at: int = at) -> None:
            arrays["tables.cdf"][at] ^= 1 << 25

        _rewrite(tiny, path, arrays=corrupt, reseal=True)
        found = read_metadata(path)
        try:
            load_codec(found, choose_device("cpu"))
        except WeightsError as error:
            refused += "entropy table" in str(error)
    assert refused == 200


@pytest.mark.parametrize(("seed", "levels"), [(1, 3), (0, 4)], ids=["other weights", "other ladder"])
def test_a_file_of_other_weights_is_refused_before_torch(
    tiny_file: bytes, tmp_path: Path, seed: int, levels: int
) -> None:
    write_checkpoint(tmp_path, seed=seed, levels=levels)
    (tmp_path / "a.dlc").write_bytes(tiny_file)
    result = _decode_in_a_child(tmp_path / "a.dlc", tmp_path)
    assert result.stdout == "7 False\n"
    assert result.stderr.startswith(f"dlcodec: {tmp_path / 'a.dlc'}: the file needs mean-scale weights ")
    assert not (tmp_path / "a.png").exists()


def _decode_in_a_child(path: Path, weights: Path) -> subprocess.CompletedProcess[str]:
    script = (
        "import sys\nfrom dlcodec.cli import main\ntry:\n    main()\n"
        "except SystemExit as stop:\n    print(stop.code, 'torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, "decode", str(path), "-o", str(path.with_suffix(".png"))]
    environment = {**os.environ, "DLCODEC_WEIGHTS": str(weights)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_no_weights_at_all_is_code_7(tiny_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "weight_folders", lambda: [tmp_path])
    with pytest.raises(WeightsError, match=f"no mean-scale weights found in {tmp_path}"):
        decode_image(tiny_file)


def test_the_folder_of_the_environment_comes_first(tiny: Path) -> None:
    assert find("mean-scale").path == tiny


def test_weights_are_found_by_digest_among_several(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = read_metadata(tiny).short_digest
    other = write_checkpoint(tmp_path, seed=1)
    (tmp_path / "mean-scale" / "base2.safetensors").write_bytes(tiny.read_bytes())
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path))
    assert find("mean-scale", wanted).path.name == "base2.safetensors"
    assert find("mean-scale").path == other


def test_other_weights_beside_the_base_are_taken_by_digest_only(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_checkpoint(tmp_path, seed=1)
    (base.parent / "base-NAME.safetensors").write_bytes(tiny.read_bytes())
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path))
    assert find("mean-scale").path == base


def test_what_is_too_large_for_one_file_goes_into_several(
    tiny: Path, tmp_path: Path, tiny_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_metadata(tiny)
    arrays, expected = load_arrays(whole), decode_image(tiny_file, 1.0)
    path = tmp_path / "mean-scale" / "base.safetensors"
    monkeypatch.setattr(checkpoint, "_PART_BYTES", sum(array.nbytes for array in arrays.values()) // 3)
    assert checkpoint.save(path, "mean-scale", whole.config, arrays, {}, force=True) == whole.digest
    split = read_metadata(path)
    assert split.parts >= 3
    assert sorted(each.name for each in path.parent.iterdir()) == sorted(each.name for each in split.files)
    assert {name: array.tobytes() for name, array in load_arrays(split).items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    before, after = describe(tiny), describe(path)
    assert (after.tensors, after.parameters, after.digest) == (before.tensors, before.parameters, before.digest)
    assert after.file_bytes == sum(each.stat().st_size for each in path.parent.iterdir())
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path))
    assert find("mean-scale").path == path
    assert (decode_image(tiny_file, 1.0) == expected).all()
    monkeypatch.setattr(checkpoint, "DEFAULT_LIMITS", replace(DEFAULT_LIMITS, weights_bytes=after.file_bytes - 1))
    with pytest.raises(LimitError, match=r"part\d-base\.safetensors"):
        load_arrays(split)
    length = checkpoint._MOST_HEADER + 1
    split.files[1].write_bytes(length.to_bytes(8, "little") + b" " * (length + 1))
    with pytest.raises(WeightsError, match="which is no checkpoint's"):
        read_metadata(path)
    split.files[1].unlink()
    for read in (lambda: load_arrays(split), lambda: read_metadata(path)):
        with pytest.raises(WeightsError, match=r"part2-base\.safetensors"):
            read()


def test_parts_are_neither_overwritten_unasked_nor_left_behind(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, path = read_metadata(tiny), tmp_path / "base.safetensors"
    arrays = load_arrays(whole)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_PART_BYTES", sum(array.nbytes for array in arrays.values()) // 3)
        checkpoint.save(path, "mean-scale", whole.config, arrays, {}, force=True)
    split = read_metadata(path)
    assert split.file_bytes == sum(file.stat().st_size for file in tmp_path.iterdir()) > path.stat().st_size
    path.rename(tmp_path / "elsewhere")
    checkpoint.refuse_overwriting(path, force=True)
    with pytest.raises(OutputError, match=r"part2-base\.safetensors exists"):
        checkpoint.refuse_overwriting(path, force=False)
    checkpoint.save(path, "mean-scale", whole.config, arrays, {}, force=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["base.safetensors", "elsewhere"]
    assert load_arrays(read_metadata(path)).keys() == arrays.keys()


def in_parts(path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    whole = read_metadata(tiny)
    arrays = load_arrays(whole)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_PART_BYTES", sum(array.nbytes for array in arrays.values()) // 3)
        checkpoint.save(path, "mean-scale", whole.config, arrays, {}, force=True)
    return read_metadata(path)


def test_results_are_written_into_the_first_part_alone(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = in_parts(tmp_path / "base.safetensors", tiny, monkeypatch)
    before = {file: (file.stat().st_ino, file.read_bytes()) for file in split.files}
    arrays = {name: array.tobytes() for name, array in load_arrays(split).items()}
    checkpoint.save_results(split.path, {"kodak": {"images": 24, "rows": [{"level": 0, "tau": 1, "bpp": 0.5}]}})
    assert sorted(tmp_path.iterdir()) == sorted(split.files)
    changed = [file for file in split.files if (file.stat().st_ino, file.read_bytes()) != before[file]]
    assert changed == [split.path]
    assert read_metadata(split.path) == split
    assert {name: array.tobytes() for name, array in load_arrays(split).items()} == arrays
    assert describe(split.path).results == {"kodak": {"images": 24, "rows": [{"level": 0, "tau": 1, "bpp": 0.5}]}}


def test_results_beyond_what_is_read_again_are_not_written(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    path.write_bytes(tiny.read_bytes())
    with pytest.raises(WeightsError, match="no room for results"):
        checkpoint.save_results(path, {"a": "x" * checkpoint._MOST_HEADER})
    assert path.read_bytes() == tiny.read_bytes()


def test_a_checkpoint_in_parts_stays_whole_where_a_new_one_cannot_be_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = in_parts(tmp_path / "base.safetensors", tiny, monkeypatch)
    expected = load_arrays(split)
    other = {name: array + 1 for name, array in expected.items()}

    for most in range(split.parts):
        written: list[object] = []

        def fsync(handle: int, most: int = most, written: list[object] = written) -> None:
            written.append(handle)
            if len(written) > most:
                raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            patch.setattr(checkpoint, "_PART_BYTES", sum(array.nbytes for array in other.values()) // 3)
            with pytest.raises(OutputError, match="No space left"):
                checkpoint.save(split.path, "mean-scale", split.config, other, {}, force=True)
        assert {n: a.tobytes() for n, a in load_arrays(read_metadata(split.path)).items()} == {
            n: a.tobytes() for n, a in expected.items()
        }
    assert sorted(tmp_path.iterdir()) == sorted(split.files)


def test_a_part_that_is_a_pipe_is_not_waited_for(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = in_parts(tmp_path / "base.safetensors", tiny, monkeypatch)
    split.files[1].unlink()
    os.mkfifo(split.files[1])
    with pytest.raises(WeightsError, match=r"part2-base\.safetensors cannot be read: they are no plain file"):
        read_metadata(split.path)


def test_what_is_told_of_a_damaged_part_names_it(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = in_parts(tmp_path / "base.safetensors", tiny, monkeypatch)
    split.files[1].write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(WeightsError, match=r"part2-base\.safetensors is a Git-LFS pointer"):
        describe(split.path)


def test_whatever_is_written_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"lambdas": [1.0], "default_level": 0}
    monkeypatch.setattr(checkpoint, "_PART_BYTES", 1000)
    monkeypatch.setattr(checkpoint, "_MOST_HEADER", 1000)
    monkeypatch.setattr(checkpoint, "DEFAULT_LIMITS", replace(DEFAULT_LIMITS, weights_bytes=20_000))
    monkeypatch.setattr(checkpoint, "_MOST_PARTS", 2 * 20_000 // 1000 + 1)
    alternating = {f"{n:03}": np.zeros(1 if n % 2 else 1000, np.uint8) for n in range(36)}
    checkpoint.save(tmp_path / "a.safetensors", "f", config, alternating, {}, force=True)
    assert read_metadata(tmp_path / "a.safetensors").parts > 30
    with pytest.raises(WeightsError, match="more than 20000 bytes"):
        checkpoint.save(tmp_path / "b.safetensors", "f", config, {"a": np.zeros(19_001, np.uint8)}, {}, force=True)
    assert not (tmp_path / "b.safetensors").exists()


def test_a_damaged_base_hides_no_other_that_a_file_needs(
    tiny: Path, tmp_path: Path, tiny_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mean-scale"
    folder.mkdir()
    (folder / "base-b.safetensors").write_bytes(tiny.read_bytes())
    (folder / "base-a.safetensors").write_bytes(tiny.read_bytes()[:100])
    large = folder / "base.safetensors"
    with large.open("wb") as stream:
        stream.truncate(DEFAULT_LIMITS.weights_bytes + 1)
    needed = unpack(tiny_file, DEFAULT_LIMITS).header.model_digest
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path))
    assert find("mean-scale", needed).path.name == "base-b.safetensors"
    assert base_to_decode(str(tmp_path), "mean-scale", needed).path.name == "base-b.safetensors"
    for ask in (lambda: find("mean-scale"), lambda: base_to_encode(str(tmp_path))):
        with pytest.raises(WeightsError, match=r"truncated|damaged"):
            ask()
    with pytest.raises(WeightsError, match="damaged"):
        base_to_decode(str(tmp_path), "mean-scale", b"12345678")


def test_a_folder_of_weights_with_a_name_too_long_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLCODEC_WEIGHTS", raising=False)
    before = checkpoint_files()
    monkeypatch.setenv("DLCODEC_WEIGHTS", "x" * 300)
    assert checkpoint_files() == before
    with pytest.raises(WeightsError, match="no cheng2020 weights"):
        find("cheng2020")


@pytest.mark.parametrize("parts", ["0", "-1", "1000", "many"])
def test_a_number_of_parts_that_makes_no_sense_is_refused(tiny: Path, tmp_path: Path, parts: str) -> None:
    with safetensors.safe_open(tiny, framework="numpy") as handle:
        metadata = {**handle.metadata(), "parts": parts}
    path = tmp_path / "base.safetensors"
    safetensors.numpy.save_file(load_arrays(read_metadata(tiny)), path, metadata)
    with pytest.raises(WeightsError, match="no dlcodec metadata"):
        read_metadata(path)
