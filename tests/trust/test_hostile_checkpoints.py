"""Checkpoints that were made to do harm: their digest is right, for an attacker computes it anew."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors
import safetensors.numpy
from PIL import Image

from dlcodec.checkpoint import compute_digest, load_arrays, read_metadata
from dlcodec.codecs import codec_class
from dlcodec.errors import WeightsError
from dlcodec.families import FAMILIES
from dlcodec.installed import find
from dlcodec.pipeline import decode_image, encode_image
from tests.cli.conftest import Run
from tests.conftest import RGB
from tests.trust.children import Start, ended, run_lines

Change = Callable[[dict[str, Any], dict[str, Any]], object]


def write(source: Path, target: Path, change: Change) -> None:
    """A checkpoint with another config and other arrays, and the digest of what it has then."""
    with safetensors.safe_open(source, framework="numpy") as handle:
        metadata = dict(handle.metadata())
    arrays = {name: array.copy() for name, array in safetensors.numpy.load_file(source).items()}
    config = json.loads(metadata["config"])
    change(config, arrays)
    metadata["config"] = json.dumps(config)
    metadata["digest"] = compute_digest(metadata["family"], json.loads(metadata["config"]), arrays)
    target.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(arrays, target, metadata)


def base_of(family: str, weights: Path) -> Path:
    """The base checkpoint of a family in a folder of weights."""
    return weights / family / "base.safetensors"


def entry(name: str, value: float, kind: str | None = None) -> Change:
    """The first entry of an array."""

    def change(_: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays[name] = arrays[name].astype(kind or arrays[name].dtype)
        arrays[name].flat[0] = value

    return change


def array(name: str, make: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Change:
    return lambda _, arrays: arrays.update({name: make(arrays[name])})


def setting(name: str, value: object) -> Change:
    return lambda config, _: config.update({name: value})


def fill(name: str, value: int) -> Change:
    """An array of 64-bit integers, all of them this one."""
    return array(name, lambda old: np.full(old.shape, value, np.int64))


LARGE = 2**31 - 1
INTEGERS: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "scalar": lambda a: np.array(1, a.dtype),
    "empty": lambda a: a[:0],
    "of another shape": lambda a: np.concatenate([a, a]),
    "of one dimension more": lambda a: a[..., None],
    "fractions": lambda a: a.astype(np.float32) + 0.5,
    "whole, but floating": lambda a: a.astype(np.float64),
    "truth values": lambda a: a > 0,
    "nan": lambda a: np.full(a.shape, np.nan, np.float32),
    "huge": lambda a: np.full(a.shape, 2.0**60, np.float32),
    "largest integers": lambda a: np.full(a.shape, 2**63 - 1, np.int64),
    "smallest integers": lambda a: np.full(a.shape, -(2**63), np.int64),
    "largest unsigned integers": lambda a: np.full(a.shape, 2**64 - 1, np.uint64),
}
"""What no integer array may become."""
BRIEFLY = ("of another shape", "largest integers")
EXACT_GROUPS = {family.name: codec_class(family.name).network.exact_groups for family in FAMILIES}
ENDS = {
    "mean-scale": ("g_a.0.weight", "g_s.0.weight"),
    "cheng2020": ("g_a.7.weight", "g_s.9.0.weight"),
}
"""Of each family: what overflows in the analysis and the synthesis where it is large; a GDN after it would not."""


def of_each_group(family: str) -> dict[str, Change]:
    """Hostile layers of the integer networks: each array in some ways, the first and last of a group in all."""
    found: dict[str, Change] = {"no hinv": lambda _, arrays: arrays.pop("exact.hinv")}
    for group, plans in EXACT_GROUPS[family].items():
        count = len(plans)
        shifts = ([], [1] * (count - 1), [1] * (count + 1), [5000] * count, [-5000] * count, [1.5] * count)
        others = (["a"] * count, [None] * count, [True] * count, [10**400] * count, "a" * count, 7, None, {})
        for value in (*shifts, *others):
            found[f"{group} shifts {value!r:.20}"] = setting(f"{group}_shifts", value)
        arrays = [f"exact.{plan.name}.{kind}" for plan in plans for kind in ("weight", "bias")]
        for name in arrays:
            ends = name in (arrays[0], arrays[-1])
            found |= {f"{name} {what}": array(name, make) for what, make in INTEGERS.items() if ends or what in BRIEFLY}
        found[f"no {arrays[1]}"] = lambda _, arrays, name=arrays[1]: arrays.pop(name)  # type: ignore[misc]
    return found


def of_each_family(family: str) -> dict[str, Change]:
    """Hostile checkpoints of a family: a name of each, and the change that makes it."""
    analysis, synthesis = ENDS[family]
    return {
        **{
            f"{name} {value}": entry(name, value)
            for name in ("gain", "inv_gain", "hgain")
            for value in (np.nan, np.inf)
        },
        **{f"g_s {value}": entry(synthesis, value) for value in (np.nan, np.inf)},
        **{f"g_a {value}": entry(analysis, value) for value in (np.nan, -np.inf)},
        "h_a nan": entry("h_a.4.weight", np.nan),
        "finite, but no picture": lambda _, arrays: [
            arrays.update({name: np.full_like(arrays[name], 1e38, dtype=np.float32)})
            for name in (synthesis, "inv_gain")
        ],
        "finite, but no latent": array(analysis, lambda a: np.full_like(a, 1e38, dtype=np.float32)),
        "latents beyond all bounds": array("gain", lambda a: np.full_like(a, 3e38)),
        **{
            f"{name} {what}": array(name, make)
            for name in ("exact.medians", "exact.hinv", "exact.thresholds")
            for what, make in INTEGERS.items()
        },
        "tables of fractions": array("tables.start", lambda a: a.astype(np.float16)),
        "tables of 64 bits": array("tables.minimum", lambda a: a.astype(np.int64)),
        **{f"symbols from {v}": entry("tables.minimum", v) for v in (LARGE, -LARGE - 1, 2**29, -(2**29) - 1)},
        **{
            f"{name} {v!r}": setting(name, v)
            for name in "NM"
            for v in (0, -1, "8", 8.0, 10**5, 10**30, None, True, [8])
        },
        **{f"lambdas {value!r:.9}": setting("lambdas", value) for value in ([], [1] * 10**5, [1] * 2, {}, "abc")},
        **{
            f"level {value!r}": setting("default_level", value)
            for value in (-1, 1e308, float("nan"), float("inf"), 99, "1", None)
        },
        **of_each_group(family),
    }


def _ahead(place: tuple[int, int]) -> Change:
    def change(_: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays["exact.context_prediction.weight"][(0, 0, *place)] = 1

    return change


OF_A_CONTEXT: dict[str, Change] = {
    **{f"context looks ahead to {place}": _ahead(place) for place in ((2, 2), (2, 3), (3, 0), (4, 4))},
    "entropy_parameters see no context": array("exact.entropy_parameters.0.weight", lambda a: a[:, : a.shape[1] // 2]),
    "context of 3 x 3": array("exact.context_prediction.weight", lambda a: a[:, :, 1:4, 1:4].copy()),
    "entropy_parameters of 3 x 3": array(
        "exact.entropy_parameters.0.weight", lambda a: np.pad(a, ((0, 0), (0, 0), (1, 1), (1, 1)))
    ),
    "one sum of 2^53": fill("exact.entropy_parameters.4.weight", 2**26),
}
HOSTILE = {
    family.name: of_each_family(family.name) | (OF_A_CONTEXT if "context" in EXACT_GROUPS[family.name] else {})
    for family in FAMILIES
}


def decoded(family: str, crop: RGB) -> RGB:
    """What the first checkpoint that is found of a family makes of a picture."""
    return decode_image(encode_image(crop, base=find(family)), 1)


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, each in HOSTILE.items() for name in each])
def test_a_hostile_base_is_code_7(
    tiny: Path, tmp_path: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch, family: str, name: str
) -> None:
    with np.errstate(all="ignore"):
        write(base_of(family, tiny.parents[1]), base_of(family, tmp_path), HOSTILE[family][name])
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        decoded(family, photo[:40, :40])
    assert caught.value.exit_code == 7
    assert "installed" not in str(caught.value)


def test_an_unchanged_checkpoint_passes(
    family: str, tiny: Path, tmp_path: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(base_of(family, tiny.parents[1]), base_of(family, tmp_path), lambda *_: None)
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path))
    assert decoded(family, photo[:40, :40]).shape == (40, 40, 3)


def _ints(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _tensor(kind: str, shape: list[int], end: int) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [0, end]}


HEADERS: dict[str, bytes] = {
    "length of 2^63": _ints(2**63) + b"{}",
    "length of 2^64 - 1": _ints(2**64 - 1) + b"{}",
    "no JSON": _ints(4) + b"abcd",
    "deep": _ints(10**5) + b"[" * 10**5,
    "large": _ints(2**23) + b"{" + b" " * (2**23 - 2) + b"}",
    **{
        name: _ints(len(text)) + text.encode() + bytes(8)
        for name, text in {
            "overlap": json.dumps({"a": _tensor("F32", [2], 8), "b": _tensor("F32", [2], 8)}),
            "overflow": json.dumps({"a": _tensor("F32", [2**32, 2**32], 8)}),
            "negative": json.dumps({"a": _tensor("F32", [-1], 8)}),
            "outside": json.dumps({"a": _tensor("F32", [4], 16)}),
            "unknown type": json.dumps({"a": _tensor("PY", [8], 8)}),
        }.items()
    },
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_code_7(tmp_path: Path, name: str) -> None:
    (tmp_path / "base.safetensors").write_bytes(HEADERS[name])
    with pytest.raises(WeightsError, match=r"is truncated|is not a safetensors file|has a header of"):
        load_arrays(read_metadata(tmp_path / "base.safetensors"))


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "C64"])
def test_a_type_of_tensor_that_no_checkpoint_has_is_code_7(tmp_path: Path, kind: str) -> None:
    size = {"BF16": 2, "F8_E4M3": 1, "C64": 8}[kind] * 8
    config = '{"lambdas": [1], "default_level": 0}'
    meta = {"schema": "1", "config": config, "digest": "0" * 64, "family": "mean-scale"}
    text = json.dumps({"__metadata__": meta, "a": _tensor(kind, [8], size)}).encode()
    (tmp_path / "base.safetensors").write_bytes(_ints(len(text)) + text + bytes(size))
    with pytest.raises(WeightsError, match="unknown type" if kind == "C64" else "is not a safetensors file"):
        load_arrays(read_metadata(tmp_path / "base.safetensors"))


def test_a_pipe_among_the_weights_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "base.safetensors")
    with pytest.raises(WeightsError, match="no plain file"):
        read_metadata(tmp_path / "base.safetensors")


def test_a_header_of_100_megabytes_is_refused_before_it_is_read(start: Start, tmp_path: Path) -> None:
    """safetensors would take 5 s and 1.4 GiB for the 1.6 million tensors that fit there."""
    path, errors = tmp_path / "base.safetensors", tmp_path / "errors"
    with path.open("wb") as stream:
        stream.write(_ints(10**8) + b"{")
        stream.truncate(10**8 + 8)
    end = ended(start(run_lines, [["models", "verify", str(path)]], errors), errors)
    assert (end.code, end.said) == (7, f"dlcodec: {path} has a header of 100000000 bytes, which is no checkpoint's\n")


@pytest.mark.parametrize(
    "change",
    [
        setting("base", 5),
        setting("base", "00"),
        setting("lambdas", [10**400, 1, 2]),
        setting("lambdas", [0, 1, 2]),
        setting("lambdas", ["1", {}, None]),
        setting("orientation", "\ud800"),
        setting("deep", json.loads("[" * 600 + "]" * 600)),
        array("exact.thresholds", lambda old: np.where(old == old.max(), 2**40, old.astype(np.int64))),
        array("exact.thresholds", lambda old: np.where(old == old.min(), -(2**40), old.astype(np.int64))),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "arguments",
    [["models", "list"], ["encode", "a.png", "-o", "a.dlc", "-f", "--effort", "high"]],
    ids=lambda each: each[0],
)
def test_the_command_line_says_one_sentence_of_it(
    run: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9), "teal").save("a.png")
    write(tiny, tmp_path / "hostile" / "mean-scale" / "base.safetensors", change)
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path / "hostile"))
    result = run(*arguments)
    assert result.code in (0, 2, 7)
    assert result.err.count("\n") == (result.code != 0)
    assert "internal error" not in result.err
