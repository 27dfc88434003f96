"""Entropy tables and the range decoder: tables of any integers, and payloads that no encoder wrote.

An input is: kind of tables (1 byte), number of tables (1), number of symbols (2), the tables, the index of each symbol
(1 each), the payload. Tables are raw (start, minimum and cdf as in a checkpoint) or made of probabilities.
"""

from __future__ import annotations

import numpy as np

from dlcodec.entropy.coder import Decoder, Encoder, Models
from dlcodec.entropy.length import CodeLength
from dlcodec.entropy.tables import TableSet, table_from_probabilities, table_set
from dlcodec.errors import DlcodecError, LatentMismatchError
from tests.entropy.reference import decode as reference_decode
from tests.fuzz.source import Source

_MOST_TABLES = 8
_MOST_SYMBOLS = 512
_LARGEST = 2**29


def check(data: bytes) -> bool:
    """Tables and payloads are refused by an error of ours, or decode to what the reference decoder reads.

    Returns whether they decode.
    """
    source = Source(data)
    raw, count, symbols = source.number() & 1, 1 + source.number() % _MOST_TABLES, source.number(2) % _MOST_SYMBOLS
    try:
        tables = _raw_tables(source, count) if raw else _made_tables(source, count)
    except DlcodecError:
        return False
    index = np.array([source.number() % len(tables) for _ in range(symbols)], np.int32)
    payload = source.rest()
    try:
        decoder = Decoder(Models(tables), payload)
        decoded = decoder.decode(index)
        decoder.finish()
    except LatentMismatchError:
        return False
    bounds = zip(tables.start[:-1].tolist(), tables.start[1:].tolist(), strict=True)
    cdfs = [tables.cdf[first:last].tolist() for first, last in bounds]
    assert reference_decode(cdfs, tables.minimum.tolist(), index.tolist(), payload) == decoded.tolist()
    _check_encoding(tables, decoded, index)
    return True


def _raw_tables(source: Source, count: int) -> TableSet:
    start = np.frombuffer(source.take(4 * count + 4).ljust(4 * count + 4, b"\0"), "<i4")
    minimum = np.frombuffer(source.take(4 * count).ljust(4 * count, b"\0"), "<i4")
    block = source.block()
    cdf = np.frombuffer(block[: len(block) // 4 * 4], "<i4")
    return TableSet(cdf.astype(np.int32), start.astype(np.int32), minimum.astype(np.int32))


def _made_tables(source: Source, count: int) -> TableSet:
    tables = []
    for _ in range(count):
        lowest = int.from_bytes(source.take(4).ljust(4, b"\0"), "little", signed=True)
        shares = np.frombuffer(source.take(2 + source.number() % 40).ljust(2, b"\1"), np.uint8).astype(np.float64)
        tables.append((lowest, table_from_probabilities(shares + 2.0**-20)))
    return table_set(tables)


def _check_encoding(tables: TableSet, symbols: np.ndarray, index: np.ndarray) -> None:
    """What was decoded can be encoded, comes back, and takes as long as its length says."""
    if symbols.size and np.abs(symbols.astype(np.int64)).max() > _LARGEST:
        return
    encoder, length = Encoder(Models(tables)), CodeLength(tables)
    encoder.encode(symbols, index)
    length.encode(symbols, index)
    coded = encoder.finish()
    assert Decoder(Models(tables), coded).decode(index).tolist() == symbols.tolist()
    assert abs(len(coded) - length.bits / 8) <= 0.01 * length.bits / 8 + 16
