r"""How fast behaviour changes with the parameters: second derivatives of the squares, block by block.

With J the derivative of the centred scores, the Gauss-Newton matrix of a layer is
\(M = \tfrac1N \sum_x J^\top J\). For a dense layer with input h (and a 1 for the bias) and T the
derivative by the layer's output, \(J^\top J = T^\top T \otimes h h^\top\), and

$$ M \approx G \otimes A, \qquad G = \tfrac1N \sum_x T^\top T, \quad A = \tfrac1N \sum_x h h^\top, $$

exactly where T is the same at all points: in layers with a linear tail. Its inverse costs two small
eigendecompositions. Other layers (convolutions, chosen entries) take the diagonal of M. Between
layers M counts as 0. All of it only shapes steps; what a step does is measured by forward passes.

Source: Martens and Grosse, Optimizing neural networks with Kronecker-factored approximate curvature,
ICML 2015, sections 3 and 6.3 (damping of the factors).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from repairsolver.network.forward import activations
from repairsolver.network.graph import Network
from repairsolver.network.operators import Dense
from repairsolver.repairing.delta.derivatives import Values, pull
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.unknowns import Block
from repairsolver.results import Array

HELD = 8_000_000
"""Entries of derivatives held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Pulled:
    """Functionals of the scores, seen from one layer: its inputs [k, n], the functionals [k, s]."""

    hidden: Array
    at_layer: Array


class Curvature(Protocol):
    """The matrix M of one layer, and what its damped inverse does."""

    @property
    def block(self) -> Block:
        """Its unknowns."""
        ...

    @property
    def mean(self) -> float:
        """The mean of M's diagonal."""
        ...

    def rows(self, pulled: Pulled) -> Rows:
        """The gradients of functionals."""
        ...

    def inverse(self, vector: Array, damping: float) -> Array:
        """The damped inverse of M times a vector [unknowns]."""
        ...


