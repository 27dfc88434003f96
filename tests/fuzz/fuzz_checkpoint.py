"""A base checkpoint with changes that its digest vouches for: config and arrays of any kind, then a decode.

An input is a row of changes to a tiny checkpoint, each an operation (1 byte) with its arguments: another config, an
entry of the config, an array's element, shape, type or absence. The upper half of the first byte names the family. What
loads must compute in exact integers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dlcodec import container
from dlcodec.checkpoint import load_arrays, read_metadata, save
from dlcodec.codecs.base import Integers
from dlcodec.codecs.cheng2020 import Cheng2020Codec
from dlcodec.codecs.hyperprior import HyperpriorCodec
from dlcodec.coding import decode_latent
from dlcodec.entropy.context import waves
from dlcodec.errors import DlcodecError
from dlcodec.families import FAMILIES
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import load_codec
from tests.entropy.reference_integers import context_model, hyper_synthesis
from tests.fuzz.fuzz_decoder import WEIGHTS, base_of
from tests.fuzz.source import Source

_TYPES = ("<i2", "<i4", "<i8", "<u2", "<f2", "<f4", "<f8", "|b1", "|i1", "|u1")
_MOST_CHANGES = 8
_IN_MEMORY = Path("/dev/shm")
Config = dict[str, Any]
Arrays = dict[str, npt.NDArray[Any]]


@cache
def _original(family: str) -> tuple[Config, Arrays]:
    found = base_of(family)
    arrays = load_arrays(found)
    return dict(found.config), {name: arrays[name] for name in sorted(arrays)}


def _pick(source: Source, arrays: Arrays) -> str:
    return sorted(arrays)[source.number() % len(arrays)]


def _config(source: Source, config: Config, arrays: Arrays) -> None:
    config.clear()
    config.update(json.loads(source.block()))


def _entry(source: Source, config: Config, arrays: Arrays) -> None:
    name = sorted(config)[source.number() % len(config)]
    config[name] = json.loads(source.block())


def _element(source: Source, config: Config, arrays: Arrays) -> None:
    flat = arrays[_pick(source, arrays)].reshape(-1)
    at = source.number(3) % flat.size
    value = source.take(flat.dtype.itemsize).ljust(flat.dtype.itemsize, b"\0")
    flat[at] = np.frombuffer(value, flat.dtype)[0]


def _fill(source: Source, config: Config, arrays: Arrays) -> None:
    flat = arrays[_pick(source, arrays)].reshape(-1)
    flat[...] = np.frombuffer(source.take(flat.dtype.itemsize).ljust(flat.dtype.itemsize, b"\0"), flat.dtype)[0]


def _shape(source: Source, config: Config, arrays: Arrays) -> None:
    name = _pick(source, arrays)
    shape = [1 + source.number() % 32 for _ in range(source.number() % 5)]
    arrays[name] = np.resize(arrays[name], shape)


def _type(source: Source, config: Config, arrays: Arrays) -> None:
    name, kind = _pick(source, arrays), _TYPES[source.number() % len(_TYPES)]
    with np.errstate(all="ignore"):
        arrays[name] = arrays[name].astype(kind)


def _drop(source: Source, config: Config, arrays: Arrays) -> None:
    del arrays[_pick(source, arrays)]


_CHANGES: tuple[Callable[[Source, Config, Arrays], None], ...] = (
    *(_config, _entry, _element, _fill, _shape, _type, _drop),
)


def check(data: bytes) -> bool:
    """A checkpoint is refused by an error of ours, or decodes in exact integers; returns whether it decodes."""
    head = data[:1]
    family = FAMILIES[sum(head) // 16 % len(FAMILIES)].name
    config, arrays = dict(_original(family)[0]), {name: each.copy() for name, each in _original(family)[1].items()}
    source = Source(bytes(byte % 16 for byte in head) + data[1:])
    try:
        for _ in range(_MOST_CHANGES):
            if source.empty:
                break
            _CHANGES[source.number() % len(_CHANGES)](source, config, arrays)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        return False  # the change is none
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as folder:
        path = Path(folder) / "base.safetensors"
        save(path, family, config, arrays, {}, force=True)
        try:
            codec: HyperpriorCodec = load_codec(read_metadata(path), torch.device("cpu"))  # type: ignore[assignment]
        except DlcodecError:
            return False
    _check_integers(codec, config, arrays)
    file = container.unpack((WEIGHTS[family].parent / "1x1-q0.dlc").read_bytes(), DEFAULT_LIMITS)
    try:
        codec.synthesis()(codec.to_float(decode_latent(file, codec), 0))
    except DlcodecError:
        return False
    return True


def _check_integers(codec: HyperpriorCodec, config: Config, arrays: Arrays) -> None:
    """The exact path equals arithmetic on 64-bit integers, for the largest symbols that can be decoded."""
    channels = arrays["exact.medians"].size
    symbols = np.where(np.arange(channels) % 3, 2**29, -(2**29)).astype(np.int32).reshape(-1, 1, 1)
    for level in {0, (codec.levels - 1) * container.LEVEL_STEPS}:
        features = hyper_synthesis(codec.family, arrays, config["h_s_shifts"], symbols, level)
        assert np.array_equal(codec.hyper_synthesis(symbols, level), features)
        if isinstance(codec, Cheng2020Codec):
            _check_waves(codec, config, arrays, features.astype(np.int32))


def _check_waves(codec: Cheng2020Codec, config: Config, arrays: Arrays, features: Integers) -> None:
    """So do the predictions of the context model, for the largest latent that can be decoded."""
    height, width = features.shape[1:]
    shape = (codec.latent_channels, height * width)
    largest = 2**30 + 2**23
    latent = np.where(np.arange(shape[0] * shape[1]) % 5 < 3, largest, -largest).astype(np.int32).reshape(shape)
    area, predicted = codec.context.start(features), np.zeros((2 * shape[0], shape[1]), np.int32)
    for wave in waves(height, width):
        predicted[:, wave] = np.concatenate(area.predict(wave), 1).T
        area.settle(wave, latent[:, wave].T)
    whole = latent.reshape(-1, height, width)
    expected = context_model(arrays, config["context_shifts"], features, whole)
    assert np.array_equal(predicted.reshape(expected.shape), expected)
