"""Pictures through the public functions: what goes in comes out, whatever kind of picture it is."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

import dlcodec
from dlcodec.errors import DlcodecError, InputError, LimitError, UnsupportedFileError
from dlcodec.picture import Extras, Picture, to_pillow
from dlcodec.pipeline import decode_image, encode_image
from tests.conftest import RGB
from tests.forged import seal
from tests.profiles import SRGB, adobe_rgb, cmyk
from tests.profiles import grey as grey_profile
from tests.test_metadata import XMP, make_exif, read

ALPHA = np.tile(np.arange(0, 250, 5, dtype=np.uint8)[:, None], (1, 70))


@pytest.fixture
def crop(photo: RGB) -> RGB:
    return photo[100:150, 200:270].copy()


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def kinds(data: bytes) -> set[str]:
    return set(dlcodec.read_info(data).sections)


def test_the_image_has_the_mode_and_the_metadata_of_the_picture(crop: RGB) -> None:
    alpha = ALPHA
    assert to_pillow(Picture(crop, Extras())).info == {}
    for extras, mode in (
        (Extras(), "RGB"),
        (Extras(grey=True), "L"),
        (Extras(alpha=alpha), "RGBA"),
        (Extras(alpha, True, icc=b"i", exif=b"e", xmp=b"x"), "LA"),
    ):
        image = to_pillow(Picture(crop, extras))
        assert image.mode == mode
        if extras.alpha is not None:
            assert np.array_equal(np.asarray(image.getchannel("A")), alpha)
    assert image.info == {"icc_profile": b"i", "exif": b"Exif\0\0e", "xmp": b"x"}


def test_a_plain_colour_picture_is_coded_as_before(tiny: Path, crop: RGB) -> None:
    expected = encode_image(crop)
    opaque = np.dstack([crop, np.full(crop.shape[:2], 255, dtype=np.uint8)])
    assert dlcodec.encode(crop) == dlcodec.encode(opaque) == expected
    assert dlcodec.encode(saved(Image.fromarray(crop), "PNG", icc_profile=SRGB)) == expected
    assert kinds(expected) == {"latents"}


def test_a_picture_comes_as_array_image_path_bytes_or_stream(tiny: Path, crop: RGB, tmp_path: Path) -> None:
    rgba = np.dstack([crop, ALPHA])
    data = saved(Image.fromarray(rgba), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    expected = dlcodec.encode(rgba)
    with (tmp_path / "a.png").open("rb") as stream:
        sources = [data, bytearray(data), io.BytesIO(data), stream, str(tmp_path / "a.png"), Image.fromarray(rgba)]
        sources += [tmp_path / "a.png", Image.open(io.BytesIO(data))]
        assert [dlcodec.encode(source) for source in sources] == [expected] * len(sources)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"text",
        io.StringIO("text"),
        3,
        None,
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
    ids=["nothing", "text", "text stream", "number", "None", "floats", "two channels", "no pixels"],
)
def test_what_is_no_picture_is_an_input_error(tiny: Path, source: Any) -> None:
    with pytest.raises(InputError):
        dlcodec.encode(source)


def test_a_stream_over_the_limit_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch, crop: RGB) -> None:
    from dlcodec import limits

    small = limits.Limits(side=65535, pixels=2**24, file_bytes=100, weights_bytes=2**28)
    monkeypatch.setattr(limits, "DEFAULT_LIMITS", small)
    data = saved(Image.fromarray(crop), "PNG")
    for source in (data, io.BytesIO(data)):
        with pytest.raises(LimitError, match="100 bytes"):
            dlcodec.encode(source)


def test_an_image_stays_as_it_was(tiny: Path, crop: RGB) -> None:
    image = Image.open(io.BytesIO(saved(Image.fromarray(crop), "JPEG", exif=make_exif(), xmp=XMP)))
    before = (image.size, dict(image.info))
    picture = dlcodec.decode(dlcodec.encode(image), tau=1)
    assert (image.size, dict(image.info)) == before
    assert picture.size == (50, 70)


@pytest.mark.parametrize("grey", [False, True])
def test_alpha_comes_back_exactly(tiny: Path, crop: RGB, grey: bool) -> None:
    image = Image.fromarray(crop).convert("L" if grey else "RGB")
    image.putalpha(Image.fromarray(ALPHA))
    data = dlcodec.encode(image)
    info = dlcodec.read_info(data)
    assert (info.alpha, info.grey, info.metadata) == (True, grey, False)
    for tau in (1, 0):
        decoded = dlcodec.decode(data, tau=tau)
        assert decoded.mode == ("LA" if grey else "RGBA")
        assert np.array_equal(np.asarray(decoded.getchannel("A")), ALPHA)
        assert np.array_equal(
            np.asarray(decoded.convert("RGB")),
            to_pillow(Picture(decode_image(data, tau), Extras(grey=grey))).convert("RGB"),
        )


def test_hidden_colours_cost_nothing(tiny: Path, crop: RGB) -> None:
    hole = np.full(crop.shape[:2], 255, dtype=np.uint8)
    hole[10:40, 10:60] = 0
    noise = crop.copy()
    noise[hole == 0] = np.random.default_rng(0).integers(0, 256, (1500, 3))
    assert dlcodec.encode(np.dstack([noise, hole])) == dlcodec.encode(np.dstack([crop, hole]))
    filled, kept = (dlcodec.read_info(dlcodec.encode(a)) for a in (np.dstack([noise, hole]), noise))
    assert filled.payload_bytes < kept.payload_bytes


def test_grey_comes_back_grey(tiny: Path, crop: RGB) -> None:
    grey = crop[..., 1].copy()
    data = dlcodec.encode(grey)
    decoded = dlcodec.decode(data, tau=1)
    assert decoded.mode == "L"
    assert np.array_equal(np.asarray(decoded), np.asarray(Image.fromarray(decode_image(data, 1.0)).convert("L")))
    assert len(data) == len(encode_image(grey[..., None].repeat(3, axis=2))) + 2
    assert dlcodec.read_info(data).grey


def test_metadata_comes_back_and_the_picture_is_upright(tiny: Path, crop: RGB) -> None:
    source = saved(Image.fromarray(crop), "JPEG", exif=make_exif(6), xmp=XMP, icc_profile=adobe_rgb())
    data = dlcodec.encode(source)
    decoded = dlcodec.decode(data, tau=1)
    assert decoded.size == (50, 70)
    assert decoded.info["icc_profile"] == adobe_rgb()
    assert decoded.info["xmp"] == XMP.replace(b'"6"', b'"1"')
    exif = read(decoded.info["exif"])
    assert (exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make]) == (1, "Maker")
    assert kinds(data) == {"latents", "EXIF", "ICC", "XMP"}
    assert dlcodec.read_info(data).metadata


def test_stripped_of_metadata_a_picture_is_upright_srgb(tiny: Path, crop: RGB) -> None:
    source = saved(Image.fromarray(crop), "PNG", exif=make_exif(6), icc_profile=adobe_rgb())
    data = dlcodec.encode(source, strip=True)
    assert kinds(data) == {"latents"}
    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(io.BytesIO(adobe_rgb()))
    upright = Image.fromarray(np.rot90(crop, -1).copy())
    converted = ImageCms.profileToProfile(upright, icc, ImageCms.createProfile("sRGB"))
    assert data == encode_image(np.array(converted))


def test_the_samples_of_a_wide_gamut_are_coded_as_they_are(tiny: Path, crop: RGB) -> None:
    data = dlcodec.encode(saved(Image.fromarray(crop), "PNG", icc_profile=adobe_rgb()))
    plain = encode_image(crop)
    assert data[: len(plain) - 4] == plain[:-4]


def test_cmyk_becomes_srgb_without_a_profile(tiny: Path, crop: RGB) -> None:
    image = Image.fromarray(crop).convert("CMYK")
    with_profile, plain = (dlcodec.encode(saved(image, "TIFF", **options)) for options in ({"icc_profile": cmyk()}, {}))
    assert kinds(with_profile) == kinds(plain) == {"latents"}
    assert np.ptp(np.asarray(dlcodec.decode(with_profile, tau=1)).astype(int).mean(axis=(0, 1))) < 30  # grey inks
    assert plain == dlcodec.encode(np.array(image.convert("RGB")))


def test_a_grey_profile_comes_back_with_the_grey_picture(tiny: Path, crop: RGB) -> None:
    decoded = dlcodec.decode(
        dlcodec.encode(saved(Image.fromarray(crop[..., 0].copy()), "PNG", icc_profile=grey_profile(1.0)))
    )
    assert (decoded.mode, decoded.info["icc_profile"]) == ("L", grey_profile(1.0))


def test_an_animation_warns(tiny: Path, crop: RGB) -> None:
    frames = [Image.fromarray(crop), Image.fromarray(255 - crop)]
    source = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="several frames; only the first is kept") as caught:
        data = dlcodec.encode(source)
    assert Path(caught[0].filename) == Path(__file__)
    assert data == encode_image(crop)


def rich(crop: RGB) -> bytes:
    image = Image.fromarray(np.dstack([crop, ALPHA]))
    return dlcodec.encode(saved(image, "PNG", exif=make_exif(3), icc_profile=adobe_rgb()))


def test_mutants_of_the_sections_with_a_repaired_checksum_give_a_picture_or_our_error(tiny: Path, crop: RGB) -> None:
    data = rich(crop)
    start = len(encode_image(crop)) - 200  # from the last latents on
    random = np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        mutant = bytearray(data)
        for _ in range(int(random.integers(1, 4))):
            mutant[int(random.integers(start, len(mutant) - 4))] = int(random.integers(256))
        try:
            assert dlcodec.decode(seal(bytes(mutant[:-4])), tau=1).size == (70, 50)
        except DlcodecError:
            refused += 1
    assert refused >= 100


def test_a_reader_without_alpha_refuses_and_one_without_metadata_does_not(
    tiny: Path, crop: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlcodec import container

    data, opaque = rich(crop), dlcodec.encode(saved(Image.fromarray(crop), "PNG", exif=make_exif(3)))
    monkeypatch.setattr(container, "SECTION_NAMES", {container.SECTION_LATENTS: "latents"})
    with pytest.raises(UnsupportedFileError, match="unknown type 65"):
        decode_image(data)
    assert decode_image(opaque, 1.0).shape == crop.shape


HOSTILE: dict[str, Callable[[RGB], tuple[bytes, str, tuple[int, int]]]] = {
    "16-bit grey": lambda rgb: (saved(Image.fromarray(rgb[..., 0] * np.uint16(257)), "PNG"), "L", (70, 50)),
    "palette and alpha": lambda rgb: (
        saved(Image.fromarray(rgb).quantize(16), "PNG", transparency=bytes([0, 99, 255])),
        "RGBA",
        (70, 50),
    ),
    "CMYK JPEG": lambda rgb: (saved(Image.fromarray(rgb).convert("CMYK"), "JPEG"), "RGB", (70, 50)),
    "grey JPEG": lambda rgb: (saved(Image.fromarray(rgb).convert("L"), "JPEG"), "L", (70, 50)),
    "bilevel": lambda rgb: (saved(Image.fromarray(rgb).convert("1"), "TIFF"), "L", (70, 50)),
    "EXIF-rotated": lambda rgb: (saved(Image.fromarray(rgb), "JPEG", exif=make_exif(8)), "RGB", (50, 70)),
    "YCbCr TIFF": lambda rgb: (saved(Image.fromarray(rgb).convert("YCbCr"), "TIFF"), "RGB", (70, 50)),
    "Lab TIFF": lambda rgb: (saved(Image.new("LAB", (70, 50), (128, 9, 9)), "TIFF"), "RGB", (70, 50)),
    "GIF": lambda rgb: (saved(Image.fromarray(rgb), "GIF"), "RGB", (70, 50)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_unusual_images_have_their_documented_result(tiny: Path, crop: RGB, name: str) -> None:
    data, mode, size = HOSTILE[name](crop)
    decoded = dlcodec.decode(dlcodec.encode(data), tau=1)
    assert (decoded.mode, decoded.size) == (mode, size)
