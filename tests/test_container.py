"""The container against bytes written out by hand from docs/format.md, and against damage."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dlcodec
from dlcodec.container import SECTION_LATENTS, TAU_STEPS, Container, Header, Section, pack, unpack
from dlcodec.errors import CorruptFileError, DlcodecError, LimitError, UnsupportedFileError
from dlcodec.families import FAMILIES
from dlcodec.limits import DEFAULT_LIMITS
from tests.forged import seal, varint

# magic (6), version, minimum reader, family, coder, flags, level u16, tau hint, model digest (8), latent digest u32
MAGIC = b"\x89DLC\r\n"
PLAIN = b"\x01\x01\x01\x01\x00\x00\x05\xffMODELDIG\x78\x56\x34\x12"
SIDES = b"\x10\x10"
LATENTS = b"\x01\x04\xde\xad\xbe\xef"
GOLDEN_FILES = sorted((Path(__file__).parent / "golden").rglob("*.dlc"))


def with_byte(at: int, value: int) -> bytes:
    """The plain header with one byte changed, sealed again."""
    return seal(MAGIC + PLAIN[:at] + bytes([value]) + PLAIN[at + 1 :] + SIDES + LATENTS)


def with_sides(sides: bytes) -> bytes:
    return seal(MAGIC + PLAIN + sides + LATENTS)


def with_sections(sections: bytes) -> bytes:
    return seal(MAGIC + PLAIN + SIDES + sections)


GOOD = with_sections(LATENTS)

FAULTS: dict[str, tuple[bytes, type[DlcodecError], str]] = {
    "empty": (b"", CorruptFileError, "truncated: 0 bytes"),
    "magic only": (b"\x89DLC\r\n", CorruptFileError, "truncated: 6 bytes"),
    "half a magic": (b"\x89DL", CorruptFileError, "truncated: 3 bytes"),
    "high bit lost": (b"\x09" + GOOD[1:], CorruptFileError, "text mode"),
    "CR LF became LF": (b"\x89DLC\n" + GOOD[6:], CorruptFileError, "text mode"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, CorruptFileError, "not a dlcodec file"),
    "text": (b"Dear reader, " * 9, CorruptFileError, "not a dlcodec file"),
    "header cut": (GOOD[:20], CorruptFileError, "truncated: 20 bytes"),
    "reader 2": (with_byte(1, 2), UnsupportedFileError, "reader of format 2"),
    "version and reader 2": (
        seal(MAGIC + b"\x02\x02" + PLAIN[2:] + SIDES + LATENTS),
        UnsupportedFileError,
        "reader of format 2",
    ),
    "reader 2, no checksum": (GOOD[:7] + b"\x02" + GOOD[8:], UnsupportedFileError, "reader of format 2"),
    "version 0": (with_byte(0, 0), CorruptFileError, "version 0"),
    "reader 0": (with_byte(1, 0), CorruptFileError, "reader 0"),
    "unknown family": (with_byte(2, 200), UnsupportedFileError, "family 200"),
    "family 0": (with_byte(2, 0), UnsupportedFileError, "family 0"),
    "unknown coder": (with_byte(3, 2), UnsupportedFileError, "coder 2"),
    "critical flag": (with_byte(4, 0x10), UnsupportedFileError, "flags 0x10"),
    "highest critical flag": (with_byte(4, 0x80), UnsupportedFileError, "flags 0x80"),
    "width 0": (with_sides(b"\x00\x10"), CorruptFileError, "0 x 16"),
    "height 0": (with_sides(b"\x10\x00"), CorruptFileError, "16 x 0"),
    "width 65536": (with_sides(b"\x80\x80\x04\x01"), LimitError, "65536 x 1"),
    "width 2^32 - 1": (with_sides(b"\xff\xff\xff\xff\x0f\x01"), LimitError, "4294967295 x 1"),
    "height 2^32 - 1": (with_sides(b"\x01\xff\xff\xff\xff\x0f"), LimitError, "1 x 4294967295"),
    "too many pixels": (with_sides(b"\x80\x80\x01\x80\x80\x01"), LimitError, "16384 x 16384"),
    "padded width": (with_sides(b"\x90\x00\x10"), CorruptFileError, "padded"),
    "width of 33 bits": (with_sides(b"\xff\xff\xff\xff\x1f\x01"), CorruptFileError, "32 bits"),
    "width of 6 bytes": (with_sides(b"\x80\x80\x80\x80\x80\x01\x10"), CorruptFileError, "longer than 5 bytes"),
    "number cut": (with_sections(LATENTS + b"\x80\x80"), CorruptFileError, "inside a number"),
    "section length missing": (with_sections(LATENTS + b"\x80"), CorruptFileError, "inside a number"),
    "section too long": (with_sections(b"\x01\x05\xde\xad\xbe\xef"), CorruptFileError, "claims 5 bytes where 4"),
    "section of 4 GiB": (with_sections(b"\x01\xff\xff\xff\xff\x0f" + b"\0" * 4), CorruptFileError, "4294967295 bytes"),
    "padded length": (with_sections(b"\x01\x84\x00\xde\xad\xbe\xef"), CorruptFileError, "padded"),
    "no latents": (with_sections(b"\x80\x01\x00"), CorruptFileError, "0 latent sections"),
    "no sections": (with_sections(b""), CorruptFileError, "0 latent sections"),
    "two latents": (with_sections(LATENTS + LATENTS), CorruptFileError, "2 latent sections"),
    "unknown critical section": (with_sections(LATENTS + b"\x02\x00"), UnsupportedFileError, "unknown type 2"),
    "section type 0": (with_sections(LATENTS + b"\x00\x00"), UnsupportedFileError, "unknown type 0"),
    "section type 127": (with_sections(LATENTS + b"\x7f\x00"), UnsupportedFileError, "unknown type 127"),
    "65 sections": (with_sections(LATENTS + b"\x80\x00" * 64), CorruptFileError, "more than 64 sections"),
    "checksum damaged": (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), CorruptFileError, "checksum"),
    "payload damaged": (GOOD[:-5] + bytes([GOOD[-5] ^ 1]) + GOOD[-4:], CorruptFileError, "checksum"),
    "one byte too many": (GOOD + b"\x00", CorruptFileError, "after its end"),
    "a second file appended": (GOOD + GOOD, CorruptFileError, "after its end"),
}

EXIT_CODES = {CorruptFileError: 4, UnsupportedFileError: 5, LimitError: 6}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_class_code_and_message(name: str) -> None:
    data, kind, fragment = FAULTS[name]
    with pytest.raises(DlcodecError) as caught:
        unpack(data, DEFAULT_LIMITS)
    assert type(caught.value) is kind
    assert caught.value.exit_code == EXIT_CODES[kind]
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_hand_written_file_is_read() -> None:
    header = Header("mean-scale", 16, 16, 0x500, None, b"MODELDIG", 0x12345678)
    assert unpack(GOOD, DEFAULT_LIMITS) == Container(header, (Section(1, b"\xde\xad\xbe\xef"),), 1)


def test_pack_writes_the_hand_written_file() -> None:
    header = Header("mean-scale", 16, 16, 0x500, None, b"MODELDIG", 0x12345678)
    assert pack(header, (Section(SECTION_LATENTS, b"\xde\xad\xbe\xef"),)) == GOOD


@pytest.mark.parametrize("sides", [(1, 1), (127, 128), (129, 16383), (16384, 1024), (1, 65535), (65535, 256)])
@pytest.mark.parametrize(("level", "hint"), [(0, None), (1, 0), (1792, 127), (65535, 254)])
def test_every_header_field_survives(sides: tuple[int, int], level: int, hint: int | None) -> None:
    header = Header("mean-scale", *sides, level, hint, bytes(range(248, 256)), 2**32 - 1)
    sections = (Section(0x80, b""), Section(SECTION_LATENTS, bytes(range(256))), Section(0xFF, b"x" * 20000))
    file = unpack(pack(header, sections), DEFAULT_LIMITS)
    assert (file.header, file.sections, file.payload) == (header, sections, bytes(range(256)))


@pytest.mark.parametrize("sides", [(768, 512), (512, 768), (65535, 256), (4096, 4096)])
@pytest.mark.parametrize("length", [0, 20000, 2**21])
def test_the_overhead_is_at_most_38_bytes_and_40_of_large_files(sides: tuple[int, int], length: int) -> None:
    header = Header("mean-scale", *sides, 1280, None, b"MODELDIG", 2**32 - 1)
    overhead = len(pack(header, (Section(SECTION_LATENTS, bytes(length)),))) - length
    assert overhead <= (38 if max(sides) < 16384 and length < 2**21 else 40)


def test_a_hint_is_a_short_tau_and_all_of_them_differ() -> None:
    taus = [Header("mean-scale", 1, 1, 0, hint, b"MODELDIG", 0).default_tau for hint in range(TAU_STEPS + 1)]
    assert [round(tau * TAU_STEPS) for tau in taus] == list(range(TAU_STEPS + 1))
    assert (taus[0], taus[76], taus[127], taus[-1]) == (0, 0.299, 0.5, 1)


@pytest.mark.parametrize("path", GOLDEN_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_truncation_at_every_byte_is_refused(path: Path) -> None:
    """Of every golden file; the container needs no weights."""
    data = path.read_bytes()
    unpack(data, DEFAULT_LIMITS)
    for length in range(len(data)):
        with pytest.raises(CorruptFileError):
            unpack(data[:length], DEFAULT_LIMITS)


def test_all_families_are_among_the_golden_files() -> None:
    families = {unpack(path.read_bytes(), DEFAULT_LIMITS).header.family for path in GOLDEN_FILES}
    assert families == {family.name for family in FAMILIES}


def test_every_flipped_bit_is_refused(tiny_file: bytes) -> None:
    for at in range(len(tiny_file)):
        for bit in range(8):
            damaged = tiny_file[:at] + bytes([tiny_file[at] ^ 1 << bit]) + tiny_file[at + 1 :]
            with pytest.raises(DlcodecError):
                unpack(damaged, DEFAULT_LIMITS)


def test_what_follows_the_end_is_refused(tiny_file: bytes) -> None:
    for tail in (b"\0", b"\n", tiny_file[-4:], b"PK\x03\x04" + bytes(30), tiny_file, GOOD):
        with pytest.raises(CorruptFileError, match="after its end"):
            unpack(tiny_file + tail, DEFAULT_LIMITS)


def _same_picture(changed: bytes, original: bytes) -> bool:
    return np.array_equal(np.asarray(dlcodec.decode(changed)), np.asarray(dlcodec.decode(original)))


def test_an_unknown_ancillary_section_is_skipped(tiny_file: bytes) -> None:
    assert _same_picture(seal(tiny_file[:-4] + b"\xc8\x05hello"), tiny_file)


def test_an_ancillary_section_before_the_latents_is_skipped(tiny_file: bytes) -> None:
    start = 6 + 20 + 2  # 70 x 50: one byte a side
    assert tiny_file[start] == SECTION_LATENTS
    assert _same_picture(seal(tiny_file[:start] + b"\x80\x03abc" + tiny_file[start:-4]), tiny_file)


def test_ignorable_flags_are_ignored(tiny_file: bytes) -> None:
    assert tiny_file[10] == 0
    assert _same_picture(seal(tiny_file[:10] + b"\x0f" + tiny_file[11:-4]), tiny_file)


def test_a_newer_version_that_old_readers_can_read_decodes(tiny_file: bytes) -> None:
    newer = seal(tiny_file[:6] + b"\x09\x01" + tiny_file[8:-4])
    assert unpack(newer, DEFAULT_LIMITS).version == 9
    assert _same_picture(newer, tiny_file)


def test_a_newer_minimum_reader_is_code_5(tiny_file: bytes) -> None:
    with pytest.raises(UnsupportedFileError) as caught:
        dlcodec.decode(seal(tiny_file[:6] + b"\x09\x02" + tiny_file[8:-4]))
    assert caught.value.exit_code == 5


def test_64_sections_are_allowed() -> None:
    assert len(unpack(with_sections(LATENTS + b"\x80\x00" * 63), DEFAULT_LIMITS).sections) == 64


def test_a_hundred_header_bombs_are_over_the_limit() -> None:
    random_ = random.Random(3)
    begun = time.process_time()
    for number in range(100):
        large = 2**32 - 1 if number == 0 else random_.randrange(2**16, 2**32)
        sides = [large, random_.choice((1, 8, 2**32 - 1))]
        random_.shuffle(sides)
        encoded = b"".join(varint(side) for side in sides)
        with pytest.raises(LimitError):
            unpack(with_sides(encoded), DEFAULT_LIMITS)
    assert time.process_time() - begun < 0.5


def _mutate(data: bytes, random_: random.Random) -> bytes:
    body = bytearray(data[:-4])
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(6, len(body))
        if (what := random_.randrange(4)) == 0:
            del body[at : at + random_.randint(1, 4)]
        elif what == 1:
            body[at:at] = random_.randbytes(random_.randint(1, 4))
        else:
            body[at] = random_.choice((0, 0x7F, 0x80, 0xFF, random_.randrange(256)))
        if len(body) < 8:
            break
    return seal(bytes(body))


def _run_mutants(count: int, seed: int, watch: Callable[[float], None]) -> tuple[int, int]:
    random_, refused = random.Random(seed), 0
    for _ in range(count):
        mutant = _mutate(GOOD, random_)
        begun = time.process_time()
        try:
            unpack(mutant, DEFAULT_LIMITS)
        except DlcodecError:
            refused += 1
        watch(time.process_time() - begun)
    return refused, count - refused


def test_mutants_with_a_valid_checksum_raise_only_our_errors() -> None:
    refused, accepted = _run_mutants(2000, 1, lambda _: None)
    assert refused > 500
    assert accepted > 100


@pytest.mark.slow
def test_100000_mutants_take_at_most_5_ms_each() -> None:
    times: list[float] = []
    refused, accepted = _run_mutants(100_000, 2, times.append)
    assert len(times) == 100_000
    assert min(refused, accepted) > 5000
    assert max(times) <= 0.005
