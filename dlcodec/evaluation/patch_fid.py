"""FID over 256-pixel patches of a set of pictures (Mentzer et al. 2020), through torch-fidelity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dlcodec.errors import InputError, WeightsError
from dlcodec.evaluation.metrics import import_library
from dlcodec.picture import RGB

SIDE = 256
_BATCH = 32
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
Features = npt.NDArray[np.float32]


def cut_patches(rgb: RGB) -> RGB:
    """All whole tiles of an (H, W, 3) picture and those of a grid shifted by 128 both ways, as (N, 3, 256, 256).

    Raises InputError when the picture has none.
    """
    height, width = rgb.shape[:2]
    patches = [
        rgb[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1)
        for start in (0, SIDE // 2)
        for top in range(start, height - SIDE + 1, SIDE)
        for left in range(start, width - SIDE + 1, SIDE)
    ]
    if not patches:
        raise InputError(f"fid needs pictures of at least {SIDE} pixels a side")
    return np.stack(patches)


def fid_weights(folder: Path | None) -> Path | None:
    """The weights of Inception in a folder of metric weights, None where they are not there."""
    path = folder / WEIGHTS if folder else None
    return path if path and path.is_file() else None


class PatchFid:
    """The features of pictures, and the distance between two sets of them."""

    def __init__(self, device: Literal["cpu", "cuda"], folder: Path | None) -> None:
        """Load Inception from ``folder``, or by torch-fidelity's own download. Raises UsageError, WeightsError."""
        import_library("fid", "torch-fidelity")
        from torch_fidelity.metric_fid import create_feature_extractor

        path = fid_weights(folder)
        try:
            self._extract: Any = create_feature_extractor(
                "inception-v3-compat",
                ["2048"],
                cuda=device == "cuda",
                verbose=False,
                feature_extractor_weights_path=path and str(path),
                feature_extractor_compile=False,
            )
        except Exception as error:  # a download fails in as many ways as there are networks
            raise WeightsError(f"fid has no weights: {WEIGHTS} could not be loaded or downloaded ({error})") from error
        self._device = device

    def features(self, rgb: RGB) -> Features:
        """(H, W, 3) uint8 to (N, 2048) float32, one row a patch. Raises InputError for a small picture."""
        import torch

        found = []
        for patches in torch.split(torch.from_numpy(cut_patches(rgb)), _BATCH):
            (features,) = self._extract(patches.to(self._device))
            found.append(features.cpu())
        array: Features = torch.cat(found).numpy()
        return array

    @staticmethod
    def distance(originals: Sequence[Features], decoded: Sequence[Features]) -> float:
        """FID between the patches of two sets of pictures."""
        import torch
        from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

        sets = (torch.from_numpy(np.concatenate(one).astype(np.float64)) for one in (originals, decoded))
        value = fid_statistics_to_metric(*map(fid_features_to_statistics, sets), verbose=False)
        return float(value[KEY_METRIC_FID])
