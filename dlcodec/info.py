"""What a .dlc file says of itself, without torch and without decoding."""

from __future__ import annotations

from dataclasses import dataclass

from dlcodec import container
from dlcodec.limits import DEFAULT_LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Info:
    """A file's description; sizes in bytes, sides in pixels, digests in hex.

    ``metadata`` says whether there is EXIF, ICC or XMP; ``sections`` has the bytes of each kind of section in the file.
    """

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
    grey: bool
    alpha: bool
    metadata: bool
    sections: dict[str, int]


def describe(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Info:
    """Describe a file; raises CorruptFileError, UnsupportedFileError or LimitError."""
    file = container.unpack(data, limits)
    header = file.header
    sections: dict[str, int] = {}
    for section in file.sections:
        kind = container.SECTION_NAMES.get(section.type, f"unknown {section.type}")
        sections[kind] = sections.get(kind, 0) + len(section.data)
    return Info(
        format_version=file.version,
        family=header.family,
        model_digest=header.model_digest.hex(),
        width=header.width,
        height=header.height,
        level=header.rate_level,
        tau_hint=None if header.tau_hint is None else header.default_tau,
        file_bytes=len(data),
        payload_bytes=len(file.payload),
        bits_per_pixel=8 * len(data) / (header.width * header.height),
        latent_digest=f"{header.latent_digest:08x}",
        grey="grey" in sections,
        alpha="alpha" in sections,
        metadata=bool({"EXIF", "ICC", "XMP"} & sections.keys()),
        sections=sections,
    )
