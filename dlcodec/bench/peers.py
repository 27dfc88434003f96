"""Others on the same picture, in the same process: CompressAI's own code on the same network, JPEG XL and AVIF."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from dlcodec import checkpoint
from dlcodec.bench.subject import Subject
from dlcodec.checkpoint import Checkpoint
from dlcodec.codecs.mean_scale_network import MeanScaleNetwork
from dlcodec.entropy.exact import ACTIVATION_BITS, GAIN_BITS
from dlcodec.errors import UsageError
from dlcodec.image import pad


@dataclass(frozen=True, slots=True)
class Peer:
    """Another codec on one picture: what is to be timed, by name, and the bytes that it makes of the picture."""

    functions: Mapping[str, Callable[[], Any]]
    bytes: int


def as_compressai(found: Checkpoint, level: int) -> Any:
    """A mean-scale codec at one integer level as CompressAI's class, gains folded into the convolutions.

    Its entropy bottleneck keeps CompressAI's initial density: good for timing, not for rate. Raises ImportError.
    """
    from compressai.models import MeanScaleHyperprior

    arrays = {n: torch.from_numpy(a.astype(np.float32)) for n, a in checkpoint.load_arrays(found).items()}
    model = MeanScaleHyperprior(N=found.config["N"], M=found.config["M"])
    state = dict(model.state_dict())
    state.update({n: t for n, t in arrays.items() if n.startswith(("g_a", "g_s", "h_a"))})
    for plan, shift in zip(MeanScaleNetwork.exact_groups["h_s"], found.config["h_s_shifts"], strict=True):
        state[f"{plan.name}.weight"] = arrays[f"exact.{plan.name}.weight"] / 2.0**shift
        state[f"{plan.name}.bias"] = arrays[f"exact.{plan.name}.bias"] / 2.0 ** (shift + ACTIVATION_BITS)

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


def _compressai(subject: Subject) -> Peer:
    if subject.found.family != "mean-scale":
        raise UsageError(f"peer compressai is built from mean-scale weights, not from {subject.found.family}")
    if subject.level % 1:
        raise UsageError(f"peer compressai has whole levels only, not {subject.level:g}")
    try:
        model = as_compressai(subject.found, int(subject.level)).to(subject.where())
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"peer compressai needs the package compressai ({error})") from error
    x = torch.from_numpy(pad(subject.rgb, 64)).permute(2, 0, 1)[None].to(subject.where()).float() / 255
    compress, decompress = (torch.inference_mode()(function) for function in (model.compress, model.decompress))
    coded = compress(x)
    return Peer(
        {
            "compressai: compress": lambda: compress(x),
            "compressai: decompress": lambda: decompress(coded["strings"], coded["shape"]),
        },
        sum(len(string) for strings in coded["strings"] for string in strings),
    )


def _pillow(name: str, kind: str, subject: Subject) -> Peer:
    picture = Image.fromarray(subject.rgb)

    def encode() -> bytes:
        stream = io.BytesIO()
        picture.save(stream, kind)
        return stream.getvalue()

    data = encode()

    def decode() -> None:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            image.load()

    return Peer({f"{name}: encode": encode, f"{name}: decode": decode}, len(data))


def _jxl(subject: Subject) -> Peer:
    try:
        import pillow_jxl  # noqa: F401  (registers the format)
    except ImportError as error:
        raise UsageError(f"peer jxl needs the package pillow-jxl-plugin ({error})") from error
    return _pillow("jxl", "JXL", subject)


def _avif(subject: Subject) -> Peer:
    if not features.check("avif"):
        raise UsageError("peer avif needs a Pillow that was built with AVIF")
    return _pillow("avif", "AVIF", subject)


PEERS: Mapping[str, Callable[[Subject], Peer]] = {"compressai": _compressai, "jxl": _jxl, "avif": _avif}


def load_peer(name: str, subject: Subject) -> Peer:
    """A peer, with its own default quality and speed; raises UsageError where it is unknown or not installed."""
    if name not in PEERS:
        raise UsageError(f"peer {name!r} is none of {', '.join(PEERS)}")
    return PEERS[name](subject)
