from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from dlcodec.entropy.coder import Decoder, Encoder, Models
from dlcodec.entropy.tables import TOTAL, TableSet, table_from_probabilities, table_set
from dlcodec.errors import DlcodecError, LatentMismatchError
from tests.entropy.reference import decode as reference_decode


def small_tables() -> TableSet:
    first = np.array([0, 5, 105, TOTAL - 1, TOTAL], dtype=np.int32)
    second = np.array([0, 1, 2, 3, TOTAL // 3, TOTAL], dtype=np.int32)
    third = table_from_probabilities(np.array([0.1, 0.2, 0.4, 0.2, 0.0999, 1e-4]))
    return table_set([(-1, first), (4, second), (-2, third)])


def coded(symbols: list[int], index: list[int], tables: TableSet) -> bytes:
    encoder = Encoder(Models(tables))
    encoder.encode(np.array(symbols, np.int32), np.array(index, np.int32))
    return encoder.finish()


def decoded(data: bytes, index: list[int], tables: TableSet) -> list[int]:
    decoder = Decoder(Models(tables), data)
    symbols = decoder.decode(np.array(index, np.int32)).tolist()
    decoder.finish()
    return [int(symbol) for symbol in symbols]


EXACT = [
    ([1, -1, 0, 1, 1], [0, 0, 0, 0, 0], "0069000023011900"),
    ([7, 4, 5, 6], [1, 1, 1, 1], "000300005255000000aaaa00"),
    ([-2, -1, 0, 1, 2, 1, 4], [2, 2, 2, 2, 2, 0, 1], "05690000686b6be5"),
    ([9, -9, 100000, -100000, 2**29], [2, 2, 0, 1, 2], "ffffffffabaafffd77b4ecb0d05b5a31f2ff271f"),
]


@pytest.mark.parametrize(("symbols", "index", "words"), EXACT)
def test_fixed_messages_give_exactly_these_words(symbols: list[int], index: list[int], words: str) -> None:
    data = coded(symbols, index, small_tables())
    assert data.hex() == words
    assert decoded(data, index, small_tables()) == symbols


def test_a_decoder_written_from_the_description_reads_what_the_coder_writes() -> None:
    random = np.random.default_rng(1)
    tables = small_tables()
    cdfs = [
        tables.cdf[a:b].tolist() for a, b in zip(tables.start[:-1].tolist(), tables.start[1:].tolist(), strict=True)
    ]
    for _ in range(20):
        index = random.integers(0, 3, 400).tolist()
        symbols = [int(v) for v in np.rint(random.standard_normal(400) * random.choice([1, 3, 50, 2000]))]
        data = coded(symbols, index, tables)
        assert reference_decode(cdfs, tables.minimum.tolist(), index, data) == symbols


def test_every_symbol_has_exactly_the_counts_of_its_table() -> None:
    """Two neighbours of 1 and 2^24 - 2 parts: one part more or less anywhere would change the code length."""
    cdf = np.array([0, 1, TOTAL - 1, TOTAL], dtype=np.int32)
    tables = table_set([(0, cdf)])
    index, symbols = [0] * 3000, [0] * 1000 + [1] * 2000
    data = coded(symbols, index, tables)
    assert abs(len(data) * 8 - 1000 * 24) <= 64
    assert reference_decode([cdf.tolist()], [0], index, data) == symbols


@pytest.mark.parametrize("magnitude", [6, 7, 100, 2**15, 2**16, 2**17, 2**24, 2**29])
@pytest.mark.parametrize("sign", [1, -1])
def test_symbols_outside_the_support_escape_exactly(magnitude: int, sign: int) -> None:
    symbols, index = [0, sign * magnitude, 1, sign * (magnitude - 1)], [2, 0, 2, 1]
    assert decoded(coded(symbols, index, small_tables()), index, small_tables()) == symbols


def test_a_symbol_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(DlcodecError, match="too large"):
        coded([2**29 + 1], [0], small_tables())


def test_an_empty_message_decodes_to_nothing() -> None:
    assert decoded(coded([], [], small_tables()), [], small_tables()) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_real_bytes_stay_within_one_percent_of_the_ideal_length(share: float) -> None:
    random = np.random.default_rng(2)
    tables = small_tables()
    index = random.choice(3, 20000, p=[share, 0, 1 - share])
    symbols = np.where(index == 0, 1, np.rint(random.standard_normal(20000)).clip(-2, 2)).astype(np.int32)
    parts = [tables.counts[t][s - tables.minimum[t]] for t, s in zip(index.tolist(), symbols.tolist(), strict=True)]
    ideal = -np.log2(np.array(parts) / TOTAL).sum() / 8
    assert len(coded(symbols.tolist(), index.tolist(), tables)) <= 1.01 * ideal + 16


def test_damaged_payloads_are_refused() -> None:
    random = np.random.default_rng(3)
    index = random.integers(0, 3, 500).astype(np.int32)
    good = coded(np.rint(random.standard_normal(500) * 5).astype(int).tolist(), index.tolist(), small_tables())
    for trial in range(300):
        damaged = bytearray(good)
        kind = trial % 4
        if kind == 0:
            damaged = damaged[: 4 * int(random.integers(len(good) // 4))]
        elif kind == 1:
            damaged = bytearray(random.bytes(len(good)))
        elif kind == 2:
            damaged = bytearray([255 * (trial % 8 > 3)]) * len(good)
        else:
            damaged[int(random.integers(len(good)))] ^= 1 << int(random.integers(8))
        with pytest.raises(LatentMismatchError):
            decoded(bytes(damaged), index.tolist(), small_tables())


def test_a_payload_that_is_no_whole_number_of_words_is_refused() -> None:
    with pytest.raises(LatentMismatchError, match="32-bit words"):
        Decoder(Models(small_tables()), b"abc")


def test_a_payload_of_escapes_alone_takes_little_memory() -> None:
    """It once took 116 bytes a symbol."""
    models, count = Models(table_set([(0, np.array([0, 1, TOTAL], np.int32))])), 50_000
    index = np.zeros(count, np.int32)
    encoder = Encoder(models)
    encoder.encode(np.ones(count, np.int32), index)
    decoder = Decoder(models, encoder.finish())
    tracemalloc.start()
    try:
        decoder.decode(index)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * count
