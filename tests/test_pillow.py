"""The Pillow plugin: .dlc files are opened, decoded and saved as those of any other format."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError

import dlcodec
import dlcodec.limits
import dlcodec.pillow
from dlcodec import sections
from dlcodec.errors import CorruptFileError, InputError, WeightsError
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pillow import DlcImageFile
from tests.conftest import RGB
from tests.profiles import adobe_rgb
from tests.tiny import write_checkpoint


@pytest.fixture
def path(tmp_path: Path, tiny_file: bytes) -> Path:
    path = tmp_path / "a.dlc"
    path.write_bytes(tiny_file)
    return path


@pytest.fixture
def picture(photo: RGB) -> Image.Image:
    return Image.fromarray(photo[100:150, 200:270])


def open_bytes(data: bytes) -> DlcImageFile:
    opened = Image.open(io.BytesIO(data))
    assert isinstance(opened, DlcImageFile)
    return opened


def saved(picture: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "DLC", **options)
    return stream.getvalue()


def test_the_format_is_registered_with_its_extension_and_mime_type(path: Path) -> None:
    assert Image.registered_extensions()[".dlc"] == "DLC"
    assert Image.MIME["DLC"] == "image/x-dlcodec"
    with Image.open(path) as opened:
        assert (opened.format, opened.get_format_mimetype()) == ("DLC", "image/x-dlcodec")


def test_opening_knows_size_and_mode_without_torch(path: Path) -> None:
    script = """
