"""An autoregressive context model over integers, run along wavefronts.

The context of a position (row y, column x) are the 12 positions before it, in raster order, of a 5 x 5 window: rows
y - 2 and y - 1 from x - 2 to x + 2, and in its own row x - 2 and x - 1. All of them have a smaller x + 3y, so positions
of equal x + 3y do not depend on each other: they form a wave, and waves follow each other by rising x + 3y.

Everything runs on the CPU, where the range coder waits for each wave. NumPy instead of torch: a wave is a product of
small matrices, for which NumPy is the faster of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from dlcodec.entropy.exact import ACTIVATION_LIMIT, SLOPE, SLOPE_BITS, ExactLayer
from dlcodec.entropy.tables import Integers
from dlcodec.errors import WeightsError

Floats = npt.NDArray[np.float64]

KERNEL = 5
"""Side of the window."""

_REACH = KERNEL // 2
_TAPS = [(dy, dx) for dy in range(-_REACH, 1) for dx in range(-_REACH, _REACH + 1) if (dy, dx) < (0, 0)]
_SLOPE_ROWS = KERNEL - _REACH
"""A wave moves this many columns to the left for each row down."""


def waves(height: int, width: int) -> Iterator[npt.NDArray[np.intp]]:
    """The wavefronts of an area in coding order: of each, the places row * width + column, by rising row."""
    rows = np.arange(height)
    starts = rows * (width - _SLOPE_ROWS)
    for time in range(width + _SLOPE_ROWS * (height - 1)):
        first, last = max(0, -((width - 1 - time) // _SLOPE_ROWS)), min(height - 1, time // _SLOPE_ROWS)
        if first <= last:  # narrower areas than three columns have gaps
            yield starts[first : last + 1] + time


class _Matrix:
    """An integer layer as the product with a matrix (inputs, outputs).

    In memory an output's weights follow each other: OpenBLAS takes two thirds of the time for a product of few rows.
    """

    def __init__(self, weight: Floats, layer: ExactLayer) -> None:
        self.weight = np.asfortranarray(weight)
        self.bias: Floats = layer.bias.cpu().numpy()
        self._scale, self._activate = 2.0**-layer.shift, layer.activate

    def finish(self, total: Floats) -> Floats:
        """From a sum of products and bias to the layer's output, in place."""
        total *= self._scale
        np.rint(total, out=total)
        if self._activate:
            leak = np.minimum(total, 0)
            leak *= SLOPE
            leak *= 2.0**-SLOPE_BITS
            np.rint(leak, out=leak)
            np.maximum(total, 0, out=total)
            total += leak
        np.minimum(total, ACTIVATION_LIMIT, out=total)
        return np.maximum(total, -ACTIVATION_LIMIT, out=total)


class ContextModel:
    """The masked convolution and the 1 x 1 convolutions of an autoregressive prior (Minnen et al. 2018), in integers.

    ::

        latent before the position --context (5 x 5, masked)--┐
        features of the hyper-synthesis ----------------------┴--> 1 x 1 --> 1 x 1 --> ... --> sigma, mu

    ``context`` is a layer (C, M, 5, 5) whose weights beyond the mask are zero, ``layers`` the others, the first of
    which sees F features before C contexts; the last gives 2 M numbers. Raises WeightsError where they do not fit.
    """

    def __init__(self, context: ExactLayer, layers: Sequence[ExactLayer]) -> None:
        kernel: Floats = context.weight.cpu().numpy()
        matrices: list[Floats] = [layer.weight.cpu().numpy() for layer in layers]
        if kernel.ndim != 4 or kernel.shape[2:] != (KERNEL, KERNEL) or any(m.shape[2:] != (1, 1) for m in matrices):
            raise WeightsError("the layers of the context model have the wrong shapes")
        contexts, self.channels = kernel.shape[:2]
        self.features = matrices[0].shape[1] - contexts
        widths = [self.features + contexts, *(m.shape[0] for m in matrices)]
        if self.features < 1 or widths[-1] != 2 * self.channels or [m.shape[1] for m in matrices] != widths[:-1]:
            raise WeightsError("the layers of the context model do not fit each other")
        taps = np.stack([kernel[:, :, dy + _REACH, dx + _REACH] for dy, dx in _TAPS])
        if np.count_nonzero(taps) != np.count_nonzero(kernel):
            raise WeightsError("the context model looks at what is not decoded yet")
        self.context = _Matrix(taps.transpose(0, 2, 1).reshape(-1, contexts), context)
        self.layers = [_Matrix(m[:, :, 0, 0].T, layer) for m, layer in zip(matrices, layers, strict=True)]

    def start(self, features: Integers) -> ContextPass:
        """Begin an area of ``features`` (F, h, w) int32."""
        return ContextPass(self, features)


class ContextPass:
    """One latent (M, h, w) as it becomes known, wave by wave: ``predict`` a wave, then ``settle`` it."""

    def __init__(self, model: ContextModel, features: Integers) -> None:
        _, height, width = features.shape
        columns = width + 2 * _REACH
        self._model, self._width = model, width
        self.latent: Integers = np.zeros((model.channels, height, width), np.int32)
        # The same position by position with zeros around it, and no larger than an activation may be.
        self._padded = np.zeros(((height + _REACH) * columns, model.channels))
        self._taps = np.array([dy * columns + dx for dy, dx in _TAPS])
        self._features = np.ascontiguousarray(features.reshape(len(features), -1).T)
        most = -(-width // _SLOPE_ROWS)
        self._seen = np.empty((most, len(_TAPS), model.channels))
        self._contexts = np.empty((most, model.context.weight.shape[1]))
        self._known = np.empty((most, model.layers[0].weight.shape[0]))
        self._sums = [np.empty((most, matrix.weight.shape[1])) for matrix in model.layers]

    def _place(self, wave: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Where the positions of a wave lie in ``_padded``."""
        rows = wave // self._width
        return wave + rows * (2 * _REACH) + (_REACH * (self._width + 2 * _REACH) + _REACH)

    def predict(self, wave: npt.NDArray[np.intp]) -> tuple[Integers, Integers]:
        """``sigma`` and ``mu`` with ACTIVATION_BITS, each (n, M) int32, of a wave's n positions."""
        model, count = self._model, len(wave)
        seen = self._seen[:count]
        np.take(self._padded, self._place(wave)[:, None] + self._taps, axis=0, out=seen, mode="clip")
        total = np.matmul(seen.reshape(count, -1), model.context.weight, out=self._contexts[:count])
        total += model.context.bias
        x = self._known[:count]
        x[:, : model.features] = self._features[wave]
        x[:, model.features :] = model.context.finish(total)
        for matrix, sums in zip(model.layers, self._sums, strict=True):
            total = np.matmul(x, matrix.weight, out=sums[:count])
            total += matrix.bias
            x = matrix.finish(total)
        found = x.astype(np.int32)
        return found[:, : model.channels], found[:, model.channels :]

    def settle(self, wave: npt.NDArray[np.intp], latent: Integers) -> None:
        """Take the latent (n, M) int32 of a wave, with ACTIVATION_BITS."""
        self._padded[self._place(wave)] = np.clip(latent, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        self.latent.reshape(len(self.latent), -1)[:, wave] = latent.T
