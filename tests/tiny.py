"""Tiny random checkpoints: the whole codec in milliseconds, made by the same export as the shipped weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from dlcodec import checkpoint
from dlcodec.codecs import codec_class
from dlcodec.codecs.hyperprior_network import HyperpriorNetwork, HyperpriorParams
from dlcodec.fusion.adapters import SynthesisAdapters
from dlcodec.fusion.blocks import BlockPlace, ResidualBlock
from dlcodec.fusion.denoiser import Denoiser, DenoiserParams
from dlcodec.training.export import export_base, fusion_parts

CHANNELS = {"mean-scale": (8, 12), "cheng2020": (8, 8)}
"""N and M of each family's tiny network; a family that is not here has no tests of the whole decoder."""


def make_network(seed: int = 0, levels: int = 3, family: str = "mean-scale") -> HyperpriorNetwork:
    """A random network of few channels whose latents spread over several symbols and scales."""
    torch.manual_seed(seed)
    N, M = CHANNELS[family]
    network: HyperpriorNetwork = codec_class(family).network(HyperpriorParams(N=N, M=M, levels=levels)).eval()
    last = [plans[-1].name for plans in network.exact_groups.values()][-1]
    with torch.no_grad():
        steps = torch.arange(levels)[:, None]
        network.gain.copy_(20.0 * 1.5**steps * torch.ones(levels, M))
        network.inv_gain.copy_(1 / network.gain)
        network.hgain.copy_(4.0 * 1.2**steps * torch.ones(levels, N))
        network.hinv.copy_(1 / network.hgain)
        network.get_parameter(f"{last}.weight").mul_(40)
    return network


def write_checkpoint(folder: Path, seed: int = 0, levels: int = 3, family: str = "mean-scale") -> Path:
    """Export a tiny codec as ``folder/<family>/base.safetensors``."""
    random = np.random.default_rng(seed)
    tiles = [torch.from_numpy(random.integers(0, 256, (3, 64, 64), dtype=np.uint8)) for _ in range(4)]
    reach = np.arange(-40, 41)
    likelihoods = np.tile(np.exp(-np.abs(reach) / 2.0) / np.exp(-np.abs(reach) / 2.0).sum(), (8, 1))
    lambdas = [0.0018 * 2.0**level for level in range(levels)]
    default_level = min(1.0, levels - 1.0)
    network = make_network(seed, levels, family)
    medians = torch.linspace(-0.4, 0.4, 8)
    config, arrays = export_base(network, medians, likelihoods, lambdas, default_level, tiles, scales=32)
    arrays["train.entropy_bottleneck.quantiles"] = np.stack([medians - 10, medians, medians + 10], 1)[:, None]
    path = folder / family / "base.safetensors"
    checkpoint.save(path, family, config, arrays, {"data": "none: random weights for tests"}, force=True)
    return path


PARAMS = DenoiserParams(M=12, C=16, units=2, heads=2, window=8)
PLACES = {
    "mean-scale": (BlockPlace(after=1, ratio=2, hidden=6), BlockPlace(after=3, ratio=4, hidden=5)),
    "cheng2020": (BlockPlace(after=1, ratio=1, hidden=6), BlockPlace(after=4, ratio=4, hidden=5)),
}
"""Where each family's tiny fusion has blocks, after layers of eight channels."""
SCHEDULE = {"kind": "cosine", "offset": 0.008, "minimum": 1e-4}


def make_denoiser(seed: int = 0, params: DenoiserParams = PARAMS) -> Denoiser:
    """A random fusion network that changes its latent visibly, and that depends on its noise."""
    torch.manual_seed(seed)
    denoiser = Denoiser(params).eval().requires_grad_(False)
    denoiser.head.weight.normal_(0, 0.5)
    return denoiser


def write_fusion(folder: Path, seed: int = 0, family: str = "mean-scale") -> Path:
    """Export a tiny fusion network as ``folder/<family>/fusion.safetensors``, tied to the base that lies there."""
    base = checkpoint.read_metadata(folder / family / "base.safetensors")
    M = CHANNELS[family][1]
    params = DenoiserParams(M=M, C=16, units=2, heads=2, window=8)
    tensors = {f"denoiser.{name}": tensor for name, tensor in make_denoiser(seed, params).state_dict().items()}
    tensors |= {"mean": torch.linspace(-0.1, 0.1, M), "deviation": torch.linspace(0.05, 0.2, M)}
    arrays = checkpoint.load_arrays(base)
    shapes = {n.removeprefix("g_s."): torch.Size(a.shape) for n, a in arrays.items() if n[:4] == "g_s." and a.ndim == 4}
    adapters = SynthesisAdapters(shapes, 2, base.levels)
    for up, scale in zip(adapters.up.values(), adapters.scale.values(), strict=True):
        up.data.normal_(0, 0.02)
        scale.data.uniform_(0.5, 1.5)
    tensors |= {f"adapters.{name}": tensor for name, tensor in adapters.state_dict().items()}
    for number, (place, channels) in enumerate(zip(PLACES[family], (8, 8), strict=True)):
        block = ResidualBlock(channels, place.hidden, base.levels)
        block.second.weight.data.normal_(0, 0.05)
        block.scale.data.uniform_(0.5, 1.5)
        block.rms.uniform_(0.5, 1.5)
        tensors |= {f"blocks.{number}.{name}": tensor for name, tensor in block.state_dict().items()}
    places = [asdict(place) for place in PLACES[family]]
    config, arrays = fusion_parts(tensors, base.digest, asdict(params), SCHEDULE, 10, blocks=places)
    path = folder / family / "fusion.safetensors"
    checkpoint.save(path, family, config, arrays, {"data": "none: random weights for tests"}, force=True)
    return path
