"""The projection solver where its active set outgrows its first room, against least-distance programming."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from layerwise.program import Program
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus, least_squares, solve


def nearest(normals: Array, sides: Array) -> Array:
    """The point nearest to 0 with normals w >= sides; Lawson and Hanson, 1974, chapter 23, algorithm LDP."""
    stacked = np.vstack([normals.T, sides])
    wanted = np.append(np.zeros(normals.shape[1]), 1.0)
    residual = stacked @ nnls(stacked, wanted, maxiter=100_000)[0] - wanted
    return np.asarray(-residual[:-1] / residual[-1])


def programmed(normals: Array, sides: Array) -> Program:
    program = Program()
    v = program.columns(normals.shape[1])
    program.rows(normals @ v, sides)
    program.minimise_squares(v)
    return program


@pytest.mark.parametrize(("columns", "rows"), [(300, 250), (100, 300), (90, 90)])
def test_many_active_rows(columns: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than there is room for at first, and rows that become active and are dropped again."""
    drops = []
    drop = least_squares._Active.drop

    def counted(active: least_squares._Active, position: int) -> None:
        drops.append(len(active.index))
        drop(active, position)

    monkeypatch.setattr(least_squares._Active, "drop", counted)
    rng = np.random.default_rng(columns)
    normals = rng.normal(size=(rows, columns))
    sides = normals @ rng.normal(size=columns) - rng.exponential(0.1, rows)  # there is a point
    answer = solve(programmed(normals, sides), "projection")
    assert answer.status is SolutionStatus.OPTIMAL
    assert answer.values == pytest.approx(nearest(normals, sides), abs=1e-6)
    active = (normals @ answer.values - sides) < 1e-6
    assert active.sum() > least_squares._ROOM / 2
    assert max(drops) > least_squares._ROOM
