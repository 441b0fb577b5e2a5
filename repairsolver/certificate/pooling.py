"""Max-pooling: its interval, and lines for one chosen entry of each window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from repairsolver.certificate import strategy
from repairsolver.certificate.arithmetic import ball, frozen, reach
from repairsolver.certificate.relaxation import Exact, between
from repairsolver.network import operators as ops
from repairsolver.results import Array


def pooled(operator: ops.MaxPool, lower: Array, upper: Array) -> Exact:
    """max_j x_j >= x_k for any k; <= x_k if x_k is at least all others' upper bounds, else <= max u.

    Source: Singh et al. 2019 (DeepPoly), section 4.5.
    """
    low, high = _gather(lower, operator.windows), _gather(upper, operator.windows)
    top, choice = high.max(axis=2), strategy.choice(*frozen(low))[:, :, None]
    np.put_along_axis(high, choice, -np.inf, 2)
    exact = high.max(axis=2) <= np.take_along_axis(low, choice, 2)[:, :, 0]
    entry = np.take_along_axis(np.broadcast_to(operator.windows, low.shape), choice, 2)[:, :, 0]
    # The padding of a window is no entry: nothing follows from its choice.
    lines = between(np.where(entry >= 0, 1.0, np.nan), np.where(exact, 1.0, 0.0))

    def back(rows: Array, size: Array) -> list[Array]:
        whole = np.zeros((*rows.shape[:2], lower.shape[1]))
        batch, row = np.ogrid[: whole.shape[0], : whole.shape[1]]
        np.add.at(whole, (batch[:, :, None], row[:, :, None], entry[:, None]), *lines(rows, size))
        return [whole]

    shift = ball(np.zeros_like(top), np.where(exact, 0, top))
    return (low.max(axis=2), top), shift, np.take_along_axis(reach((lower, upper)), entry, 1), back


def _gather(x: Array, windows: NDArray[np.int64]) -> Array:
    return np.asarray(np.concatenate([x, np.full((len(x), 1), -np.inf)], axis=1)[:, windows])
