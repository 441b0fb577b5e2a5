r"""Coordinates of a layer in which what it reads is uncorrelated, for gradient steps.

Deep in a network most of what a layer reads varies in one direction: steps on its weights go to and fro along
that, and hardly move in the others. With the mean m and the covariance \(V \operatorname{diag}(e) V^\top\)
of what a dense layer reads, and \(T = V \operatorname{diag}(e + \epsilon \max e)^{-1/2}\),

$$ \Delta W = U T^\top, \qquad \Delta b = u - \Delta W m, $$

a step on U moves outputs alike in every direction in which inputs vary much, and less in others: those with
eigenvalues below \(\epsilon\) times the largest one. Entries of U move outputs, each by as much, so that
their unit is how much these vary over the number of inputs. Layers of another kind, and chosen entries,
stay as they are.

Source: Desjardins et al., Natural neural networks, NeurIPS 2015, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repairsolver.repairing.delta.curvature import Kronecker, as_matrix, as_vector, features
from repairsolver.repairing.delta.merit import Merit
from repairsolver.repairing.delta.momentum import sizes
from repairsolver.repairing.delta.unknowns import Block
from repairsolver.results import Array

PLAIN = 0.05
"""The unit of entries that stay as they are, as a share of their root mean square."""


@dataclass(frozen=True, slots=True, eq=False)
class Decorrelated:
    """The linear map from coordinates to changes, layer by layer.

    Args:
        turns: by which the weights of a layer, with its bias as the last column, are multiplied from the
            right, [q, q]; None: the layer stays as it is.
        units: of the coordinates, [unknowns].
    """

    blocks: tuple[Block, ...]
    turns: tuple[Array | None, ...]
    units: Array

    @staticmethod
    def of(merit: Merit, damping: float) -> Decorrelated:
        """The coordinates for what layers read at the inputs, without a change; the damping is epsilon."""
        values = merit.tail.values(merit.layer.network, slice(None))
        turns: list[Array | None] = []
        units = np.split(PLAIN * sizes(merit), _ends(merit.layer.blocks))
        for number, block in enumerate(merit.layer.blocks):
            turns.append(None)
            if Kronecker.fits(block):
                read = features(block, values[block.node.inputs[0]])
                turns[-1] = _turn(read, damping)
                unit = float(values[block.node.name].std()) / read.shape[1]
                units[number] = np.full(block.size, unit) if unit else units[number]
        return Decorrelated(tuple(merit.layer.blocks), tuple(turns), np.concatenate(units))

    def back(self, turned: Array) -> Array:
        """The change with these coordinates, [unknowns]."""
        return self._each(turned, transposed=True)

    def gradient(self, gradient: Array) -> Array:
        """The gradient by the coordinates."""
        return self._each(gradient, transposed=False)

    def _each(self, vector: Array, *, transposed: bool) -> Array:
        parts = np.split(vector, _ends(self.blocks))
        for i, (block, turn) in enumerate(zip(self.blocks, self.turns, strict=True)):
            if turn is not None:
                parts[i] = as_vector(block, as_matrix(block, parts[i]) @ (turn.T if transposed else turn))
        return np.concatenate(parts)


def _ends(blocks: tuple[Block, ...] | list[Block]) -> Array:
    return np.cumsum([block.size for block in blocks])[:-1]


def _turn(read: Array, damping: float) -> Array:
    """The matrix for what multiplies the unknowns, [p, q]; a last column of ones is for the bias."""
    biased = bool((read[:, -1] == 1).all())
    inner = read[:, :-1] if biased else read
    if not inner.shape[1]:
        return np.eye(1)
    mean = inner.mean(axis=0) if biased else np.zeros(inner.shape[1])
    values, vectors = np.linalg.eigh((inner - mean).T @ (inner - mean) / len(inner))
    largest = float(values[-1])
    if largest <= 0:
        return np.eye(read.shape[1])
    turn = vectors / np.sqrt(np.maximum(values, 0.0) + damping * largest)
    if not biased:
        return np.asarray(turn)
    whole = np.eye(read.shape[1])
    whole[:-1, :-1], whole[-1, :-1] = turn, -mean @ turn
    return whole
