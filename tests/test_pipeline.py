from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dlcodec
from dlcodec import container
from dlcodec.codecs import codec_class
from dlcodec.codecs.base import CodingStep, CodingSteps, Integers
from dlcodec.codecs.hyperprior import HyperpriorCodec
from dlcodec.coding import decode_latent, run_steps
from dlcodec.entropy.coder import Encoder
from dlcodec.entropy.context import ContextModel
from dlcodec.errors import DlcodecError, InputError, LatentMismatchError, LimitError, UsageError, WeightsError
from dlcodec.families import FAMILIES
from dlcodec.installed import find
from dlcodec.limits import DEFAULT_LIMITS, Limits
from dlcodec.loading import load_codec
from dlcodec.pipeline import decode_image, encode_image, quantise_level
from tests.conftest import RGB
from tests.forged import seal

SIZES = [(1, 1), (1, 64), (64, 1), (2, 63), (63, 2), (65, 127), (64, 64), (128, 65), (130, 7), (100, 200)]


@pytest.mark.parametrize("size", SIZES)
def test_any_size_comes_back_at_its_size(family: str, photo: RGB, size: tuple[int, int]) -> None:
    crop = photo[: size[0], : size[1]]
    assert decode_image(encode_image(crop, base=find(family))).shape == crop.shape


@pytest.mark.slow
@pytest.mark.parametrize("other", [1, 2, 63, 64, 65, 127])
def test_every_side_from_1_to_130_comes_back(family: str, photo: RGB, other: int) -> None:
    for side in range(1, 131):
        for crop in (photo[:side, :other], photo[:other, :side]):
            assert decode_image(encode_image(crop, base=find(family))).shape == crop.shape


