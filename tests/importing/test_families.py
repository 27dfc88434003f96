"""The way back: CompressAI's own networks with the weights of ours."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from tests.conftest import RGB

try:
    from compressai.zoo.image import model_urls

    from dlcodec.importing.families import FOREIGN, restore
except (ImportError, RuntimeError) as error:
    pytest.skip(f"CompressAI does not import here: {error}", allow_module_level=True)

from dlcodec import checkpoint, installed
from dlcodec.arguments import LEVEL_STEPS
from dlcodec.codecs import codec_class
from dlcodec.codecs.base import Integers
from dlcodec.codecs.hyperprior import HyperpriorCodec, HyperpriorLatents
from dlcodec.coding import run_steps
from dlcodec.entropy.exact import LATENT_BITS
from dlcodec.errors import UsageError
from dlcodec.families import FAMILIES


def test_what_can_be_imported_is_a_family_with_a_name_in_the_zoo() -> None:
    assert set(FOREIGN) <= {family.name for family in FAMILIES}
    assert {each.zoo for each in FOREIGN.values()} <= set(model_urls)


def decoded(codec: HyperpriorCodec, x: Tensor, level: int) -> tuple[HyperpriorLatents, Tensor]:
    """What our encoder finds, and the latent that our decoder gives to ``g_s``."""
    found = codec.analyse(x, level * LEVEL_STEPS)
    steps = codec.coding_steps(*x.shape[2:], level * LEVEL_STEPS, found)
    latent, _ = run_steps(steps, lambda step: cast(Integers, step.symbols))
    return found, codec.to_float(latent, level * LEVEL_STEPS)


@pytest.fixture
def x(photo: RGB) -> Tensor:
    return torch.from_numpy(photo[100:228, 100:292].copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("family", FOREIGN)
@pytest.mark.parametrize("level", [0, 2])
@torch.inference_mode()
def test_compressai_decodes_the_latent_that_we_decode(family: str, level: int, x: Tensor) -> None:
    found = installed.find(family)
    arrays = checkpoint.load_arrays(found)
    model = restore(family, found.config, arrays, level)
    drawn: list[Tensor] = []
    model.g_s[1].register_forward_pre_hook(lambda _, given: drawn.append(given[0]))
    theirs = model.decompress(**model.compress(x))["x_hat"]
    codec = codec_class(family)(found.config, arrays, torch.device("cpu"))
    assert (codec.synthesis()(drawn[0]).clamp(0, 1) - theirs).abs().max() < 1e-4
    # Only the first row: from one symbol that lies within rounding of a half, a context model spreads the difference.
    gain = torch.from_numpy(arrays["gain"][level])[:, None]
    alike = [
        (((decoded(codec, x, each)[1] - drawn[0])[0, :, 0] * gain).abs() < 0.1).float().mean() for each in (level, 1)
    ]
    assert alike[0] > 0.95
    assert alike[1] < 0.6


@torch.inference_mode()
def test_compressai_predicts_from_a_whole_context_what_we_predict(tiny: Path, x: Tensor) -> None:
    found = installed.find("cheng2020")
    arrays = checkpoint.load_arrays(found)
    model = restore("cheng2020", found.config, arrays, 2)
    codec = codec_class("cheng2020")(found.config, arrays, torch.device("cpu"))
    latents, y_hat = decoded(codec, x, 2)
    coded = y_hat * torch.from_numpy(arrays["gain"][2])[:, None, None]
    z_hat = torch.from_numpy(latents.z_symbols + arrays["exact.medians"][:, None, None] / 2**LATENT_BITS)[None].float()
    _, mu = model.entropy_parameters(torch.cat([model.h_s(z_hat), model.context_prediction(coded)], 1)).chunk(2, 1)
    symbols = coded - mu
    assert symbols.round().unique().numel() > 10
    assert (symbols - symbols.round()).abs().max() < 0.05


def test_a_family_that_compressai_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="'vtm' is none of those that CompressAI has too: mean-scale, cheng2020"):
        restore("vtm", {}, {}, 0)
