"""Max-pooling: its interval, and lines for one chosen entry of each window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from repairsolver.certificate.relaxation import Lines
from repairsolver.network import operators as ops
from repairsolver.results import Array


def pooled_interval(operator: ops.MaxPool, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Bounds of the maxima, exactly."""
    return _gather(lower, operator.windows).max(axis=2), _gather(upper, operator.windows).max(axis=2)


def pooled(operator: ops.MaxPool, lower: Array, upper: Array) -> tuple[Lines, NDArray[np.int64]]:
    """max_j x_j >= x_k for every k; <= x_k if x_k is at least all others' upper bounds, else <= max u.

    Source: Singh et al. 2019 (DeepPoly), section 4.5.
    """
    windows = operator.windows
    low, high = _gather(lower, windows), _gather(upper, windows)
    choice = low.argmax(axis=2)[:, :, None]
    top = high.max(axis=2)
    np.put_along_axis(high, choice, -np.inf, 2)
    exact = high.max(axis=2) <= np.take_along_axis(low, choice, 2)[:, :, 0]
    entry = np.take_along_axis(np.broadcast_to(windows, low.shape), choice, 2)[:, :, 0]
    one, zero = np.ones_like(top), np.zeros_like(top)
    return Lines(one, zero, np.where(exact, one, zero), np.where(exact, zero, top)), entry


def _gather(x: Array, windows: NDArray[np.int64]) -> Array:
    return np.asarray(np.concatenate([x, np.full((len(x), 1), -np.inf)], axis=1)[:, windows])
