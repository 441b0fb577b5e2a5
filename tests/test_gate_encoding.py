"""Gates as constraints: every override that they allow, and no other; against direct evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from layerwise.gate import affine_gates
from layerwise.program import Program, ProgramError
from repairsolver.solvers import SolutionStatus, solve


@pytest.mark.parametrize("seed", range(10))
def test_the_values_are_those_of_the_chosen_override(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, candidates = rng.normal(size=(3, 6)), np.sort(rng.choice(6, 4, replace=False))
    program = Program()
    gated = affine_gates(program, values, candidates, 5.0)
    wanted = rng.random(4) < 0.5
    lost, shift = rng.random(4) * wanted, rng.uniform(-5, 5, 4) * wanted
    program.rows(gated.chosen, wanted.astype(float), wanted.astype(float))
    program.rows(gated.lost, lost, lost)
    program.rows(gated.shift, shift, shift)
    answer = solve(program)
    assert answer.values is not None
    expected = values.copy()
    expected[:, candidates] = (1 - lost) * values[:, candidates] + shift
    np.testing.assert_allclose(gated.values.value(answer.values), expected.ravel(), atol=1e-6)


def test_neurons_that_are_not_chosen_stay() -> None:
    program = Program()
    gated = affine_gates(program, np.array([[1.0, -2.0]]), np.array([1]), 10.0)
    program.rows(gated.chosen, upper=0.0)
    program.rows(gated.values[[1]], lower=-1.0)
    assert solve(program).status is SolutionStatus.INFEASIBLE


def test_one_neuron_is_enough_to_move_a_sum() -> None:
    program = Program()
    gated = affine_gates(program, np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.5]]), np.arange(3), 10.0)
    for point in (0, 1):
        program.rows(gated.values[np.arange(3 * point, 3 * point + 3)].sum(), lower=8.0)
    program.minimise(gated.chosen.sum())
    assert solve(program).objective == pytest.approx(1.0)


def test_a_reach_that_is_not_finite_and_a_stranger_are_refused() -> None:
    with pytest.raises(ProgramError, match="reach"):
        affine_gates(Program(), np.zeros((1, 2)), np.array([0]), np.inf)
    with pytest.raises(ProgramError, match="candidates"):
        affine_gates(Program(), np.zeros((1, 2)), np.array([2]), 1.0)
