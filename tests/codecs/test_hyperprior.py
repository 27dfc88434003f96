"""Checkpoints whose digest is right but whose integer part is not: refused at load, code 7, before anything runs."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dlcodec import checkpoint
from dlcodec.codecs.hyperprior import latent_of
from dlcodec.codecs.hyperprior_network import HyperpriorParams
from dlcodec.codecs.mean_scale_network import MeanScaleNetwork
from dlcodec.errors import WeightsError
from dlcodec.loading import load_codec

Config = dict[str, Any]
Arrays = dict[str, npt.NDArray[Any]]
Change = Callable[[Config, Arrays], object]


def loaded(tiny: Path, folder: Path, change: Change) -> object:
    """The codec of the tiny checkpoint with a change that its digest vouches for."""
    found = checkpoint.read_metadata(tiny)
    config = dict(found.config)
    arrays = {name: array.copy() for name, array in checkpoint.load_arrays(found).items()}
    change(config, arrays)
    path = folder / "base.safetensors"
    checkpoint.save(path, "mean-scale", config, arrays, {}, force=True)
    return load_codec(checkpoint.read_metadata(path), torch.device("cpu"))


def setting(key: str, value: Any) -> Change:
    return lambda config, _: config.update({key: value})


def array(name: str, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Change:
    return lambda _, arrays: arrays.update({name: change(arrays[name])})


def filled(value: int, kind: str) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    return lambda a: np.full(a.shape, value, kind)


FAULTS: dict[str, tuple[Change, str]] = {
    "weights too large": (array("exact.h_s.0.weight", filled(2**30, "<i4")), "2^53"),
    "weights of the last layer too large": (array("exact.h_s.4.weight", filled(2**40, "<i8")), "2^53"),
    "bias too large": (array("exact.h_s.2.bias", filled(2**60, "<i8")), "2^53"),
    "leak too large": (setting("h_s_shifts", [0, 0, 0]), "2^53"),
    "gain too large": (array("exact.hinv", filled(2**24, "<i4")), "gain"),
    "median too large": (array("exact.medians", filled(2**23, "<i4")), "median"),
    "thresholds fall": (array("exact.thresholds", lambda a: a[::-1].copy()), "rise"),
    "weights with fractions": (array("exact.h_s.0.weight", lambda a: a.astype("<f4") / 3), "not of integers"),
    "medians not a number": (array("exact.medians", lambda a: np.full(a.shape, np.nan)), "not of integers"),
    "thresholds in two rows": (array("exact.thresholds", lambda a: a[:30].reshape(2, 15)), "rise"),
    "a kernel too large": (
        array("exact.h_s.4.weight", lambda a: np.pad(a, ((0, 0), (0, 0), (1, 1), (1, 1)))),
        "shapes",
    ),
    "a layer turned": (array("exact.h_s.2.weight", lambda a: a.transpose(1, 0, 2, 3).copy()), "shapes"),
    "a bias too long": (array("exact.h_s.0.bias", lambda a: np.append(a, a[:1])), "shapes"),
    "an array left over": (lambda _, arrays: arrays.update({"exact.more": np.zeros(1, "<i4")}), "shapes"),
    "an array missing": (lambda _, arrays: arrays.pop("exact.hinv"), "shapes"),
    "no thresholds": (lambda _, arrays: arrays.pop("exact.thresholds"), "fit"),
    "gains of too few levels": (array("exact.hinv", lambda a: a[:2]), "shapes"),
    "a shift below zero": (setting("h_s_shifts", [15, 15, -5000]), "shift"),
    "a shift too large": (setting("h_s_shifts", [15, 15, 10**400]), "shift"),
    "a shift with a fraction": (setting("h_s_shifts", [15, 15, 13.5]), "shift"),
    "a shift that is a word": (setting("h_s_shifts", [15, 15, "13"]), "shift"),
    "too few shifts": (setting("h_s_shifts", [15, 15]), "fit"),
    "no shifts": (setting("h_s_shifts", None), "fit"),
    "a width that the arrays do not have": (setting("N", 2**40), "fit"),
    "a width with a fraction": (setting("N", 8.5), "channels"),
    "a width that is a word": (setting("M", "12"), "channels"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_refused_at_load_with_code_7(tiny: Path, tmp_path: Path, name: str) -> None:
    change, fragment = FAULTS[name]
    with pytest.raises(WeightsError) as caught:
        loaded(tiny, tmp_path, change)
    assert fragment in str(caught.value)
    assert caught.value.exit_code == 7


def test_an_unchanged_copy_loads(tiny: Path, tmp_path: Path) -> None:
    assert loaded(tiny, tmp_path, lambda *_: None)


def test_a_config_that_claims_more_than_its_arrays_takes_no_memory(tiny: Path, tmp_path: Path) -> None:
    """Transforms of 16,384 channels would take 150 GiB; the integer part of such a checkpoint is small."""

    def widen(config: Config, arrays: Arrays) -> None:
        config.update({"N": 2**14, "M": 1})
        with torch.device("meta"):
            network = MeanScaleNetwork(HyperpriorParams(N=2**14, M=1, levels=3))
        shapes = {f"exact.{name}": each.shape for name, each in network.h_s.named_parameters("h_s")}
        shapes |= {"exact.hinv": network.hinv.shape, "exact.medians": network.hinv.shape[1:]}
        arrays.update({name: np.zeros(shape, "|i1") for name, shape in shapes.items()})

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match="fit"):
        loaded(tiny, tmp_path, widen)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


def test_symbols_beyond_two_to_the_20_are_clamped_as_the_format_says() -> None:
    symbols, mu = np.array([2**20 + 5, -(2**29), 3], np.int32), np.array([7, -7, 1], np.int32)
    assert latent_of(symbols, mu).tolist() == [2**30 + 7, -(2**30) - 7, 3 * 1024 + 1]
