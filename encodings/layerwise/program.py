r"""Mixed-integer programs as sparse blocks, and affine expressions over their columns.

A `Program` is

$$ \min\; c^\top v + \tfrac12 \sum_j q_j v_j^2 + c_0 \quad\text{s.t.}\quad
   L \le A v \le U,\; l \le v \le u,\; v_j \in \mathbb{Z}\ (j \in I). $$

It is grown block by block (columns, rows), never term by term: a layer of a network is one sparse
matrix. An `Expr` is a block of affine expressions $E v + e$.
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
        return Expr(_widen(self.matrix, width) + _widen(other.matrix, width), self.constant + other.constant)

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
        return Expr(sparse.csr_array(sparse.diags_array(scale) @ self.matrix), scale * self.constant)

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
    matrix = sparse.vstack([_widen(block.matrix, width) for block in blocks], format="csr")
    return Expr(sparse.csr_array(matrix), np.concatenate([block.constant for block in blocks]))


def _widen(matrix: sparse.csr_array, width: int) -> sparse.csr_array:
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
    data = left.data * right.data[left.indices]
    return sparse.csr_array((data, right.indices[left.indices], left.indptr), (left.shape[0], right.shape[1]))


@dataclass(frozen=True, slots=True, eq=False)
class Matrices:
    """A program flattened for a solver: the arrays of the module's formula."""

    cost: Array
    quadratic: Array
    offset: float
    lower: Array
    upper: Array
    integer: NDArray[np.bool_]
    rows: sparse.csr_array
    row_lower: Array
    row_upper: Array


class Program:
    """A mixed-integer program under construction."""

    def __init__(self) -> None:
        self._lower: list[Array] = []
        self._upper: list[Array] = []
        self._integer: list[NDArray[np.bool_]] = []
        self._names: list[tuple[str, int]] = []
        self._rows: list[tuple[sparse.csr_array, Array, Array]] = []
        self._cost = Expr.constants(0.0)
        self._quadratic: list[tuple[Expr, Array]] = []
        self.n_columns = 0
        self.n_rows = 0

    def columns(
        self,
        size: int,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
        *,
        integer: bool = False,
        name: str = "v",
    ) -> Expr:
        """Add `size` unknowns with bounds, and return them as a block of expressions.

        Raises:
            ProgramError: a lower bound lies above its upper bound, or a bound is NaN.
        """
        low = np.array(np.broadcast_to(np.asarray(lower, dtype=np.float64), (size,)))
        high = np.array(np.broadcast_to(np.asarray(upper, dtype=np.float64), (size,)))
        if np.isnan(low).any() or np.isnan(high).any() or (low > high).any():
            raise ProgramError(f"columns {name!r}: a lower bound lies above its upper bound, or is NaN")
        start = self.n_columns
        self._lower.append(low)
        self._upper.append(high)
        self._integer.append(np.full(size, integer))
        self._names.append((name, size))
        self.n_columns += size
        indices = np.arange(start, self.n_columns)
        matrix = sparse.csr_array((np.ones(size), indices, np.arange(size + 1)), shape=(size, self.n_columns))
        return Expr(matrix, np.zeros(size))

    def rows(self, expr: Expr, lower: ArrayLike = -np.inf, upper: ArrayLike = np.inf) -> slice:
        """Require lower <= expr <= upper row by row; returns which rows of the program these are."""
        low = np.broadcast_to(np.asarray(lower, dtype=np.float64), (len(expr),)) - expr.constant
        high = np.broadcast_to(np.asarray(upper, dtype=np.float64), (len(expr),)) - expr.constant
        if np.isnan(low).any() or np.isnan(high).any():
            raise ProgramError("rows: a bound or constant is NaN")
        self._rows.append((expr.matrix, low, high))
        start = self.n_rows
        self.n_rows += len(expr)
        return slice(start, self.n_rows)

    def minimise(self, expr: Expr) -> None:
        """Set the linear part of the objective to one expression (len 1)."""
        if len(expr) != 1:
            raise ProgramError(f"an objective is one expression, got a block of {len(expr)}")
        self._cost = expr

    def minimise_squares(self, columns: Expr, weights: ArrayLike = 1.0) -> None:
        """Add 1/2 sum_j w_j v_j^2 over plain columns (each row one column, no constant)."""
        if (np.diff(columns.matrix.indptr) != 1).any() or (columns.matrix.data != 1.0).any():
            raise ProgramError("minimise_squares takes plain columns: add a column equal to the expression")
        scale = np.array(np.broadcast_to(np.asarray(weights, dtype=np.float64), (len(columns),)))
        if (scale < 0).any():
            raise ProgramError("minimise_squares: a weight is negative, the objective would not be convex")
        self._quadratic.append((columns, scale))

    def matrices(self) -> Matrices:
        """The program as flat arrays."""
        width = self.n_columns
        quadratic = np.zeros(width)
        for columns, scale in self._quadratic:
            np.add.at(quadratic, columns.matrix.indices, scale)
        blocks = [_widen(matrix, width) for matrix, _, _ in self._rows]
        empty = sparse.csr_array((0, width))
        rows = sparse.csr_array(sparse.vstack(blocks, format="csr")) if blocks else empty
        return Matrices(
            cost=_widen(self._cost.matrix, width).toarray()[0],
            quadratic=quadratic,
            offset=float(self._cost.constant[0]),
            lower=_join(self._lower),
            upper=_join(self._upper),
            integer=np.concatenate(self._integer) if self._integer else np.zeros(0, dtype=bool),
            rows=rows,
            row_lower=_join([low for _, low, _ in self._rows]),
            row_upper=_join([high for _, _, high in self._rows]),
        )

    def column_bounds(self) -> tuple[Array, Array]:
        """The lower and the upper bounds of all columns, each [columns]."""
        return _join(self._lower), _join(self._upper)

    def column_names(self) -> list[str]:
        """One name per column, `block_index`, made unique by the block's number."""
        return [f"{name}{block}_{i}" for block, (name, size) in enumerate(self._names) for i in range(size)]

    def violation(self, values: Array) -> float:
        """The largest violation of any bound, row or integrality at `values` [columns], absolute."""
        if values.shape != (self.n_columns,):
            raise ProgramError(f"expected {self.n_columns} values, got an array of shape {values.shape}")
        flat = self.matrices()
        activity = flat.rows @ values
        fractional = np.abs(values - np.round(values))[flat.integer]
        parts = (
            flat.lower - values,
            values - flat.upper,
            flat.row_lower - activity,
            activity - flat.row_upper,
            fractional,
        )
        return float(max((part.max() for part in parts if part.size), default=0.0, key=float))

    def objective(self, values: Array) -> float:
        """The objective's value at `values` [columns]."""
        flat = self.matrices()
        return float(flat.cost @ values + 0.5 * flat.quadratic @ values**2 + flat.offset)


def _join(parts: list[Array]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0)
