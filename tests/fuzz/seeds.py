"""Write the seeds of the corpora: ``python -m tests.fuzz.seeds``. A seed is valid input, a few hundred bytes long."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from dlcodec.checkpoint import DEFAULT_FAMILY, load_arrays
from dlcodec.codecs import codec_class
from dlcodec.container import Section, pack, unpack
from dlcodec.entropy.coder import Encoder, Models
from dlcodec.entropy.tables import table_from_probabilities, table_set
from dlcodec.families import FAMILIES
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import Extras
from dlcodec.sections import pack_extras
from tests.fuzz.fuzz_decoder import WEIGHTS, base_of
from tests.profiles import SRGB

CORPUS = Path(__file__).parent / "corpus"
OTHERS = [family for family in WEIGHTS if family != DEFAULT_FAMILY]
EXIF = b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIHHHHII", 0x112, 3, 1, 1, 0, 0x10F, 2, 4, 0x41424300) + bytes(4)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF tiff:Orientation="1"/></x:xmpmeta>'


def plane(width: int, height: int) -> np.ndarray:
    """A ramp from transparent to opaque, (height, width) uint8."""
    return np.linspace(0, 255, width * height).astype(np.uint8).reshape(height, width)


def _encoded(photo: np.ndarray, extras: Extras, level: float, hint: float | None) -> bytes:
    from dlcodec.pipeline import encode_image

    base = base_of(DEFAULT_FAMILY)
    return encode_image(photo, level, "cpu", tau_hint=hint, sections=pack_extras(extras), base=base)


def decoder_seeds() -> Iterator[tuple[str, bytes]]:
    """Whole files of the tiny codec of the default family, and the golden ones of all others."""
    from dlcodec.image import load
    from dlcodec.samples import COFFEE

    photo = load(COFFEE, DEFAULT_LIMITS)[150:, 200:]
    yield "1x1", _encoded(photo[:1, :1], Extras(), 0, None)
    yield "70x50-hint", _encoded(photo[:50, :70], Extras(), 1, 0.5)
    yield "64x65-fidelity", _encoded(photo[:65, :64], Extras(grey=True), 2, 1.0)
    extras = Extras(alpha=plane(17, 9), exif=EXIF, xmp=XMP, icc=SRGB)
    yield "17x9-extras", _encoded(photo[:9, :17], extras, 1.5, 0.0)
    flat = np.full((64, 64, 3), 128, np.uint8)
    yield "64x64-flat", _encoded(flat, Extras(), 0, 1.0)
    for family in OTHERS:
        for path in sorted(WEIGHTS[family].parent.glob("*.dlc")):
            yield f"{family}-{path.stem}", path.read_bytes()


def container_seeds() -> Iterator[tuple[str, bytes]]:
    """A file with every known section and an unknown one, one with long numbers, and one without a picture."""
    files = dict(decoder_seeds())
    whole = unpack(files["17x9-extras"], DEFAULT_LIMITS)
    yield "every-section", pack(whole.header, (*whole.sections, Section(200, b"later"), Section(199, b"")))
    small = unpack(files["1x1"], DEFAULT_LIMITS)
    yield "plain", files["1x1"]
    yield "long-section", pack(small.header, (*small.sections, Section(255, bytes(300))))
    yield "no-payload", pack(small.header, (Section(1, b""),))


def entropy_seeds() -> Iterator[tuple[str, bytes]]:
    """Tables of both kinds with a payload that an encoder wrote for them."""
    random = np.random.default_rng(0)
    shares = [random.integers(0, 256, length, dtype=np.uint8) for length in (2, 5, 20)]
    lows = (-1, 4, -9)
    tables = table_set([(low, table_from_probabilities(s + 2.0**-20)) for low, s in zip(lows, shares, strict=True)])
    for name, spread, count in (("narrow", 2, 40), ("wide", 5000, 40), ("huge", 2**28, 8)):
        index = random.integers(0, 3, count).astype(np.int32)
        symbols = np.rint(random.standard_normal(count) * spread).clip(-(2**29), 2**29).astype(np.int32)
        encoder = Encoder(Models(tables))
        encoder.encode(symbols, index)
        tail = bytes(index.tolist()) + encoder.finish()
        made = b"".join(struct.pack("<iB", low, len(s) - 2) + s.tobytes() for low, s in zip(lows, shares, strict=True))
        yield f"made-{name}", struct.pack("<BBH", 0, 2, count) + made + tail
        arrays = tables.start.astype("<i4").tobytes() + tables.minimum.astype("<i4").tobytes()
        cdf = tables.cdf.astype("<i4").tobytes()
        yield f"raw-{name}", struct.pack("<BBH", 1, 2, count) + arrays + struct.pack("<H", len(cdf)) + cdf + tail


def _image(form: str, array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, form, **options)
    return stream.getvalue()


def sections_seeds() -> Iterator[tuple[str, bytes]]:
    """Each kind of section, and all of them."""

    def block(kind: int, form: int, data: bytes) -> bytes:
        return struct.pack("<BBH", kind, form, len(data)) + data

    alpha = plane(7, 5)
    blocks = {
        "alpha-png": block(65, 0, _image("PNG", alpha)),
        "alpha-mask": block(65, 0, _image("PNG", alpha > 99)),
        "alpha-webp": block(65, 0, pack_extras(Extras(alpha=alpha))[0].data),
        "exif": block(197, 1, EXIF),
        "icc": block(201, 1, SRGB),
        "xmp": block(216, 1, XMP),
        "grey": block(199, 0, b""),
        "deflated": block(197, 0, pack_extras(Extras(exif=EXIF))[0].data),
    }
    for name, data in blocks.items():
        yield name, bytes([6, 4]) + data
    yield "all", bytes([6, 4]) + b"".join(blocks[n] for n in ("alpha-webp", "exif", "icc", "xmp", "grey"))


def checkpoint_seeds() -> Iterator[tuple[str, bytes]]:
    """One change of each kind, as ``fuzz_checkpoint`` numbers them, the last of them harmless."""

    def block(value: object) -> bytes:
        text = json.dumps(value).encode()
        return struct.pack("<H", len(text)) + text

    config = dict(base_of(DEFAULT_FAMILY).config)
    names = sorted(config)
    yield "same-config", b"\0" + block(config)
    for name in names:
        yield f"entry-{name}", bytes([1, names.index(name)]) + block(config[name])
    yield "element", bytes([2, 5]) + bytes(3) + b"\1\0"
    yield "fill", bytes([3, 0, 3, 0, 0, 0])
    yield "shape", bytes([4, 2, 4, 7, 11, 4, 4])
    yield "type", bytes([5, 30, 4])
    yield "drop", bytes([6, 1])
    for family in OTHERS:
        first = 16 * [known.name for known in FAMILIES].index(family)
        config = dict(base_of(family).config)
        names, arrays = sorted(config), sorted(load_arrays(base_of(family)))
        yield f"{family}-same-config", bytes([first]) + block(config)
        for name in (name for name in names if name.endswith("_shifts")):
            yield f"{family}-entry-{name}", bytes([first + 1, names.index(name)]) + block(config[name])
        for plan in codec_class(family).network.exact_groups["context"]:
            at = arrays.index(f"exact.{plan.name}.weight")
            yield f"{family}-largest-{plan.name}", bytes([first + 3, at]) + b"\xff\x7f"  # that such an array holds
            yield f"{family}-smallest-{plan.name}", bytes([first + 3, at]) + b"\0\x80"
            yield f"{family}-type-{plan.name}", bytes([first + 5, at, 2])


def main() -> None:
    """Write every seed into the folder of its target."""
    for name, seeds in {
        "checkpoint": checkpoint_seeds,
        "container": container_seeds,
        "decoder": decoder_seeds,
        "entropy": entropy_seeds,
        "sections": sections_seeds,
    }.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, data in seeds():
            (folder / seed).write_bytes(data)


if __name__ == "__main__":
    main()
