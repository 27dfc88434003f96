"""Others on the same picture: CompressAI's own code on the same network, JPEG XL and AVIF."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, features

from dlcodec import checkpoint
from dlcodec.bench.subject import Subject
from dlcodec.errors import UsageError
from dlcodec.image import pad


@dataclass(frozen=True, slots=True)
class Peer:
    """Another codec on one picture: what is to be timed, by name, and the bytes that it makes of the picture."""

    functions: Mapping[str, Callable[[], Any]]
    bytes: int


def _compressai(subject: Subject) -> Peer:
    if subject.level % 1:
        raise UsageError(f"peer compressai has whole levels only, not {subject.level:g}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries deprecate what they use themselves
            from dlcodec.importing.families import restore
    except (ImportError, RuntimeError) as error:  # torchvision beside another build of torch raises the latter
        raise UsageError(f"peer compressai needs the package compressai ({error})") from error
    found = subject.found
    model = restore(found.family, found.config, checkpoint.load_arrays(found), int(subject.level)).to(subject.where())
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
