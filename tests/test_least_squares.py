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


@pytest.mark.parametrize(("columns", "rows", "dropping"), [(60, 200, True), (300, 150, False)])
def test_an_active_set_that_outgrows_its_room(
    columns: int, rows: int, dropping: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for four rows at first; many become active, and some of them are dropped again."""
    drops = [0]
    drop = least_squares._Active.drop

    def counted(active: least_squares._Active, position: int) -> None:
        drops.append(len(active.index))
        drop(active, position)

    monkeypatch.setattr(least_squares._Active, "drop", counted)
    monkeypatch.setattr(least_squares, "_ROOM", 4)
    rng = np.random.default_rng(columns)
    normals = rng.normal(size=(rows, columns))
    sides = normals @ rng.normal(size=columns) - rng.exponential(1, rows)  # there is a point
    answer = solve(programmed(normals, sides), "projection")
    assert answer.status is SolutionStatus.OPTIMAL
    assert answer.values == pytest.approx(nearest(normals, sides), abs=1e-6)
    assert ((normals @ answer.values - sides) < 1e-6).sum() > 16
    assert max(drops) > 8 or not dropping
