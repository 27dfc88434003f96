"""The frozen base of the fusion stages against the codec that decodes, for every family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import RGB
from tests.tiny import CHANNELS, PLACES

try:
    import compressai.models  # noqa: F401
except (ImportError, RuntimeError) as error:
    # CompressAI needs torchvision, which does not import beside a CPU-only build of torch.
    pytest.skip(f"CompressAI does not import here: {error}", allow_module_level=True)

from dlcodec.changes import PlacedBlock, SynthesisChanges
from dlcodec.coding import run_steps
from dlcodec.errors import UsageError
from dlcodec.fusion.adapters import SynthesisAdapters
from dlcodec.fusion.blocks import ResidualBlock
from dlcodec.installed import find
from dlcodec.loading import load_codec
from dlcodec.training.frozen import FrozenBase

CPU = torch.device("cpu")


@pytest.fixture
def base(family: str) -> FrozenBase:
    """Of random weights that know no lambda, for which nothing is corrected."""
    base = FrozenBase(find(family).path, CPU, bf16=False, compile_=False)
    base._corrects = False
    return base


@pytest.mark.parametrize("level", [0.0, 1.5])
def test_the_frozen_base_receives_what_the_codec_decodes(
    base: FrozenBase, family: str, photo: RGB, level: float
) -> None:
    """Where it begins, that is: a random context model magnifies the last bits of what it is given."""
    codec, q = load_codec(find(family), CPU), round(level * 256)
    x = torch.from_numpy(photo[:192, :256].copy()).permute(2, 0, 1)[None].float() / 255
    steps = codec.coding_steps(192, 256, q, codec.latents(codec.transform(x), q))
    latent, _ = run_steps(steps, lambda step: step.symbols)  # type: ignore[arg-type, return-value]
    exact = codec.to_float(latent, q)
    y = base.analyse(x)
    received = base.decode(y, torch.tensor([level]))
    half_step = (received - y).abs().amax((0, 2, 3))
    first = (received - exact)[0, :, 0, :2].abs()
    assert (first < 0.1 * half_step[:, None]).float().mean() > 0.9  # a symbol here and there is rounded apart
    apart = (exact - y).abs().amax((0, 2, 3)) / half_step
    assert ((apart > 0.8) & (apart < 1.25)).all()


def test_the_frozen_base_corrects_as_encoders_do(tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for symbols here and there: its scales are real numbers, and its sums come in another order."""
    monkeypatch.setenv("DLCODEC_WEIGHTS", "")
    found, q = find("mean-scale"), 6 * 256
    codec, base = load_codec(found, CPU), FrozenBase(found.path, CPU, bf16=False, compile_=False)
    x = torch.from_numpy(photo[:192, :256].copy()).permute(2, 0, 1)[None].float() / 255
    latents = codec.latents(codec.transform(x), q)
    corrected = codec.correct(latents, q, lambda y: codec.transform(codec.synthesis()(y).clamp(0, 1)))
    plain, exact = (
        codec.to_float(run_steps(codec.coding_steps(192, 256, q, each), lambda step: step.symbols)[0], q)  # type: ignore[arg-type, return-value]
        for each in (latents, corrected)
    )
    received = base.decode(base.analyse(x), torch.tensor([6.0]))
    moved, apart = ((each - exact).abs() > 0.05 for each in (plain, received))
    assert 0.01 < moved.float().mean() < 0.05
    assert apart.sum() < 0.4 * moved.sum()


def test_without_rounding_the_latent_is_within_half_a_step_of_the_decoded_one(base: FrozenBase, photo: RGB) -> None:
    x = torch.from_numpy(photo[:128, :192].copy()).permute(2, 0, 1)[None].float() / 255
    inverse = base._network.inv_gain.data.mul_(1.5)  # as in trained weights, no inverse of the gain
    decoded = base.decode(base.analyse(x), torch.tensor([base.levels - 1.0]))
    steps = (base.unquantised(x) - decoded).abs() / inverse[-1, :, None, None]
    assert 0.3 < steps.max() < 0.5001


def test_a_block_has_the_place_of_its_layer(base: FrozenBase, family: str) -> None:
    for place in PLACES[family]:
        assert base.place(place.after, place.hidden) == place
    last = len(base.stages(torch.zeros(1, CHANNELS[family][1], 2, 2))) - 1
    for after, hidden, message in ((last, 4, f"layers 0 to {last - 1}"), (-1, 4, "layers 0"), (0, 0, "1 to 1024")):
        with pytest.raises(UsageError, match=message):
            base.place(after, hidden)


def test_each_crop_is_synthesised_with_the_weights_of_its_own_level(base: FrozenBase, family: str) -> None:
    torch.manual_seed(0)
    adapters = SynthesisAdapters(base.synthesis_shapes, 3, base.levels)
    for parameter in adapters.parameters():
        parameter.data.normal_(0, 0.1)
    blocks = [ResidualBlock(8, place.hidden, base.levels) for place in PLACES[family]]
    for block in blocks:
        block.second.weight.data.normal_(0, 0.1)
        block.scale.data.normal_()
        block.rms.uniform_(0.5, 2)
    base.attach(zip(PLACES[family], blocks, strict=True))
    y, levels, parts = torch.randn(2, CHANNELS[family][1], 3, 4), torch.tensor([0.1, 0.9]), torch.tensor([1.0, 0.3])
    with torch.no_grad():
        changes = adapters(levels)
        pictures = base.synthesise(y, changes, [block.amount(levels, parts) for block in blocks])
        codec = load_codec(find(family), CPU)
        for number in range(2):
            own = {name: down[number] @ up for name, (down, up) in changes.items()}
            level, part = levels[number].item(), parts[number].item()
            inside = tuple(
                PlacedBlock(p.after, p.ratio, b.at(level, part)) for p, b in zip(PLACES[family], blocks, strict=True)
            )
            torch.testing.assert_close(
                pictures[number : number + 1],
                codec.synthesis(SynthesisChanges(own, inside))(y[number : number + 1]),
                rtol=1e-4,
                atol=1e-5,
            )
        assert (base.synthesise(y, changes) - pictures).abs().max() > 1e-3
        assert (base.synthesise(y) - pictures).abs().max() > 1e-3
        torch.testing.assert_close(base.synthesise(y), codec.synthesis()(y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
def test_blocks_act_and_learn_in_a_compiled_synthesis_too(family: str, bf16: bool) -> None:
    torch.manual_seed(0)
    y, level, part = torch.randn(1, CHANNELS[family][1], 3, 4), torch.tensor([0.4]), torch.tensor([0.7])
    block = ResidualBlock(8, 6, 3)
    block.second.weight.data.normal_(0, 0.1)
    seen = []
    for compile_ in (False, True):
        frozen = FrozenBase(find(family).path, CPU, bf16=bf16, compile_=compile_)
        frozen.attach([(PLACES[family][0], block)])
        for amounts in ([], [block.amount(level, part)]):
            picture = frozen.synthesise(y, {}, amounts)
        block.second.weight.grad = None
        picture.square().sum().backward()
        seen.append((picture.detach(), block.second.weight.grad))
    scale = 0.05 if bf16 else 1e-4
    for eager, compiled in zip(*seen, strict=True):
        assert eager.abs().max() > 0
        assert (compiled - eager).abs().max() <= scale * eager.abs().max()
