"""What a .dlc file says of itself, without torch and without decoding."""

from __future__ import annotations

from dataclasses import dataclass

from dlcodec import container
from dlcodec.limits import DEFAULT_LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Info:
    """A file's description; sizes in bytes, sides in pixels, digests in hex."""

    format_version: int
    family: str
    model_digest: str
    width: int
    height: int
    level: float
    tau_hint: float | None
    file_bytes: int
    payload_bytes: int
    bits_per_pixel: float
    latent_digest: str


def describe(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Info:
    """Describe a file; raises CorruptFileError, UnsupportedFileError or LimitError."""
    file = container.unpack(data, limits)
    header = file.header
    return Info(
        format_version=file.version,
        family=header.family,
        model_digest=header.model_digest.hex(),
        width=header.width,
        height=header.height,
        level=header.level / 256,
        tau_hint=None if header.tau_hint is None else header.tau_hint / container.TAU_STEPS,
        file_bytes=len(data),
        payload_bytes=len(file.payload),
        bits_per_pixel=8 * len(data) / (header.width * header.height),
        latent_digest=f"{header.latent_digest:08x}",
    )
