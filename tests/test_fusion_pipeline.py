"""Decoding between fidelity and realism, through the whole pipeline with tiny weights."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import dlcodec
from dlcodec import checkpoint, installed
from dlcodec.container import unpack
from dlcodec.errors import UsageError, WeightsError
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import decode_image, decode_images, encode_image
from tests.conftest import RGB
from tests.tiny import write_checkpoint, write_fusion


def distance(a: RGB, b: RGB) -> float:
    return float(np.square(a.astype(float) - b).mean())


def test_tau_1_is_the_base_codec_bit_for_bit(tiny_file: bytes, without_fusion: Path, tiny_folder: Path) -> None:
    bare = decode_image(tiny_file, 1.0)
    (without_fusion.parent / "fusion.safetensors").write_bytes(
        (tiny_folder / "mean-scale" / "fusion.safetensors").read_bytes()
    )
    assert np.array_equal(decode_image(tiny_file, 1.0), bare)
    assert np.array_equal(list(decode_images(unpack(tiny_file, DEFAULT_LIMITS), (0.0, 1.0)))[1], bare)
    assert not np.array_equal(decode_image(tiny_file, 0.0), bare)


def test_several_taus_are_what_each_is_alone(family_file: bytes) -> None:
    taus = (0.0, 0.3, 1.0, 0.3)
    together = list(decode_images(unpack(family_file, DEFAULT_LIMITS), taus))
    assert not np.array_equal(together[0], together[2])
    for tau, picture in zip(taus, together, strict=True):
        assert np.array_equal(decode_image(family_file, tau), picture)


def test_several_taus_cost_one_entropy_decode(tiny_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlcodec import pipeline

    calls = []
    real = pipeline.decode_latent
    monkeypatch.setattr(pipeline, "decode_latent", lambda *arguments: calls.append(1) or real(*arguments))
    assert len(list(decode_images(unpack(tiny_file, DEFAULT_LIMITS), (0.0, 0.5, 1.0)))) == 3
    assert len(calls) == 1


def test_the_picture_moves_from_tau_1_to_tau_0(tiny_file: bytes) -> None:
    pictures = list(decode_images(unpack(tiny_file, DEFAULT_LIMITS), (1.0, 0.8, 0.5, 0.3, 0.0)))
    away = [distance(picture, pictures[0]) for picture in pictures]
    assert away == sorted(away)
    assert away[0] == 0 < away[1]


def test_seeds_and_steps_change_the_picture_and_repeat_it(tiny_file: bytes) -> None:
    base = decode_image(tiny_file, 0.0)
    assert np.array_equal(decode_image(tiny_file, 0.0, seed=0, steps=10), base)
    assert not np.array_equal(decode_image(tiny_file, 0.0, seed=1), base)
    assert not np.array_equal(decode_image(tiny_file, 0.0, steps=1), base)


def test_the_number_of_steps_is_the_number_of_calls(tiny_file: bytes) -> None:
    calls: list[int] = []
    list(decode_images(unpack(tiny_file, DEFAULT_LIMITS), (0.0, 0.5, 1.0), steps=7, after_step=lambda: calls.append(1)))
    assert len(calls) == 14


@pytest.mark.parametrize("steps", [0, 51, -1])
def test_steps_outside_1_to_50_are_refused(tiny_file: bytes, steps: int) -> None:
    with pytest.raises(UsageError, match="steps"):
        decode_image(tiny_file, 0.0, steps=steps)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_beyond_64_bits_is_refused(tiny_file: bytes, seed: int) -> None:
    with pytest.raises(UsageError, match="seed"):
        decode_image(tiny_file, 0.0, seed=seed)


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_an_unknown_precision_is_refused(tiny_file: bytes, tau: float) -> None:
    with pytest.raises(UsageError, match="precision"):
        decode_image(tiny_file, tau, precision="fp8")  # type: ignore[arg-type]


@pytest.mark.parametrize("hint", [None, 0.0, 0.5, 1.0])
def test_without_a_tau_the_hint_decides(tiny: Path, photo: RGB, hint: float | None) -> None:
    data = dlcodec.encode(photo[:64, :80].copy(), level=1, tau_hint=hint)
    assert dlcodec.read_info(data).tau_hint == hint
    assert np.array_equal(decode_image(data), decode_image(data, hint or 0.0))


@pytest.mark.parametrize("hint", [-0.1, 1.1, float("nan")])
def test_a_hint_outside_zero_to_one_is_refused(tiny: Path, photo: RGB, hint: float) -> None:
    with pytest.raises(UsageError, match="tau"):
        encode_image(photo[:8, :8], tau_hint=hint)


def test_the_hint_changes_nothing_but_its_byte(tiny: Path, photo: RGB) -> None:
    plain, hinted = encode_image(photo[:64, :64]), encode_image(photo[:64, :64], tau_hint=0.3)
    assert len(plain) == len(hinted)
    assert sum(a != b for a, b in zip(plain[:-4], hinted[:-4], strict=True)) == 1


def test_fusion_weights_of_another_base_are_refused(tiny_file: bytes, without_fusion: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "other", seed=5)
    other = write_fusion(tmp_path / "other")
    shutil.copy(other, without_fusion.parent / "fusion.safetensors")
    with pytest.raises(WeightsError, match="another base"):
        decode_image(tiny_file, 0.0)
    assert decode_image(tiny_file, 1.0).shape == (50, 70, 3)


def test_the_right_fusion_weights_are_found_among_others(
    tiny_file: bytes, tiny_folder: Path, without_fusion: Path, tmp_path: Path
) -> None:
    shutil.copy(tiny_folder / "mean-scale" / "fusion.safetensors", without_fusion.parent / "fusion-c.safetensors")
    expected = decode_image(tiny_file, 0.0)
    write_checkpoint(tmp_path / "other", seed=5)
    (without_fusion.parent / "fusion-a.safetensors").write_bytes(b"damaged")
    shutil.copy(write_fusion(tmp_path / "other", seed=5), without_fusion.parent / "fusion-b.safetensors")
    assert np.array_equal(decode_image(tiny_file, 0.0), expected)


def test_a_fusion_checkpoint_is_not_taken_for_a_base(tiny_folder: Path, without_fusion: Path) -> None:
    shutil.copy(tiny_folder / "mean-scale" / "fusion.safetensors", without_fusion)
    assert installed.find("mean-scale").path != without_fusion  # the shipped weights are found instead


def test_decoding_below_tau_1_leaves_the_base_codec_alone_in_every_thread(tiny_file: bytes) -> None:
    """The codec is shared between threads, and tau below 1 runs it with changed weights."""
    expected = {tau: decode_image(tiny_file, tau) for tau in (0.0, 0.5, 1.0)}
    taus = [0.0, 1.0, 0.5, 1.0] * 20
    with ThreadPoolExecutor(8) as pool:
        for tau, picture in zip(taus, pool.map(lambda tau: decode_image(tiny_file, tau), taus), strict=True):
            assert np.array_equal(picture, expected[tau])


HOSTILE: list[tuple[str, object]] = [
    ("denoiser", {"heads": 0}),
    ("denoiser", {"heads": 3}),
    ("denoiser", {"window": 0}),
    ("denoiser", {"window": -4}),
    ("denoiser", {"window": 4000}),
    ("denoiser", {"units": 10**9}),
    ("denoiser", {"units": 1}),
    ("denoiser", {"C": 16.0}),
    ("denoiser", {"M": "12"}),
    ("denoiser", {"more": 1}),
    ("denoiser", 5),
    ("schedule", {"kind": "linear"}),
    ("schedule", {"offset": 10**400}),
    ("schedule", {"offset": None}),
    ("schedule", []),
    ("blocks", None),
    ("blocks", True),
    ("blocks", 5),
    ("blocks", "ab"),
    ("blocks", [5]),
    ("blocks", []),  # then its arrays belong to nothing
    ("blocks", [{"after": 1, "ratio": 2}]),
    ("blocks", [{"after": 1, "ratio": 2, "hidden": 6}]),
    ("blocks", [{"after": 1, "ratio": 2, "hidden": 6}, {"after": True, "ratio": 4, "hidden": 5}]),
    ("blocks", [{"after": 1, "ratio": 2, "hidden": 6}, {"after": 3, "ratio": 2, "hidden": 5}]),
    ("blocks", [{"after": 1, "ratio": 2, "hidden": 6}, {"after": 6, "ratio": 16, "hidden": 5}]),
    ("blocks", [{"after": 1, "ratio": 2, "hidden": 6}] * 10**5),
    ("steps", 0),
    ("steps", -1),
    ("steps", 10**9),
    ("steps", 2.5),
    ("steps", None),
]


@pytest.mark.parametrize(("name", "value"), HOSTILE, ids=str)
def test_a_config_that_makes_no_sense_is_refused(
    tiny_file: bytes, without_fusion: Path, name: str, value: object
) -> None:
    path = write_fusion(without_fusion.parents[1])
    found = checkpoint.read_metadata(path)
    whole = {**found.config[name], **value} if isinstance(value, dict) else value
    checkpoint.save(path, "mean-scale", {**found.config, name: whole}, checkpoint.load_arrays(found), {}, force=True)
    with pytest.raises(WeightsError):
        decode_image(tiny_file, 0.0)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("mean", np.zeros(13, np.float32)),
        ("mean", np.zeros(1, np.float32)),
        ("mean", np.float32(0).reshape(())),
        ("deviation", np.zeros(12, np.float32)),
        ("deviation", -np.ones(12, np.float32)),
        ("denoiser.head.bias", np.full(12, np.nan, np.float16)),
        ("denoiser.head.bias", np.zeros(11, np.float16)),
        ("adapters.down.0/weight", np.zeros((60000, 1), np.float16)),
        ("left.over", np.zeros(1, np.float16)),
        ("blocks.0.rms", np.zeros(8, np.float32)),
        ("blocks.0.rms", -np.ones(8, np.float32)),
        ("blocks.0.rms", np.float32(1).reshape(())),
        ("blocks.0.rms", np.ones(0, np.float32)),
        ("blocks.0.rms", np.ones((8, 1), np.float32)),
        ("blocks.0.scale", np.ones((0, 6), np.float16)),
        ("blocks.0.scale", np.ones((3, 5), np.float16)),
        ("blocks.0.second.weight", np.ones((8, 6, 3), np.float16)),
        ("blocks.2.scale", np.ones((3, 6), np.float16)),
        ("head.bias", np.zeros(12, np.float16)),  # a second denoiser.head.bias
        ("adapters.down.0.weight", np.zeros((12, 4), np.float16)),  # a second adapters.down.0/weight
    ],
)
def test_arrays_that_make_no_sense_are_refused(
    tiny_file: bytes, without_fusion: Path, name: str, array: np.typing.NDArray[np.generic]
) -> None:
    path = write_fusion(without_fusion.parents[1])
    found = checkpoint.read_metadata(path)
    checkpoint.save(path, "mean-scale", found.config, {**checkpoint.load_arrays(found), name: array}, {}, force=True)
    with pytest.raises(WeightsError):
        decode_image(tiny_file, 0.0)


@pytest.mark.parametrize("place", [20, b"denoiser.head.weight", -1, -1000])
def test_damaged_fusion_weights_are_refused_and_tau_1_still_works(
    tiny_file: bytes, without_fusion: Path, tiny_folder: Path, place: int | bytes
) -> None:
    data = bytearray((tiny_folder / "mean-scale" / "fusion.safetensors").read_bytes())
    # By name: safetensors writes metadata in any order, and a record may read what it likes.
    data[place if isinstance(place, int) else data.index(place)] ^= 1
    (without_fusion.parent / "fusion.safetensors").write_bytes(data)
    with pytest.raises(WeightsError):
        decode_image(tiny_file, 0.0)
    assert decode_image(tiny_file, 1.0).shape == (50, 70, 3)


def test_adapters_that_do_not_fit_the_synthesis_are_refused(tiny_file: bytes, without_fusion: Path) -> None:
    path = write_fusion(without_fusion.parents[1])
    found = checkpoint.read_metadata(path)
    arrays = checkpoint.load_arrays(found)
    up, down = "adapters.up.0/weight", "adapters.down.0/weight"
    for change in (
        {up: arrays[up][:, :-1].copy()},
        {"adapters.scale.0/weight": np.zeros((3, 3), np.float16)},
        {"adapters.scale.0/weight": np.zeros((0, 2), np.float16)},
        {"adapters.up.9/weight": arrays[up], "adapters.down.9/weight": arrays[down]},
        {"adapters.down.9/weight": arrays[down]},
    ):
        checkpoint.save(path, "mean-scale", found.config, {**arrays, **change}, {}, force=True)
        with pytest.raises(WeightsError, match="fit"):
            decode_image(tiny_file, 0.0)
        assert decode_image(tiny_file, 1.0).shape == (50, 70, 3)
