"""Points to repair, as one layer of a plain ReLU network and those behind it see them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from repairsolver.results import Array


class Points:
    """Points to repair in a plain ReLU network, as layer k and later ones see them.

    Args:
        weights, biases: of all layers, [r, k] and [r].
        inputs: [n, size]; labels: [n].
    """

    def __init__(
        self, weights: list[Array], biases: list[Array], k: int, inputs: Array, labels: NDArray[np.int64]
    ) -> None:
        self.after, self.labels = weights[k + 1 :], labels
        for w, b in zip(weights[:k], biases[:k], strict=True):
            inputs = np.maximum(inputs @ w.T + b, 0.0)
        self.reads, self.used = inputs, np.flatnonzero(np.any(inputs != 0, axis=0))
        self.pre = [inputs @ weights[k].T + biases[k]]
        for w, b in zip(self.after, biases[k + 1 :], strict=True):
            self.pre.append(np.maximum(self.pre[-1], 0.0) @ w.T + b)
        self.on = [z >= 0 for z in self.pre]
        self.widths = [z.shape[1] for z in self.pre]

    def moved(self, weight: Array, biases: tuple[Array, ...]) -> list[Array]:
        """By how much pre-activations change, layer by layer from k, [n, width] each."""
        moved = [self.reads @ weight.T]
        for w, on in zip(self.after, self.on, strict=False):
            moved.append((moved[-1] + (biases[len(moved) - 1] if biases else 0.0)) * on @ w.T)
        return [part + biases[i] for i, part in enumerate(moved)] if biases else moved

    def pulled(self, layer: int, below: int, points: NDArray[np.int64], neurons: NDArray[np.int64]) -> Array:
        """How pre-activations depend on those of a layer below, biases apart, [rows, width]."""
        pulled = np.eye(self.widths[layer])[neurons]
        for step in range(layer - 1, below - 1, -1):
            pulled = pulled @ self.after[step] * self.on[step][points]
        return np.asarray(pulled)