import sys
import dlcodec.pillow
from PIL import Image
with Image.open(sys.argv[1]) as picture:
    print(picture.size, picture.mode, sorted(picture.info), "torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60)
    assert result.stdout == "(70, 50) RGB ['level', 'model'] False\n", result.stderr


def test_the_pixels_are_those_of_decode(path: Path, tiny_file: bytes) -> None:
    with Image.open(path) as opened:
        assert np.array_equal(opened, dlcodec.decode(tiny_file))


def test_tau_steps_and_seed_are_set_before_load(tiny_file: bytes) -> None:
    opened = open_bytes(tiny_file)
    opened.tau, opened.steps, opened.seed = 0.25, 3, 9
    assert (opened.tau, opened.steps, opened.seed) == (0.25, 3, 9)
    assert np.array_equal(opened, dlcodec.decode(tiny_file, tau=0.25, steps=3, seed=9))
    assert not np.array_equal(opened, dlcodec.decode(tiny_file, tau=0.25, steps=3))


def test_setting_tau_again_decodes_again(tiny_file: bytes) -> None:
    opened = open_bytes(tiny_file)
    for tau in (1.0, 0.0, None):
        opened.tau = tau
        assert np.array_equal(opened, dlcodec.decode(tiny_file, tau=tau))


@pytest.mark.parametrize(("name", "value"), [("tau", 1.5), ("tau", float("nan")), ("steps", 0), ("seed", -1)])
def test_an_option_outside_its_range_is_a_value_error_at_once(tiny_file: bytes, name: str, value: float) -> None:
    opened = open_bytes(tiny_file)
    with pytest.raises(ValueError, match="outside"):
        setattr(opened, name, value)
    assert np.array_equal(opened, dlcodec.decode(tiny_file))


def test_info_says_what_the_file_says(picture: Image.Image, tiny_file: bytes) -> None:
    info = dlcodec.read_info(tiny_file)
    assert open_bytes(tiny_file).info == {"level": 1.0, "model": info.model_digest}
    hinted = open_bytes(saved(picture, tau_hint=1))
    assert hinted.info["tau_hint"] == 1.0
    assert np.array_equal(hinted, dlcodec.decode(tiny_file, tau=1))


def test_mode_and_info_follow_what_decode_gives(tiny_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = Image.new("L", (7, 5), 200)
    grey.info["icc_profile"] = b"profile"
    monkeypatch.setattr(dlcodec, "decode", lambda data, **options: grey)
    opened = open_bytes(tiny_file)
    opened.load()
    assert (opened.mode, opened.size, opened.getpixel((6, 4))) == ("L", (7, 5), 200)
    assert opened.info["icc_profile"] == b"profile"
    assert opened.info["level"] == 1.0


@pytest.mark.parametrize(("quality", "level"), [(0, 0.0), (50, 1.0), (60.0, 1.2), (100, 2.0)])
def test_quality_spans_the_levels_of_the_model(picture: Image.Image, tiny: Path, quality: float, level: float) -> None:
    data = saved(picture, quality=quality)
    assert data == dlcodec.encode(picture, level=level)
    assert dlcodec.read_info(data).level == pytest.approx(level, abs=1 / 512)


def test_the_weights_can_be_named(
    family: str, photo: RGB, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DLCODEC_WEIGHTS")
    write_checkpoint(tmp_path, levels=5, family=family)  # quality is a share of these levels, not of the shipped ones
    picture = Image.fromarray(photo[100:150, 200:270])
    for model, levels in ((tiny_folder / family, 3), (tmp_path / family / "base.safetensors", 5)):
        data = saved(picture, model=model, quality=25)
        assert data == dlcodec.encode(picture, level=(levels - 1) / 4, model=model)
        assert dlcodec.read_info(data).family == family
    opened = open_bytes(saved(picture, model=dlcodec.open_model(tiny_folder / family)))
    with pytest.raises(OSError, match="weights") as caught:
        opened.load()
    assert isinstance(caught.value.__cause__, WeightsError)
    opened.model = tiny_folder / family
    opened.tau = 1
    assert np.array_equal(opened, dlcodec.decode(saved(picture, model=tiny_folder / family), tau=1, model=tiny_folder))
    opened.model = tmp_path / family
    with pytest.raises(OSError, match=r"but .* has"):
        opened.load()


def test_a_family_is_a_model_and_another_one_refuses_its_files(picture: Image.Image, tiny: Path) -> None:
    data = saved(picture, model="cheng2020")
    assert data == dlcodec.encode(picture, model="cheng2020")
    opened = open_bytes(data)
    opened.model = "mean-scale"
    with pytest.raises(OSError, match="needs cheng2020 weights, not mean-scale"):
        opened.load()
    opened.model = "cheng2020"
    assert np.array_equal(opened, dlcodec.decode(data))
    opened.model = "nonsense"
    with pytest.raises(ValueError, match="neither a family"):
        opened.load()


def test_a_level_is_taken_exactly_and_the_default_is_the_models(picture: Image.Image, tiny_file: bytes) -> None:
    assert saved(picture, level=0.5) == dlcodec.encode(picture, level=0.5)
    assert saved(picture) == tiny_file


@pytest.mark.parametrize(
    "options",
    [
        {"quality": -1},
        {"quality": 101},
        {"quality": "keep"},
        {"quality": True},
        {"quality": float("nan")},
        {"level": 3},
        {"model": "nonsense"},
        {"model": "nonsense", "quality": 50},
        {"tau_hint": 2},
        {"level": 1, "quality": 50},
    ],
)
def test_a_wrong_option_of_save_is_a_value_error_and_leaves_no_file(
    picture: Image.Image, tiny: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    with pytest.raises(ValueError):
        picture.save(tmp_path / "b.dlc", **options)
    assert not (tmp_path / "b.dlc").exists()


def test_saving_goes_to_paths_and_to_file_objects(picture: Image.Image, tmp_path: Path, tiny_file: bytes) -> None:
    picture.save(tmp_path / "b.dlc")
    picture.save(str(tmp_path / "no-extension"), format="DLC")
    with (tmp_path / "c.dlc").open("wb") as stream:
        picture.save(stream)
    assert {each.read_bytes() for each in tmp_path.iterdir()} == {tiny_file}


def test_metadata_given_to_save_is_obeyed(picture: Image.Image, tiny: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    data = saved(picture, exif=exif)
    assert np.array_equal(open_bytes(data), open_bytes(saved(picture.transpose(Image.Transpose.ROTATE_270))))
    assert "exif" not in picture.info


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_the_mode_is_known_before_the_pixels_are(tiny: Path, mode: str) -> None:
    picture = Image.new(mode, (8, 9), tuple(range(40, 40 + len(mode))) if len(mode) > 1 else 40)
    opened = open_bytes(saved(picture))
    assert opened.mode == mode
    opened.load()
    assert (opened.mode, opened.size) == (mode, (8, 9))
    if "A" in mode:
        assert opened.getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def test_samples_that_cannot_be_coded_are_an_oserror_with_our_sentence(tiny: Path) -> None:
    with pytest.raises(OSError, match="neither 8-bit nor 16-bit") as caught:
        saved(Image.new("F", (8, 8), 0.5))
    assert isinstance(caught.value.__cause__, InputError)


def test_foreign_bytes_are_unidentified(tmp_path: Path) -> None:
    (tmp_path / "b.dlc").write_bytes(b"garbage " * 20)
    with pytest.raises(UnidentifiedImageError):
        Image.open(tmp_path / "b.dlc")
    with pytest.raises(SyntaxError, match="not a dlcodec file"):
        DlcImageFile(tmp_path / "b.dlc")


@pytest.mark.parametrize("keep", [16, 40, -1])
def test_a_truncated_file_is_an_oserror_with_our_sentence(tiny_file: bytes, keep: int) -> None:
    with pytest.raises(OSError, match="truncated") as caught:
        open_bytes(tiny_file[:keep])
    assert isinstance(caught.value.__cause__, CorruptFileError)
    assert not isinstance(caught.value, UnidentifiedImageError)


@pytest.fixture
def most_3000_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits below the 70 x 50 pixels of tiny_file."""
    for module in (dlcodec.limits, dlcodec.pillow):
        monkeypatch.setattr(module, "DEFAULT_LIMITS", replace(DEFAULT_LIMITS, pixels=3000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)


def test_a_picture_over_the_limits_is_a_decompression_bomb(
    picture: Image.Image, tiny_file: bytes, most_3000_pixels: None
) -> None:
    with pytest.raises(Image.DecompressionBombError, match="70 x 50"):
        open_bytes(tiny_file)
    with pytest.raises(Image.DecompressionBombError, match="70 x 50"):
        saved(picture)


@pytest.mark.parametrize("bound", [3500, 2**40, None])
def test_what_pillow_may_open_raises_the_limit(
    picture: Image.Image, tiny_file: bytes, most_3000_pixels: None, monkeypatch: pytest.MonkeyPatch, bound: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3499)
    with pytest.raises(Image.DecompressionBombError, match="70 x 50"):
        open_bytes(tiny_file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", bound)
    opened = open_bytes(tiny_file)
    assert saved(picture) == tiny_file
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # what may be opened may be decoded
    assert np.array_equal(opened, dlcodec.decode(tiny_file, max_pixels=3500))


def test_missing_weights_are_an_oserror_when_the_pixels_are_needed(tiny_file: bytes, without_fusion: Path) -> None:
    opened = open_bytes(tiny_file)
    assert opened.size == (70, 50)
    with pytest.raises(OSError, match="fusion weights") as caught:
        opened.load()
    assert isinstance(caught.value.__cause__, WeightsError)
    opened.tau = 1
    assert np.asarray(opened).shape == (50, 70, 3)


def test_verify_accepts_a_good_file(path: Path) -> None:
    with Image.open(path) as opened:
        opened.verify()


def test_pictures_are_copied_pickled_converted_cropped_and_shrunk(path: Path, tiny_file: bytes) -> None:
    whole = dlcodec.decode(tiny_file)
    with Image.open(path) as opened:
        assert opened.convert("L").tobytes() == whole.convert("L").tobytes()
    with Image.open(path) as opened:
        assert opened.crop((3, 4, 40, 30)).tobytes() == whole.crop((3, 4, 40, 30)).tobytes()
    with Image.open(path) as opened:
        opened.thumbnail((20, 20))
        whole.thumbnail((20, 20))
        assert (opened.size, opened.tobytes()) == (whole.size, whole.tobytes())
    for duplicate in (copy.copy, copy.deepcopy, Image.Image.copy, lambda each: pickle.loads(pickle.dumps(each))):
        with Image.open(path) as opened:
            twin = duplicate(opened)
        assert np.array_equal(twin, dlcodec.decode(tiny_file))
        assert twin.info == opened.info


def test_an_unpickled_picture_has_pixels_but_no_file_to_decode_anew(tiny_file: bytes) -> None:
    twin = pickle.loads(pickle.dumps(open_bytes(tiny_file)))
    assert isinstance(twin, DlcImageFile)
    with pytest.raises(ValueError, match="unpickled"):
        twin.tau = 0.5


def test_a_picture_can_be_drawn_on_and_saved_over_its_own_file(path: Path, tiny_file: bytes) -> None:
    with Image.open(path) as opened:
        opened.putpixel((0, 0), (1, 2, 3))
        assert opened.getpixel((0, 0)) == (1, 2, 3)
        opened.save(path)
    assert path.read_bytes() != tiny_file
    with Image.open(path) as again:
        assert again.size == (70, 50)


def test_the_file_is_closed_once_it_is_decoded(path: Path) -> None:
    opened = Image.open(path)
    assert isinstance(opened, ImageFile.ImageFile)
    stream = opened.fp
    assert stream is not None
    opened.load()
    assert stream.closed
    with path.open("rb") as mine:
        Image.open(mine).load()
        assert not mine.closed


def test_threads_decode_side_by_side(path: Path, tiny_file: bytes) -> None:
    taus = (0.0, 0.5, 1.0) * 4

    def decode(tau: float) -> bytes:
        with Image.open(path) as opened:
            assert isinstance(opened, DlcImageFile)
            opened.tau = tau
            return opened.tobytes()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(decode, taus))
    assert found == [dlcodec.decode(tiny_file, tau=tau).tobytes() for tau in taus]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_mode_and_metadata_are_known_before_decoding(tiny: Path, photo: RGB, mode: str) -> None:
    picture = Image.fromarray(photo[100:150, 200:270]).convert(mode)
    if mode != "L":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    exif = Image.Exif()
    exif[0x010F] = "camera"
    opened = open_bytes(saved(picture, exif=exif, xmp=b"<x/>"))
    assert (opened.mode, opened.getexif()[0x010F]) == (mode, "camera")
    before = dict(opened.info)
    opened.load()
    assert (opened.mode, opened.info) == (mode, before)
    assert next(dlcodec.decode_taus(saved(picture), [1])).mode == mode


def test_none_leaves_metadata_out(picture: Image.Image, tiny: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "camera"
    picture.info.update(exif=exif.tobytes(), xmp=b"<x/>", icc_profile=adobe_rgb())
    assert {"exif", "xmp", "icc_profile"} <= open_bytes(saved(picture)).info.keys()
    bare = open_bytes(saved(picture, exif=None, xmp=None, icc_profile=None))
    assert not {"exif", "xmp", "icc_profile"} & bare.info.keys()
    assert {"exif", "xmp", "icc_profile"} <= picture.info.keys()


def test_opening_leaves_the_alpha_plane_for_later(
    picture: Image.Image, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture.putalpha(90)
    data = saved(picture)

    def refuse(*_: object) -> None:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(sections, "_unpack_plane", refuse)
        opened = open_bytes(data)
    assert opened.mode == "RGBA"
    assert opened.getchannel("A").getextrema() == (90, 90)


def test_the_class_can_be_inspected() -> None:
    members = dict(inspect.getmembers(DlcImageFile))
    assert [members[name] for name in ("tau", "steps", "seed", "model")] == [None, None, 0, None]


def test_metadata_that_the_caller_changed_stays_changed(picture: Image.Image, tiny: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "camera"
    opened = open_bytes(saved(picture, exif=exif, xmp=b"<x/>", icc_profile=adobe_rgb()))
    del opened.info["exif"]
    opened.info["xmp"] = b"<y/>"
    for tau in (1.0, 0.0):
        opened.tau = tau
        opened.load()
        assert "exif" not in opened.info
        assert opened.info["xmp"] == b"<y/>"
    assert not opened.getexif()
    del opened.info["icc_profile"]
    assert "icc_profile" not in open_bytes(saved(opened)).info


def test_opening_asks_for_no_more_than_a_piece_at_a_time(tiny_file: bytes) -> None:
    class Stream(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert 0 <= size <= 2**20
            return super().read(size)

    opened = Image.open(Stream(tiny_file))
    assert (opened.format, opened.size) == ("DLC", (70, 50))


def test_opening_reads_hardly_further_than_the_limit(tiny_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlcodec.pillow, "DEFAULT_LIMITS", replace(dlcodec.pillow.DEFAULT_LIMITS, file_bytes=40))
    stream = io.BytesIO(tiny_file + bytes(5 * 2**20))
    with pytest.raises(Image.DecompressionBombError, match="larger than the limit of 40 bytes"):
        Image.open(stream)
    assert stream.tell() <= 40 + 2**20