class Rows(Protocol):
    """Gradients g_k of k functionals by the unknowns of one layer."""

    def kernel(self, damping: float) -> Array:
        """g_i M^-1 g_j, [k, k]."""
        ...

    def combined(self, multipliers: Array, damping: float) -> Array:
        """M^-1 sum_k multiplier_k g_k, [unknowns]."""
        ...

    def along(self, step: Array) -> Array:
        """g_k step, [k]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Kronecker:
    """G and A by their eigenvalues and eigenvectors."""

    block: Block
    outer: tuple[Array, Array]
    inner: tuple[Array, Array]

    @staticmethod
    def fits(block: Block) -> bool:
        """Whether the unknowns are the whole weight matrix (or bias, or both) of a dense layer."""
        whole = block.size == sum(p.stored.size for p in block.parameters)
        plain = isinstance(block.operator, Dense) and all(p.source.factor == 1 for p in block.parameters)
        return whole and plain and prod(block.input_shape) == block.operator.weight.shape[1]

    @property
    def mean(self) -> float:
        return float(self.outer[0].mean() * self.inner[0].mean())

    def damped(self, damping: float) -> tuple[Array, Array]:
        """1 / eigenvalues of the damped factors."""
        outer, inner = self.outer[0], self.inner[0]
        tiny = np.finfo(np.float64).tiny
        return 1 / (outer + damping * outer.mean() + tiny), 1 / (inner + damping * inner.mean() + tiny)

    def rows(self, pulled: Pulled) -> KroneckerRows:
        inner = features(self.block, pulled.hidden) @ self.inner[1]
        return KroneckerRows(self, pulled.at_layer @ self.outer[1], inner)

    def inverse(self, vector: Array, damping: float) -> Array:
        outer, inner = self.damped(damping)
        turned = self.outer[1].T @ as_matrix(self.block, vector) @ self.inner[1]
        return as_vector(self.block, self.outer[1] @ (outer[:, None] * turned * inner) @ self.inner[1].T)


@dataclass(frozen=True, slots=True, eq=False)
class KroneckerRows:
    """Gradients as products of a part of the layer's outputs [k, s] and one of its inputs [k, q]."""

    shape: Kronecker
    outer: Array
    inner: Array

    def kernel(self, damping: float) -> Array:
        outer, inner = self.shape.damped(damping)
        return np.asarray(((self.outer * outer) @ self.outer.T) * ((self.inner * inner) @ self.inner.T))

    def combined(self, multipliers: Array, damping: float) -> Array:
        outer, inner = self.shape.damped(damping)
        turned = outer[:, None] * ((self.outer.T * multipliers) @ self.inner) * inner
        return as_vector(self.shape.block, self.shape.outer[1] @ turned @ self.shape.inner[1].T)

    def along(self, step: Array) -> Array:
        turned = self.shape.outer[1].T @ as_matrix(self.shape.block, step) @ self.shape.inner[1]
        return np.asarray(((self.outer @ turned) * self.inner).sum(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Diagonal:
    """The diagonal of M alone, [unknowns]."""

    block: Block
    entries: Array

    @property
    def mean(self) -> float:
        return float(self.entries.mean())

    def damped(self, damping: float) -> Array:
        return np.asarray(1 / (self.entries + (damping + 1e-6) * self.mean + np.finfo(np.float64).tiny))

    def rows(self, pulled: Pulled) -> DiagonalRows:
        gradient = self.block.gradient(pulled.hidden, pulled.at_layer[:, None])[:, 0]
        return DiagonalRows(self, gradient)

    def inverse(self, vector: Array, damping: float) -> Array:
        return self.damped(damping) * vector


@dataclass(frozen=True, slots=True, eq=False)
class DiagonalRows:
    """Dense gradients, [k, unknowns]."""

    shape: Diagonal
    gradient: Array

    def kernel(self, damping: float) -> Array:
        return np.asarray((self.gradient * self.shape.damped(damping)) @ self.gradient.T)

    def combined(self, multipliers: Array, damping: float) -> Array:
        return self.shape.damped(damping) * (multipliers @ self.gradient)

    def along(self, step: Array) -> Array:
        return np.asarray(self.gradient @ step)


@dataclass(slots=True, eq=False)
class _Sums:
    """What one layer's curvature and gradient are made of, added up over batches of samples."""

    block: Block
    inner: tuple[Array, Array] | None
    first: Array | float = 0.0
    second: Array | float = 0.0
    gradient: Array | float = 0.0
    kronecker: bool = field(init=False)

    def __post_init__(self) -> None:
        self.kronecker = Kronecker.fits(self.block)

    def add(self, hidden: Array, back: Array, residual: Array) -> None:
        """A batch: inputs [b, n], derivatives of the centred scores [b, m, s], their residual [b, m]."""
        pulled = np.einsum("bm,bms->bs", residual, back)
        if self.kronecker:
            inner = features(self.block, hidden)
            self.first = self.first + np.tensordot(back, back, ((0, 1), (0, 1)))
            if self.inner is None:
                self.second = self.second + inner.T @ inner
            self.gradient = self.gradient + as_vector(self.block, pulled.T @ inner)
        else:
            whole = self.block.gradient(hidden, back)
            self.first = self.first + (whole**2).sum(axis=(0, 1))
            self.gradient = self.gradient + np.einsum("bm,bmu->u", residual, whole)

    def shape(self, count: int) -> Curvature:
        if not self.kronecker:
            return Diagonal(self.block, np.asarray(self.first) / count)
        inner = self.inner or _eigen(self.second, count)
        return Kronecker(self.block, _eigen(self.first, count), inner)


def curvature(
    layer: HiddenLayers,
    delta: Array,
    inputs: Array,
    residual: Array | None,
    inner: dict[str, tuple[Array, Array]] | None = None,
) -> tuple[list[Curvature], Array]:
    """The curvature of every layer at a change, and the gradient of half the mean square [unknowns].

    Args:
        inputs: samples [N, n].
        residual: the change of the centred scores there, [N, m]; None for 0.
        inner: decompositions of A of layers whose inputs do not change, by name: used, and added to.
    """
    known = inner if inner is not None and len(layer.blocks) == 1 else {}
    sums = [_Sums(block, known.get(block.name)) for block in layer.blocks]
    network = layer.edited(delta)
    for part, values, back in derivatives(network, layer, inputs):
        for one in sums:
            derived = centred(back[one.block.node.name])
            at = np.zeros(derived.shape[:2]) if residual is None else residual[part]
            one.add(values[one.block.node.inputs[0]], derived, at)
    gradient = np.concatenate([np.asarray(one.gradient) for one in sums]) / len(inputs)
    shapes = [one.shape(len(inputs)) for one in sums]
    known.update({shape.block.name: shape.inner for shape in shapes if isinstance(shape, Kronecker)})
    return shapes, gradient


def derivatives(
    network: Network, layer: HiddenLayers, inputs: Array
) -> Iterator[tuple[slice, Values, dict[str, Array]]]:
    """Of the scores by the outputs of the layers, [b, m, s] each, batch by batch, with all values."""
    sizes = {node.name: node.size for node in network.nodes}
    names = {block.node.name for block in layer.blocks}
    scores = sizes[layer.scores]
    widest = max(size for name, size in sizes.items()) * scores
    entries = max(block.size for block in layer.blocks) * scores
    plain = all(Kronecker.fits(block) for block in layer.blocks)
    batch = max(1, HELD // (widest if plain else max(widest, entries)))
    for start in range(0, len(inputs), batch):
        part = slice(start, start + batch)
        values = activations(network, inputs[part])
        yield part, values, pull(network, values, np.eye(scores), layer.scores, names)


def centred(scores: Array) -> Array:
    """Scores [b, m] (or derivatives [b, m, ...]) less their mean over m; a single score stays."""
    return scores - scores.mean(axis=1, keepdims=True) if scores.shape[1] > 1 else scores


def features(block: Block, hidden: Array) -> Array:
    """What multiplies the unknowns of a dense layer: its inputs, and 1 for the bias, [b, q]."""
    roles = [parameter.role for parameter in block.parameters]
    parts = [hidden] if "weight" in roles else []
    return np.hstack([*parts, np.ones((len(hidden), 1))]) if "bias" in roles else parts[0]


def as_matrix(block: Block, vector: Array) -> Array:
    """Unknowns [unknowns] as a matrix [outputs, q], the bias as the last column."""
    change = block.change(vector)
    roles = [parameter.role for parameter in block.parameters]
    parts = [change.weight] if "weight" in roles else []
    return np.hstack([*parts, change.bias[:, None]]) if "bias" in roles else np.asarray(change.weight)


def as_vector(block: Block, matrix: Array) -> Array:
    """The inverse of `as_matrix`."""
    width = block.operator.weight.shape[1]
    parts: list[NDArray[np.float64]] = []
    for parameter in block.parameters:
        if parameter.role == "bias":
            parts.append(matrix[:, -1])
        else:
            weight = matrix[:, :width]
            parts.append((weight.T if parameter.source.transposed else weight).ravel())
    return np.concatenate(parts)


def _eigen(total: Array | float, count: int) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(np.asarray(total) / count)
    return np.maximum(values, 0.0), vectors
