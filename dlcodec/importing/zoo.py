"""The pretrained models of CompressAI's zoo, fetched whole and held against the digest in their name."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.request

from compressai.zoo.image import model_urls

from dlcodec.errors import UsageError, WeightsError
from dlcodec.importing.families import FOREIGN
from dlcodec.importing.source import MOST_BYTES, Source, parse_source

_METRIC = "mse"
_TIMEOUT = 30.0
_DIGEST = re.compile(r"-([0-9a-f]{8,})\.")


def family(architecture: str) -> str:
    """The family of an architecture; raises UsageError for one that cannot be imported."""
    families = {foreign.zoo: name for name, foreign in FOREIGN.items()}
    if architecture not in families:
        raise UsageError(f"{architecture!r} is none of the zoo's models that can be imported: {', '.join(families)}")
    return families[architecture]


def fetch(architecture: str, quality: int) -> Source:
    """Download a model that was trained for MSE; ``quality`` is CompressAI's, 1 to 8.

    Raises UsageError for a quality that is not there, WeightsError where it cannot be had or is not what it should be.
    """
    urls = model_urls[architecture][_METRIC]
    if quality not in urls:
        raise UsageError(f"{architecture} has no quality {quality}, only {min(urls)} to {max(urls)}")
    url = urls[quality]
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            data = answer.read(MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(f"cannot download {url}: {getattr(error, 'reason', error)}") from error
    promised = _DIGEST.search(url)
    if promised and not hashlib.sha256(data).hexdigest().startswith(promised[1]):
        raise WeightsError(f"what {url} gave is not the file that its name promises")
    return parse_source(url.rpartition("/")[2], data)
