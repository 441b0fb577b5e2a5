r"""Coordinates in which the change of behaviour is an ordinary norm, where scores are affine in the change.

Behind a linear tail \(B(\delta)^2 = \delta^\top (M + \operatorname{diag} \tau)\, \delta\) exactly. With
\(\delta = L\, w\) and \(L^\top (M + \operatorname{diag} \tau)\, L = I\) it is \(\lVert w \rVert^2\): the
programs, choices and proved lower bounds of the L2 norm serve as they are. For the whole weight matrix of a
dense layer L is a product of the factors' eigenvectors; for up to `MOST` unknowns of other layers it is a
dense matrix. Beyond there are none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from repairsolver.repairing.delta.curvature import Curvature, Kronecker, as_matrix, as_vector, centred
from repairsolver.repairing.delta.layer import EditableLayer, Layer
from repairsolver.repairing.delta.unknowns import Block
from repairsolver.results import Array

MOST = 3000
"""Unknowns of which a dense matrix is made."""

CHUNK = 64
"""Points whose gradients are held at once."""


class Coordinates(Protocol):
    """The map L."""

    def back(self, turned: Array) -> Array:
        """L w, [unknowns]."""
        ...

    def gradient(self, gradient: Array) -> Array:
        """g L for gradients [..., unknowns]."""
        ...


def whitening(layer: Layer, shape: Curvature, hidden: Array, ridge: Array) -> Coordinates | None:
    """The coordinates in which behaviour is the L2 norm; None where there are none.

    Args:
        shape: the layer's curvature.
        hidden: what the layer's `gradient` needs of the samples.
        ridge: tau, [unknowns].
    """
    if not isinstance(layer, EditableLayer):
        return None
    if isinstance(shape, Kronecker):
        return Product.of(shape, float(ridge[0]))
    return Dense.of(layer, hidden, ridge) if layer.size <= MOST else None


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """L for G x A: eigenvectors of both, each product divided by the root of its eigenvalue."""

    block: Block
    outer: Array
    inner: Array
    scale: Array

    @staticmethod
    def of(shape: Kronecker, ridge: float) -> Product:
        squares = np.outer(shape.outer[0], shape.inner[0]) + ridge
        return Product(shape.block, shape.outer[1], shape.inner[1], 1 / np.sqrt(squares))

    def back(self, turned: Array) -> Array:
        matrix = self.scale * turned.reshape(self.scale.shape)
        return as_vector(self.block, self.outer @ matrix @ self.inner.T)

    def gradient(self, gradient: Array) -> Array:
        rows = gradient.reshape(-1, self.block.size)
        turned = [self.outer.T @ as_matrix(self.block, row) @ self.inner * self.scale for row in rows]
        return np.asarray(turned).reshape(gradient.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """L as a matrix."""

    matrix: Array

    @staticmethod
    def of(layer: EditableLayer, hidden: Array, ridge: Array) -> Dense:
        total, identity = np.diag(ridge), np.eye(layer.tail.shape[0])
        for start in range(0, len(hidden), CHUNK):
            part = centred(layer.gradient(hidden[start : start + CHUNK], identity))
            rows = part.reshape(-1, layer.size)
            total += rows.T @ rows / len(hidden)
        values, vectors = np.linalg.eigh(total)
        return Dense(vectors / np.sqrt(np.maximum(values, np.finfo(np.float64).eps * values.max())))

    def back(self, turned: Array) -> Array:
        return np.asarray(self.matrix @ turned)

    def gradient(self, gradient: Array) -> Array:
        return np.asarray(gradient @ self.matrix)


@dataclass(frozen=True, slots=True, eq=False)
class Turned(EditableLayer):
    """A layer whose unknowns are the coordinates w; of its methods only what programs need is in w."""

    coordinates: Coordinates = field(kw_only=True)

    def gradient(self, hidden: Array, readout: Array) -> Array:
        return self.coordinates.gradient(EditableLayer.gradient(self, hidden, readout))

    def effect(self, hidden: Array, delta: Array) -> Array:
        return EditableLayer.effect(self, hidden, self.coordinates.back(delta))
