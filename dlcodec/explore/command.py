"""The command: one file decoded for several values of tau, and the page of them written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dlcodec import container, installed
from dlcodec.arguments import Device, check_sampling
from dlcodec.errors import InputError, UsageError
from dlcodec.explore.page import Facts, Page, build_page
from dlcodec.explore.pictures import check_pixels, check_side
from dlcodec.files import read_bounded, readable, refuse_existing, write_atomically
from dlcodec.image import load_picture
from dlcodec.limits import Limits
from dlcodec.selection import base_to_decode

DEFAULT_TAUS = tuple(step / 10 for step in range(11))
_MOST_TAUS = 101


def choose_taus(named: Sequence[float] | None) -> tuple[float, ...]:
    """The values of a page: those named, each in [0, 1], ascending, each once, and always 1; None gives tenths.

    Raises UsageError when none is below 1 or too many are.
    """
    if named is None:
        return DEFAULT_TAUS
    taus = sorted({1.0, *(abs(tau) for tau in named)})  # abs: -0.0 is 0
    if not 2 <= len(taus) <= _MOST_TAUS:
        raise UsageError(f"a page needs 1 to {_MOST_TAUS - 1} values of tau below 1, not {len(taus) - 1}")
    return tuple(taus)


def run_explore(
    source: Path,
    output: Path,
    *,
    original: Path | None,
    taus: Sequence[float],
    model: str | None,
    steps: int | None,
    seed: int,
    most_megabytes: float,
    device: Device,
    force: bool,
    limits: Limits,
    count_steps: Callable[[int], Callable[[], None]],
) -> Page:
    """Write the page of ``source`` to ``output``; ``taus`` as from ``choose_taus``, ``model`` as for ``selection``.

    ``count_steps`` takes the number of the sampler's steps and gives what is to be called after each of them.
    What can be refused is refused before torch is imported. Raises DlcodecError.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"the output must be a .html file, not {output.name}")
    check_sampling(steps, seed)
    if not most_megabytes > 0:
        raise UsageError(f"--max-mb {most_megabytes:g} is not above 0")
    refuse_existing(output, force=force)
    data = read_bounded(source, limits.file_bytes)
    file = container.unpack(data, limits)
    header = file.header
    check_side(header.width, header.height)
    check_pixels(header.width, header.height, len(taus) + (original is not None))
    as_coded = all(section.type != container.SECTION_ICC for section in file.sections)  # sRGB, or as the profile says
    pixels = None if original is None else load_picture(original, limits, strip=as_coded).rgb
    if pixels is not None and pixels.shape[:2] != (header.height, header.width):
        height, width = pixels.shape[:2]
        raise InputError(
            f"{original} is {width} x {height} pixels, but {source} holds {header.width} x {header.height}: "
            "it is not the original"
        )
    base = base_to_decode(model, header.family, header.model_digest)
    fusion = installed.find_fusion(base)
    after_step = count_steps((len(taus) - 1) * (steps or fusion.config["steps"]))
    from dlcodec import pipeline

    decoded = pipeline.decode_images(
        file, taus, device, limits, steps=steps, seed=seed, after_step=after_step, base=base
    )
    facts = Facts(readable(source.name), len(data), header.rate_level, header.model_digest.hex())
    page = build_page(facts, list(zip(taus, decoded, strict=True)), pixels, most_megabytes=most_megabytes)
    write_atomically(output, page.data, force=force)
    return page
