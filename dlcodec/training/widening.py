"""More latent channels for a trained codec: where the transforms lose more than the quantiser, M limits the picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from dlcodec.codecs.hyperprior_network import HyperpriorNetwork, HyperpriorParams
from dlcodec.errors import UsageError
from dlcodec.training.rate_distortion import TrainableCodec

_CENTRE = slice(2, 4)
"""The taps of the last 5 x 5 layer of ``g_a`` that neighbouring latents do not share."""
_HIDDEN = ("h_s.0.", "h_s.2.")


@torch.no_grad()
def widen_latent(narrow: TrainableCodec, M: int, images: Tensor) -> TrainableCodec:
    """``narrow`` with ``M`` latent channels, which gives the pictures that it gave until it is trained on.

    Of ``images`` (B, 3, H, W) in [0, 1], a new channel takes a principal component of what the last layer of ``g_a``
    sees and its channels do not tell (by least squares, position by position). ``g_s`` and ``h_a`` take nothing from
    it yet. Its scale is predicted, and its gains are, as if it were one of the channels that vary least.
    Raises UsageError for a family of another structure than ``mean-scale``, or an M that is not larger or too large.
    """
    old = narrow.network
    if old.family != "mean-scale":
        raise UsageError(f"{old.family} cannot be widened; only mean-scale can")
    N, m = old.params.N, old.params.M
    if not m < M <= m + min(m, 4 * old.params.N):
        raise UsageError(f"{m} latent channels cannot become {M}")
    wide = TrainableCodec(old.family, HyperpriorParams(N, M, old.params.levels))
    wide.entropy_bottleneck.load_state_dict(narrow.entropy_bottleneck.state_dict())
    before, after = old.state_dict(), wide.network.state_dict()
    for name, tensor in before.items():
        pair = (2, -1) if name.startswith("h_s.4.") else (-1,)  # scales, then means
        source, target = tensor.unflatten(0, pair), after[name].unflatten(0, pair)
        if source.shape != target.shape and not name.startswith(_HIDDEN):
            target.zero_()
        elif name == "h_s.2.weight":  # new hidden channels begin at random; the old ones take nothing from them
            target[m:, : source.shape[1]] = 0
        target[tuple(map(slice, source.shape))] = source
    donors = _add_components(old, after, images, M - m)
    for name in ("h_s.4.weight", "h_s.4.bias"):
        scales = before[name][:m][donors]
        after[name][(slice(m, M), *map(slice, scales.shape[1:]))] = scales
    wide.network.load_state_dict(after)
    return wide


def _add_components(old: HyperpriorNetwork, after: dict[str, Tensor], images: Tensor, more: int) -> Tensor:
    """Set the new rows of ``g_a`` and of the gains in ``after``; returns the channels whose gains they have."""
    m, last = old.params.M, f"g_a.{len(old.g_a) - 1}"
    features = old.g_a[:-1](images)
    y = old.g_a[-1](features)
    height, width = y.shape[2:]
    seen = pad(features, (0, 1, 0, 1))  # taps 2 and 3 lie at 0 and 1 beside the centre
    patches = seen[:, :, : 2 * height, : 2 * width].unfold(2, 2, 2).unfold(3, 2, 2)
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 4 * features.shape[1]).double()
    told = y.permute(0, 2, 3, 1).reshape(-1, m).double()
    patches, told = patches - patches.mean(0), told - told.mean(0)
    known = torch.linalg.lstsq(told, patches).solution
    rest = patches - told @ known
    components = torch.linalg.eigh(rest.T @ rest).eigenvectors[:, -more:]
    deviation = (rest @ components).std(0)
    spread = told.std(0)
    donors = (spread * old.gain[-1].abs()).argsort()[:more]
    scale = spread.median() / deviation
    rows = -torch.einsum("pk,mp,mcij->kcij", components, known, old.g_a[-1].weight.double())
    rows[:, :, _CENTRE, _CENTRE] += components.T.reshape(more, -1, 2, 2)
    rows *= scale[:, None, None, None]
    after[f"{last}.weight"][m:] = rows
    after[f"{last}.bias"][m:] = -conv2d(features, rows.float(), stride=2, padding=2).mean((0, 2, 3))
    share = (spread[donors] / spread.median()).float()
    after["gain"][:, m:] = old.gain[:, donors] * share
    after["inv_gain"][:, m:] = old.inv_gain[:, donors] / share
    return donors
