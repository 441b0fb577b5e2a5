r"""Mixed-integer programs as sparse blocks, and affine expressions over their columns.

A `Program` is

$$ \min\; c^\top v + \tfrac12 \sum_j q_j v_j^2 + c_0 \quad\text{s.t.}\quad
   L \le A v \le U,\; l \le v \le u,\; v_j \in \mathbb{Z}\ (j \in I). $$

It is grown block by block (columns, rows), never term by term: a layer of a network is one sparse
matrix. Rows and objective are made of `Expr`, blocks of affine expressions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from layerwise.expression import Array, Expr, ProgramError, stack, widen

__all__ = ["Array", "Expr", "Matrices", "Program", "ProgramError", "Statistics", "stack"]


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


@dataclass(frozen=True, slots=True)
class Statistics:
    """How large a program is, and how far its coefficients spread.

    Args:
        integers: integer columns that are not binary.
        smallest, largest: absolute values of the nonzero coefficients of the rows; 0 if there are none.
    """

    columns: int
    binaries: int
    integers: int
    rows: int
    nonzeros: int
    smallest: float
    largest: float

    @property
    def spread(self) -> float:
        """largest / smallest; above about 1e6, a solver's tolerance of 1e-6 hides whole rows."""
        return self.largest / self.smallest if self.smallest else 1.0

    def __str__(self) -> str:
        return (
            f"{self.columns} columns ({self.binaries} binary, {self.integers} integer), {self.rows} rows, "
            f"{self.nonzeros} nonzeros, coefficients from {self.smallest:.3g} to {self.largest:.3g}"
        )


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

    def add_cost(self, expr: Expr) -> None:
        """Add one expression (len 1) to the linear part of the objective."""
        self.minimise(self._cost + expr)

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
        blocks = [widen(matrix, width) for matrix, _, _ in self._rows]
        empty = sparse.csr_array((0, width))
        rows = sparse.csr_array(sparse.vstack(blocks, format="csr")) if blocks else empty
        if not rows.data.all():
            rows = rows.copy()
            rows.eliminate_zeros()
        return Matrices(
            cost=widen(self._cost.matrix, width).toarray()[0],
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

    def statistics(self) -> Statistics:
        """Size and coefficient spread."""
        flat = self.matrices()
        size = np.abs(flat.rows.data[flat.rows.data != 0])
        binary = flat.integer & (flat.lower >= 0) & (flat.upper <= 1)
        return Statistics(
            columns=self.n_columns,
            binaries=int(binary.sum()),
            integers=int((flat.integer & ~binary).sum()),
            rows=self.n_rows,
            nonzeros=len(size),
            smallest=float(size.min(initial=np.inf)) if size.size else 0.0,
            largest=float(size.max(initial=0.0)),
        )

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
