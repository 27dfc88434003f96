"""Seconds for one image: each stage warm, and CompressAI's own compress and decompress on the same weights."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcodec import checkpoint, container
from dlcodec.codecs.base import CodingStep, Integers
from dlcodec.codecs.mean_scale import MeanScaleCodec
from dlcodec.codecs.mean_scale_exact import HYPER_LAYERS
from dlcodec.entropy.coder import Decoder, Encoder
from dlcodec.entropy.exact import ACTIVATION_BITS, GAIN_BITS, LEVEL_STEPS
from dlcodec.fusion.fuse import Precision
from dlcodec.fusion.noise import latent_noise
from dlcodec.image import RGB, pad
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import (
    Device,
    choose_device,
    decode_image,
    decode_latent,
    encode_image,
    load_codec,
    load_fusion,
    run_steps,
)

Timings = dict[str, float]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _median(function: Callable[[], Any], repeats: int) -> float:
    function()
    seconds = []
    for _ in range(repeats):
        _wait()
        begun = time.perf_counter()
        function()
        _wait()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def time_stages(rgb: RGB, level: float, repeats: int, device: Device) -> Timings:
    """Median seconds of encode and decode at tau 1 in a warm process, and of the parts of each."""
    codec = load_codec(checkpoint.find("mean-scale"), choose_device(device))
    assert isinstance(codec, MeanScaleCodec)
    data = encode_image(rgb, level, device)
    file = container.unpack(data, DEFAULT_LIMITS)
    padded = pad(rgb, codec.stride)
    steps: list[CodingStep] = []
    x = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
    q = file.header.level

    def keep(step: CodingStep) -> Integers:
        assert step.symbols is not None
        steps.append(step)
        return step.symbols

    latents = codec.analyse(x, q)
    run_steps(codec.coding_steps(padded.shape[0], padded.shape[1], q, latents), keep)

    def code() -> bytes:
        encoder = Encoder(codec.models)
        for step in steps:
            assert step.symbols is not None
            encoder.encode(step.symbols.ravel(), step.index.ravel())
        return encoder.finish()

    payload = code()

    def uncode() -> None:
        decoder = Decoder(codec.models, payload)
        for step in steps:
            decoder.decode(step.index.ravel())

    y_hat = codec.to_float(decode_latent(file, codec), q)
    return {
        "encode": _median(lambda: encode_image(rgb, level, device), repeats),
        "decode, tau 1": _median(lambda: decode_image(data, 1.0, device), repeats),
        "analysis transforms": _median(lambda: codec.analyse(x, q), repeats),
        "synthesis transform": _median(lambda: codec.synthesise(y_hat), repeats),
        "exact hyper-synthesis": _median(lambda: codec.hyper_synthesis(latents.z_symbols, q), repeats),
        f"range encode ({sum(step.index.size for step in steps)} symbols)": _median(code, repeats),
        "range decode": _median(uncode, repeats),
    }


def time_fusion(rgb: RGB, level: float, repeats: int, device: Device, precision: Precision) -> Timings:
    """Median seconds of decode at tau 0, and of the fusion alone: 1 step and 10, condition branch and noise included.

    Raises WeightsError where the fusion weights are missing.
    """
    where = choose_device(device)
    found = checkpoint.find("mean-scale")
    codec, fusion = load_codec(found, where), load_fusion(found, where, precision)
    file = container.unpack(data := encode_image(rgb, level, device), DEFAULT_LIMITS)
    y_hat = codec.to_float(decode_latent(file, codec), file.header.level)
    share = level / max(1, found.levels - 1)

    def fuse(steps: int) -> None:
        noise = torch.from_numpy(latent_noise(tuple(y_hat.shape), file.header.latent_digest, 0))
        next(fusion.fuse(y_hat, share, noise, (0.0,), steps))

    timings = {f"fusion, steps {steps}": _median(partial(fuse, steps), repeats) for steps in (1, 10)}
    for steps in (1, 10):
        decode = partial(decode_image, data, 0.0, device, steps=steps, precision=precision)
        timings[f"decode, tau 0, steps {steps}"] = _median(decode, repeats)
    return timings


def as_compressai(level: int) -> Any:
    """The shipped mean-scale codec at one integer level as CompressAI's class, gains folded into the convolutions.

    Its entropy bottleneck keeps CompressAI's initial density: good for timing, not for rate. Raises ImportError.
    """
    from compressai.models import MeanScaleHyperprior

    found = checkpoint.find("mean-scale")
    arrays = {n: torch.from_numpy(a.astype(np.float32)) for n, a in checkpoint.load_arrays(found).items()}
    model = MeanScaleHyperprior(N=found.config["N"], M=found.config["M"])
    state = dict(model.state_dict())
    state.update({n: t for n, t in arrays.items() if n.startswith(("g_a", "g_s", "h_a"))})
    for (number, _, _), shift in zip(HYPER_LAYERS, found.config["h_s_shifts"], strict=True):
        state[f"h_s.{number}.weight"] = arrays[f"exact.h_s.{number}.weight"] / 2.0**shift
        state[f"h_s.{number}.bias"] = arrays[f"exact.h_s.{number}.bias"] / 2.0 ** (shift + ACTIVATION_BITS)

    def scale(name: str, gain: Tensor, dimension: int) -> None:
        shape = [1, 1, 1, 1]
        shape[dimension] = -1
        state[f"{name}.weight"] = state[f"{name}.weight"] * gain.view(shape)

    scale("g_a.6", arrays["gain"][level], 0)
    state["g_a.6.bias"] = state["g_a.6.bias"] * arrays["gain"][level]
    scale("h_a.4", arrays["hgain"][level], 0)
    state["h_a.4.bias"] = state["h_a.4.bias"] * arrays["hgain"][level]
    scale("h_s.0", arrays["exact.hinv"][level] / 2.0**GAIN_BITS, 0)
    scale("g_s.0", arrays["inv_gain"][level], 0)
    model.load_state_dict(state)
    model.update(force=True)
    return model.eval()


@torch.inference_mode()
def time_compressai(rgb: RGB, level: float, repeats: int) -> Timings:
    """Median seconds of CompressAI's compress and decompress on the same weights and image. Raises ImportError."""
    model = as_compressai(round(level * LEVEL_STEPS) // LEVEL_STEPS)
    x = torch.from_numpy(pad(rgb, 64)).permute(2, 0, 1)[None].float() / 255
    coded = model.compress(x)
    return {
        "CompressAI compress": _median(lambda: model.compress(x), repeats),
        "CompressAI decompress": _median(lambda: model.decompress(coded["strings"], coded["shape"]), repeats),
    }
