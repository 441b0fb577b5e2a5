r"""Affine expressions over the columns of a program, in sparse blocks.

An `Expr` is a block of m expressions $E v + e$; a layer of a network is one block, never m terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Array = NDArray[np.float64]


class ProgramError(ValueError):
    """A program was built from blocks that do not fit together."""


@dataclass(frozen=True, slots=True, eq=False)
class Expr:
    """A block of m affine expressions $E v + e$ over the columns of one program.

    Args:
        matrix: E, [m, k] with k at most the program's number of columns (missing columns are zero).
        constant: e, [m].
    """

    matrix: sparse.csr_array
    constant: Array

    def __len__(self) -> int:
        return len(self.constant)

    @staticmethod
    def constants(values: ArrayLike) -> Expr:
        """Constant expressions, one per value."""
        array = np.atleast_1d(np.asarray(values, dtype=np.float64))
        return Expr(sparse.csr_array((len(array), 0)), array)

    def __add__(self, other: Expr | ArrayLike) -> Expr:
        if not isinstance(other, Expr):
            return Expr(self.matrix, self.constant + np.asarray(other, dtype=np.float64))
        if len(self) != len(other):
            raise ProgramError(f"cannot add blocks of {len(self)} and {len(other)} expressions")
        width = max(self.matrix.shape[1], other.matrix.shape[1])
        return Expr(widen(self.matrix, width) + widen(other.matrix, width), self.constant + other.constant)

    def __radd__(self, other: ArrayLike) -> Expr:
        return self + other

    def __neg__(self) -> Expr:
        return self * -1.0

    def __sub__(self, other: Expr | ArrayLike) -> Expr:
        return self + (-other if isinstance(other, Expr) else -np.asarray(other, dtype=np.float64))

    def __rsub__(self, other: ArrayLike) -> Expr:
        return -self + other

    def __mul__(self, factor: ArrayLike) -> Expr:
        """Multiply by a number, or row by row by a vector."""
        scale = np.broadcast_to(np.asarray(factor, dtype=np.float64), (len(self),))
        matrix = self.matrix
        data = matrix.data * np.repeat(scale, np.diff(matrix.indptr))
        scaled = sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
        return Expr(scaled, scale * self.constant)

    def __rmul__(self, factor: ArrayLike) -> Expr:
        return self * factor

    def __rmatmul__(self, weights: ArrayLike | sparse.sparray) -> Expr:
        """W @ (E v + e), for W [r, m], dense or sparse."""
        matrix = weights if sparse.issparse(weights) else np.atleast_2d(np.asarray(weights, dtype=np.float64))
        left = sparse.csr_array(matrix)
        if left.shape[1] != len(self):
            raise ProgramError(f"cannot multiply a {left.shape} matrix with {len(self)} expressions")
        if _distinct_columns(self.matrix):
            product = _replace_columns(left, self.matrix)
            return Expr(product, np.asarray(left @ self.constant))
        return Expr(sparse.csr_array(left @ self.matrix), np.asarray(left @ self.constant))

    # numpy must not take over `array @ expr` entry by entry, nor scipy `sparse @ expr`: the latter
    # hands over only what looks like one object, not like a sequence.
    __array_ufunc__ = None

    def __array__(self, dtype: object = None, copy: bool | None = None) -> NDArray[np.object_]:
        box = np.empty((), dtype=object)
        box[()] = self
        return box

    def __getitem__(self, index: slice | Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> Expr:
        rows = np.arange(len(self))[index]
        return Expr(self.matrix[rows], self.constant[rows])

    def sum(self) -> Expr:
        """The sum of all expressions, one row."""
        return self.__rmatmul__(np.ones((1, len(self))))

    def value(self, values: Array) -> Array:
        """The expressions' values at a solution [columns] of the program."""
        return np.asarray(self.matrix @ values[: self.matrix.shape[1]] + self.constant)


def stack(blocks: Sequence[Expr]) -> Expr:
    """All expressions of the blocks, one after another."""
    width = max((block.matrix.shape[1] for block in blocks), default=0)
    matrix = sparse.vstack([widen(block.matrix, width) for block in blocks], format="csr")
    return Expr(sparse.csr_array(matrix), np.concatenate([block.constant for block in blocks]))


def widen(matrix: sparse.csr_array, width: int) -> sparse.csr_array:
    """The same matrix with more (zero) columns, sharing its arrays."""
    if matrix.shape[1] == width:
        return matrix
    return sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], width))


def _distinct_columns(matrix: sparse.csr_array) -> bool:
    """Whether every row is a multiple of one column, no two of the same one."""
    indices = matrix.indices
    if len(indices) != matrix.shape[0] or (np.diff(matrix.indptr) != 1).any():
        return False
    return bool((np.diff(indices) > 0).all()) or len(np.unique(indices)) == len(indices)


def _replace_columns(left: sparse.csr_array, right: sparse.csr_array) -> sparse.csr_array:
    """left @ right where `_distinct_columns(right)`: a relabelling, much faster than a product."""
    data = left.data if (right.data == 1.0).all() else left.data * right.data[left.indices]
    return sparse.csr_array((data, right.indices[left.indices], left.indptr), (left.shape[0], right.shape[1]))