@pytest.mark.parametrize("shape", [(10000, 1), (1, 10000)])
def test_long_thin_images_come_back(family: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert decode_image(encode_image(image, base=find(family))).shape == image.shape


@pytest.mark.parametrize("level", [0, 0.25, 1, 1.999, 2])
def test_real_levels_decode_to_what_the_encoder_saw(family: str, photo: RGB, level: float) -> None:
    codec = load_codec(find(family), torch.device("cpu"))
    x = torch.from_numpy(photo[:128, :192].copy()).permute(2, 0, 1)[None].float() / 255
    steps = quantise_level(level, 3)
    seen, _ = run_steps(codec.coding_steps(128, 192, steps, codec.analyse(x, steps)), lambda step: known_symbols(step))
    data = encode_image(photo[:128, :192], level, precision="fp32", base=find(family))
    file = container.unpack(data, DEFAULT_LIMITS)
    assert np.array_equal(decode_latent(file, codec), seen)
    assert file.header.level == steps


def known_symbols(step: CodingStep) -> Integers:
    assert step.symbols is not None
    return step.symbols


def test_rate_rises_with_the_level(family: str, photo: RGB) -> None:
    sizes = [len(encode_image(photo[:192, :256], level, base=find(family))) for level in (0, 0.5, 1, 1.5, 2)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_the_same_image_encodes_and_decodes_to_the_same_bytes(tiny: Path, photo: RGB) -> None:
    first, second = encode_image(photo[:70, :90]), encode_image(photo[:70, :90])
    assert first == second
    assert np.array_equal(decode_image(first), decode_image(second))


def test_the_public_functions_take_pictures_arrays_and_paths(tiny: Path, photo: RGB, tmp_path: Path) -> None:
    crop = photo[:40, :50].copy()
    Image.fromarray(crop).save(tmp_path / "a.png")
    data = dlcodec.encode(crop, level=1)
    assert dlcodec.encode(Image.fromarray(crop), level=1) == data
    assert dlcodec.encode(tmp_path / "a.png", level=1) == data
    picture = dlcodec.decode(data, tau=1)
    assert picture.size == (50, 40)
    info = dlcodec.read_info(data)
    assert (info.width, info.height, info.level, info.file_bytes) == (50, 40, 1.0, len(data))
    assert info.file_bytes - info.payload_bytes <= 38
    with pytest.raises(InputError, match="uint8"):
        dlcodec.encode(crop[..., :2])


@pytest.mark.parametrize("level", [-0.1, 2.1, float("nan"), float("inf")])
def test_levels_outside_the_ladder_are_refused(tiny: Path, photo: RGB, level: float) -> None:
    with pytest.raises(UsageError, match="level"):
        encode_image(photo[:8, :8], level)


@pytest.mark.parametrize("tau", [-0.1, 1.1, float("nan"), float("inf")])
def test_tau_outside_zero_to_one_is_refused(tiny_file: bytes, tau: float) -> None:
    with pytest.raises(UsageError, match="tau"):
        decode_image(tiny_file, tau)


def test_tau_below_one_needs_fusion_weights(tiny_file: bytes, without_fusion: Path) -> None:
    with pytest.raises(WeightsError, match="needs fusion weights"):
        decode_image(tiny_file, 0.5)
    assert decode_image(tiny_file, 1.0).shape == (50, 70, 3)


def test_images_over_the_limits_are_refused(tiny: Path, photo: RGB) -> None:
    with pytest.raises(LimitError):
        encode_image(photo, limits=Limits(side=65535, pixels=1000, file_bytes=1, weights_bytes=1))


class _Desync:
    """Wraps a codec's steps and changes one integer of one step, as a fault would: the first is z, all others y.

    ``struck`` is that step, any of the ``count`` that there are; an index of z is the number of its channel, so that
    no fault changes it.
    """

    def __init__(self, codec: object, kind: str, seed: int, count: int) -> None:
        self._codec, self._kind, self._random = codec, kind, np.random.default_rng(seed)
        self.struck = int(self._random.integers(kind == "index", count))

    def __getattr__(self, name: str) -> object:
        return getattr(self._codec, name)

    def coding_steps(self, height: int, width: int, level: int, latents: object | None) -> CodingSteps:
        steps = self._codec.coding_steps(height, width, level, latents)  # type: ignore[attr-defined]
        step, number = next(steps), 0
        while True:
            index = step.index.copy()
            place = tuple(int(self._random.integers(n)) for n in index.shape)
            if self._kind == "index" and number == self.struck:
                index[place] += 1 if index[place] < 8 + 31 else -1
            symbols = yield CodingStep(index, None)
            if self._kind == "symbol" and number == self.struck:
                symbols = symbols.copy()
                symbols[place] += 1
            number += 1
            try:
                step = steps.send(symbols)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["index", "symbol"])
def test_one_wrong_scale_index_or_symbol_is_always_noticed(family_file: bytes, family: str, kind: str) -> None:
    """In whichever step: of a context model every wave is one."""
    codec = tiny_codec(family)
    file = container.unpack(family_file, DEFAULT_LIMITS)
    laps: list[str] = []
    decode_latent(file, codec, laps.append)
    count, struck = laps.count("range coding"), set()
    assert count >= 2
    for seed in range(100):
        fault = _Desync(codec, kind, seed, count)
        with pytest.raises(LatentMismatchError) as caught:
            decode_latent(file, fault)  # type: ignore[arg-type]
        assert caught.value.exit_code == 9
        struck.add(fault.struck)
    assert struck == set(range(kind == "index", count))


def tiny_codec(family: str) -> HyperpriorCodec:
    codec = load_codec(find(family), torch.device("cpu"))
    assert isinstance(codec, HyperpriorCodec)
    return codec


EXACT_GROUPS = [(family.name, group) for family in FAMILIES for group in codec_class(family.name).network.exact_groups]


@pytest.mark.parametrize(("family", "group"), EXACT_GROUPS)
def test_one_changed_weight_of_an_exact_network_is_always_noticed(
    tiny: Path, photo: RGB, family: str, group: str
) -> None:
    """A change that alters no decoded integer is no desync: 100 that do alter one must all be noticed."""
    codec = tiny_codec(family)
    file = container.unpack(encode_image(photo[:128, :128], base=find(family)), DEFAULT_LIMITS)
    good = decode_latent(file, codec)
    whole = codec.hyper_synthesis.layers if group == "h_s" else codec.exact_layers[group]
    random, noticed, harmless = np.random.default_rng(0), Counter[int](), 0
    while noticed.total() < 100 and harmless < 400:
        layers = list(whole)
        at = int(random.integers(len(layers)))
        weight = layers[at].weight.clone()
        used = weight.view(-1).nonzero()[:, 0]  # a masked convolution has zeros that no change may touch
        weight.view(-1)[used[int(random.integers(len(used)))]] += 8192
        layers[at] = replace(layers[at], weight=weight)
        with pytest.MonkeyPatch.context() as patch:
            if group == "h_s":
                patch.setattr(codec, "hyper_synthesis", replace(codec.hyper_synthesis, layers=tuple(layers)))
            else:
                patch.setattr(codec, group, ContextModel(layers[0], layers[1:]))
            try:
                assert np.array_equal(decode_latent(file, codec), good)
                harmless += 1
            except LatentMismatchError:
                noticed[at] += 1
    assert harmless < 400
    assert set(noticed) == set(range(len(whole)))
    assert np.array_equal(decode_latent(file, codec), good)


def test_mutants_with_a_repaired_checksum_give_a_picture_or_our_error(family_file: bytes) -> None:
    random = np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        mutant = bytearray(family_file)
        for _ in range(int(random.integers(1, 4))):
            mutant[int(random.integers(6, len(mutant)))] = int(random.integers(256))
        try:
            decode_image(seal(bytes(mutant[:-4])), limits=Limits(4096, 2**18, 2**20, 2**28))
        except DlcodecError:
            refused += 1
    assert refused >= 145


@pytest.mark.parametrize("payload", [b"", b"\0" * 400, b"\xff" * 400, b"\0" * 4])
def test_a_payload_that_no_encoder_wrote_makes_no_picture(family_file: bytes, payload: bytes) -> None:
    header = container.unpack(family_file, DEFAULT_LIMITS).header
    data = container.pack(header, (container.Section(container.SECTION_LATENTS, payload),))
    with pytest.raises(LatentMismatchError):
        decode_image(data)


def test_payload_is_close_to_the_tables_ideal_length(family: str, photo: RGB) -> None:
    codec = load_codec(find(family), torch.device("cpu"))
    rgb = photo[:384, :576].copy()
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    bits, encoder, tables = 0.0, Encoder(codec.models), codec.models.tables

    def code(step: CodingStep) -> Integers:
        nonlocal bits
        symbols = known_symbols(step)
        encoder.encode(symbols.ravel(), step.index.ravel())
        low, high = tables.minimum[step.index], tables.maximum[step.index]
        below, above = low - symbols, symbols - high
        excess = np.where(above > 0, 2 * above - 1, 2 * below)[(below > 0) | (above > 0)]
        bits += (5 + np.floor(np.log2(excess))).sum()
        offset = np.where((symbols < low) | (symbols > high), high - low + 1, symbols - low)
        start = tables.start[step.index] + offset
        bits -= np.log2((tables.cdf[start + 1] - tables.cdf[start]) / 2.0**24).sum()
        return symbols

    run_steps(codec.coding_steps(384, 576, 256, codec.analyse(x, 256)), code)
    assert len(encoder.finish()) <= 1.01 * bits / 8 + 16
