"""Corrected latents: the cheapest of three symbols by hand, who is corrected, and what may go wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import dlcodec
from dlcodec import installed, memory
from dlcodec.arguments import Effort
from dlcodec.codecs.correction import ERROR_WEIGHT, correct
from dlcodec.entropy.exact import HyperSynthesis
from dlcodec.entropy.length import CodeLength
from dlcodec.entropy.tables import TableSet
from dlcodec.errors import UsageError
from dlcodec.loading import load_codec
from dlcodec.pipeline import decode_image, encode_image
from tests.conftest import RGB

CPU = torch.device("cpu")


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCODEC_WEIGHTS", "")


def drawn(tables: TableSet, *, faithful: bool) -> tuple[NDArray[np.int32], ...]:
    """Symbols, their tables, offsets and what is lost: that which rounding took, or something else."""
    random, shape = np.random.default_rng(0), (5, 20, 30)
    index = random.integers(0, len(tables), shape, dtype=np.int32)
    offset = (random.standard_normal(shape) * random.choice([0.3, 3, 300], shape)).astype(np.float32)
    symbols = np.rint(offset).astype(np.int32)
    lost = random.normal(0, 0.1, shape) + 1.2 * (offset - symbols) if faithful else random.normal(0, 0.5, shape)
    return symbols, index, offset, lost.astype(np.float32)


def cheapest(symbols: NDArray[np.int32], index: NDArray[np.int32], lost: NDArray[np.float32], length: CodeLength):  # type: ignore[no-untyped-def]
    moves = np.array([-1, 0, 1], np.int32)[:, None, None, None]
    totals = np.stack([length.costs(symbols + move, index) for move in (-1, 0, 1)])
    totals += ERROR_WEIGHT * (moves**2 - 2 * 1.15 * moves * lost)
    return totals.argmin(0) - 1


def test_each_symbol_becomes_the_cheapest_of_three_but_never_goes_away(tiny: Path) -> None:
    tables = load_codec(installed.find("mean-scale"), CPU).models.tables
    symbols, index, offset, lost = drawn(tables, faithful=True)
    moves = cheapest(symbols, index, lost, CodeLength(tables))
    moves *= moves * (offset - symbols) > 0
    wanted = symbols + moves
    assert 0.02 < (wanted != symbols).mean() < 0.8
    correct(symbols, index, offset, lost, CodeLength(tables))
    assert np.array_equal(symbols, wanted)


def test_blocks_where_loss_and_rounding_disagree_are_left_alone(tiny: Path) -> None:
    tables = load_codec(installed.find("mean-scale"), CPU).models.tables
    symbols, index, offset, lost = drawn(tables, faithful=True)
    lost[:, 8:16, 24:] = drawn(tables, faithful=False)[3][:, 8:16, 24:]
    kept = symbols.copy()
    assert cheapest(symbols, index, lost, CodeLength(tables))[:, 8:16, 24:].any()
    correct(symbols, index, offset, lost, CodeLength(tables))
    changed = (symbols != kept).any(0)
    assert not changed[8:16, 24:].any()
    changed[8:16, 24:] = True
    assert changed.mean() > 0.2


def test_nothing_lost_and_nothing_dear_moves_nothing(tiny: Path) -> None:
    tables = load_codec(installed.find("mean-scale"), CPU).models.tables
    index = np.arange(len(tables), dtype=np.int32)[:, None, None]
    likeliest = np.array([low + count.argmax() for low, count in zip(tables.minimum, tables.counts, strict=True)])
    symbols = likeliest[:, None, None].astype(np.int32)
    kept = symbols.copy()
    correct(symbols, index, symbols + np.float32(0.4), np.zeros(symbols.shape, np.float32), CodeLength(tables))
    assert np.array_equal(symbols, kept)


def test_it_is_the_default_and_runs_the_exact_path_once(
    shipped: None, photo: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = HyperSynthesis.__call__

    def watch(self: HyperSynthesis, symbols: np.ndarray, level: int) -> np.ndarray:  # type: ignore[type-arg]
        calls.append(level)
        return real(self, symbols, level)

    monkeypatch.setattr(HyperSynthesis, "__call__", watch)
    crop = photo[100:190, 100:230]
    data = encode_image(crop, 5.0)
    assert calls == [1280]
    assert data == encode_image(crop, 5.0, effort="medium") != encode_image(crop, 5.0, effort="low")
    assert decode_image(data, 0.0).shape == crop.shape


def test_a_family_that_predicts_from_earlier_symbols_is_left_as_it_is(tiny: Path, photo: RGB) -> None:
    base, crop = installed.find("cheng2020"), photo[:64, :64]
    assert encode_image(crop, base=base) == encode_image(crop, base=base, effort="low")


def test_weights_of_unknown_lambda_are_left_as_they_are(
    tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_codec(installed.find("mean-scale"), CPU), "_lambdas", [None] * 3)
    crop = photo[:90, :130]
    assert encode_image(crop) == encode_image(crop, effort="low")


def test_tiles_correct_as_the_whole_does(shipped: None, photo: RGB, monkeypatch: pytest.MonkeyPatch) -> None:
    crop = photo[:260, :300]
    whole = decode_image(encode_image(crop, 4.0, precision="fp32"), 1.0)
    monkeypatch.setattr(memory, "DEFAULT_WORK", 12 * 2**20)
    tiled = decode_image(encode_image(crop, 4.0, precision="fp32"), 1.0)
    assert (np.abs(tiled.astype(int) - whole) > 2).mean() < 0.001


def drawn_text() -> RGB:
    image = Image.new("RGB", (256, 192), "white")
    pen = ImageDraw.Draw(image)
    for line in range(14):
        pen.text((5, 5 + 13 * line), "The quick brown fox jumps over the lazy dog 0123", fill="black")
    return np.asarray(image)


@pytest.mark.parametrize("level", [0.0, 2.0, 4.0, 7.0])
def test_drawn_text_loses_little_though_its_analysis_undoes_no_synthesis(shipped: None, level: float) -> None:
    """Without TRUST, its error grew by 18 % at level 2 and doubled at level 7."""
    text = drawn_text()

    def error(effort: Effort) -> float:
        return float(np.square(decode_image(encode_image(text, level, effort=effort), 1.0).astype(float) - text).mean())

    assert error("medium") <= 1.06 * error("low")


def test_padding_is_not_corrected(shipped: None, photo: RGB) -> None:
    """A picture of one pixel is padding but for one latent."""

    def size(effort: Effort) -> int:
        return sum(len(encode_image(photo[i : i + 1, 200:201], 6.0, effort=effort)) for i in range(0, 160, 16))

    assert size("medium") <= size("low") + 8


def test_an_effort_that_there_is_not_is_refused(tiny: Path, photo: RGB) -> None:
    with pytest.raises(UsageError, match="effort 'most' is not one of low, medium, high"):
        dlcodec.encode(photo[:64, :64], effort="most")  # type: ignore[arg-type]
