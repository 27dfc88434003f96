from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from dlcodec.errors import InputError, UsageError, WeightsError
from dlcodec.evaluation.metrics import METRICS, find_lpips, load_measure
from dlcodec.evaluation.patch_fid import PatchFid, cut_patches
from dlcodec.image import psnr
from tests.conftest import RGB


def test_psnr_of_a_constant_error_is_its_closed_form() -> None:
    original = np.full((8, 6, 3), 100, np.uint8)
    assert psnr(original, original + np.uint8(5)) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(original, original - np.uint8(5)) == pytest.approx(20 * math.log10(255 / 5))
    one = original.copy()
    one[0, 0, 0] += 12
    assert psnr(original, one) == pytest.approx(10 * math.log10(255**2 * 8 * 6 * 3 / 144))
    assert psnr(original, original) == math.inf


def test_ms_ssim_is_one_for_equal_pictures_and_falls_with_noise(photo: RGB) -> None:
    measure = load_measure("ms-ssim", "cpu", None)
    picture = photo[:192, :200]
    values = [1.0]
    for deviation in (4, 16, 64):
        noise = np.random.default_rng(0).normal(0, deviation, picture.shape)
        values.append(measure(picture, (picture + noise).clip(0, 255).astype(np.uint8)))
    assert measure(picture, picture) == pytest.approx(1, abs=1e-6)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.9
    with pytest.raises(InputError, match="161 pixels"):
        measure(picture[:160], picture[:160])


def _alexnet_lpips(state: dict[str, Tensor], a: Tensor, b: Tensor) -> float:
    """LPIPS written down once more from Zhang et al. 2018, section 3.1; pictures (1, 3, H, W) in [-1, 1]."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    layers = [(1, 0, 4, 2), (2, 3, 1, 2), (3, 6, 1, 1), (4, 8, 1, 1), (5, 10, 1, 1)]
    x, y = ((picture - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1) for picture in (a, b))
    total = 0.0
    for slice_, number, stride, padding in layers:
        if slice_ in (2, 3):
            x, y = (functional.max_pool2d(features, 3, 2) for features in (x, y))
        weight, bias = (state[f"net.slice{slice_}.{number}.{part}"] for part in ("weight", "bias"))
        x, y = (functional.conv2d(features, weight, bias, stride, padding).relu() for features in (x, y))
        unit = [features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10) for features in (x, y)]
        head = state[f"lin{slice_ - 1}.model.1.weight"]
        total += float(functional.conv2d((unit[0] - unit[1]).square(), head).mean())
    return total


def import_lpips() -> Any:
    """lpips, or a skip: it needs torchvision, which does not import beside a CPU-only build of torch."""
    return pytest.importorskip("lpips", exc_type=(ImportError, RuntimeError))  # type: ignore[arg-type]


def test_lpips_loads_local_weights_and_computes_the_papers_formula(tmp_path: Path, photo: RGB) -> None:
    lpips = import_lpips()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = lpips.LPIPS(pnet_rand=True, verbose=False).state_dict()
    save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "lpips_v0.1_alex.safetensors")
    measure = load_measure("lpips-alex", "cpu", tmp_path)
    original, decoded = photo[:96, :96], photo[2:98, 1:97]
    a, b = (torch.from_numpy(one).permute(2, 0, 1)[None] / 127.5 - 1 for one in (original, decoded))
    expected = _alexnet_lpips(state, a, b)
    assert expected > 0
    assert measure(original, decoded) == pytest.approx(expected, rel=1e-4)
    assert measure(original, original) == 0


_WEIGHTS = Path(os.environ.get("DLCODEC_METRIC_WEIGHTS", "/nonexistent"))


@pytest.mark.skipif(
    not (_WEIGHTS / "ex_ref.png").exists(),
    reason="needs $DLCODEC_METRIC_WEIGHTS with LPIPS's example pictures ex_*.png",
)
def test_lpips_of_its_published_example_pair() -> None:
    measure = load_measure("lpips-alex", "cpu", _WEIGHTS)
    reference, first, second = (
        np.array(Image.open(_WEIGHTS / f"{name}.png").convert("RGB")) for name in ("ex_ref", "ex_p0", "ex_p1")
    )
    assert measure(reference, first) == pytest.approx(0.722, abs=5e-4)
    assert measure(reference, second) == pytest.approx(0.138, abs=5e-4)


def test_lpips_without_weights_or_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    import_lpips()
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(WeightsError, match=r"lpips_v0.1_squeeze.safetensors"):
        find_lpips("squeeze", tmp_path)


def test_a_picture_too_small_for_lpips_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcodec.evaluation.metrics.find_lpips", lambda *_: torch.nn.PairwiseDistance())
    measure = load_measure("lpips-alex", "cpu", None)
    with pytest.raises(InputError, match="lpips needs pictures of at least 32 pixels a side"):
        measure(np.zeros((31, 40, 3), np.uint8), np.zeros((31, 40, 3), np.uint8))


def test_damaged_lpips_weights_are_refused(tmp_path: Path) -> None:
    import_lpips()
    (tmp_path / "lpips_v0.1_alex.safetensors").write_bytes(b"garbage")
    with pytest.raises(WeightsError, match="does not hold"):
        find_lpips("alex", tmp_path)


@pytest.mark.parametrize("name", ["dists", "ms-ssim", "lpips-vgg", "fid"])
def test_an_absent_library_is_one_sentence_that_names_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: str, *_: object) -> Any:
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr("dlcodec.evaluation.metrics.import_module", refuse)
    with pytest.raises(UsageError, match=rf"{name} needs the package {METRICS[name].package}.*pip install"):
        _ = PatchFid("cpu", None) if name == "fid" else load_measure(name, "cpu", None)


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="psnr, ms-ssim, lpips-alex"):
        load_measure("ssim", "cpu", None)


def test_patches_are_two_grids_half_a_patch_apart(photo: RGB) -> None:
    patches = cut_patches(photo)  # 400 x 600: 1 x 2, and from 128 on 1 x 1
    assert patches.shape == (3, 3, 256, 256)
    assert (patches[1] == photo[:256, 256:512].transpose(2, 0, 1)).all()
    assert (patches[2] == photo[128:384, 128:384].transpose(2, 0, 1)).all()
    with pytest.raises(InputError, match="256 pixels"):
        cut_patches(photo[:255])


def test_the_patches_of_a_large_picture_go_through_the_network_in_batches() -> None:
    sizes: list[int] = []

    def extract(patches: Tensor) -> tuple[Tensor]:
        sizes.append(len(patches))
        return (patches.float().mean((2, 3)),)

    fid = PatchFid.__new__(PatchFid)
    fid._extract, fid._device = extract, "cpu"
    picture = np.random.default_rng(0).integers(0, 256, (1280, 1280, 3), dtype=np.uint8)
    features = fid.features(picture)
    assert sizes == [32, 9]
    np.testing.assert_allclose(features, cut_patches(picture).mean((2, 3)), rtol=1e-5)
