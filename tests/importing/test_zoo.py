"""CompressAI's zoo, without a network."""

from __future__ import annotations

import http.client
import urllib.request

import pytest

try:
    from dlcodec.importing import zoo
except (ImportError, RuntimeError) as error:
    pytest.skip(f"CompressAI does not import here: {error}", allow_module_level=True)

from dlcodec.errors import WeightsError


def test_a_download_that_breaks_off_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(url: str, timeout: float) -> None:
        raise http.client.IncompleteRead(b"12345", 10)

    monkeypatch.setattr(urllib.request, "urlopen", break_off)
    with pytest.raises(WeightsError, match=r"cannot download https://.*5 bytes read, 10 more expected"):
        zoo.fetch("mbt2018-mean", 3)
