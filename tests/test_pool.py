from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milp import minimum, solve

from layerwise import pool
from layerwise.program import Program, ProgramError

ENCODINGS = list(pool.POOL_ENCODINGS.values())


def draw(seed: int):
    """Bounds of six entries (some fixed), and three windows of up to four of them."""
    rng = np.random.default_rng(seed)
    low = np.round(rng.uniform(-2, 2, 6), 1)
    high = low + np.round(rng.uniform(0, 2, 6), 1) * rng.integers(0, 2, 6)
    windows = np.full((3, 4), -1)
    for row in windows:
        size = rng.integers(1, 5)
        row[rng.permutation(4)[:size]] = rng.permutation(6)[:size]
    return rng, low, high, windows


def pooled(x, windows):
    return np.where(windows >= 0, x[windows], -np.inf).max(axis=1)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_exact_at_every_point_and_relaxation_around_it(seed):
    rng, low, high, windows = draw(seed)
    point, cost = rng.uniform(low, high), rng.normal(size=(1, 3))
    expected = (cost @ pooled(point, windows)).item()
    for encoding in ENCODINGS:
        program = Program()
        x = program.columns(6, low, high)
        y = encoding.encode(program, x, windows, low, high)
        program.rows(x, point, point)
        least, most = minimum(program, cost @ y), -minimum(program, -(cost @ y))
        assert least <= expected + 1e-6
        assert most >= expected - 1e-6
        if encoding.exact:
            assert (least, most) == (pytest.approx(expected, abs=1e-6), pytest.approx(expected, abs=1e-6))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_optimum_over_a_box(seed):
    """Brute force: for every choice of maximal entries one linear program is not needed here, since the
    minimum of a sum of maxima is at the lower corner, and its maximum at the upper corner."""
    _, low, high, windows = draw(seed)
    cost = np.array([[1.0, 2.0, 0.5]])
    for encoding in ENCODINGS:
        program = Program()
        y = encoding.encode(program, program.columns(6, low, high), windows, low, high)
        least, most = minimum(program, cost @ y), -minimum(program, -(cost @ y))
        assert least <= (cost @ pooled(low, windows)).item() + 1e-6
        assert most >= (cost @ pooled(high, windows)).item() - 1e-6
        if encoding.exact:
            assert least == pytest.approx((cost @ pooled(low, windows)).item(), abs=1e-6)
            assert most == pytest.approx((cost @ pooled(high, windows)).item(), abs=1e-6)


def test_binaries_only_for_unresolved_candidates():
    program = Program()
    low, high = np.array([0.0, 2.0, -5.0, 1.0]), np.array([3.0, 4.0, 1.0, 2.0])
    x = program.columns(4, low, high)
    windows = np.array([[0, 1, 2], [2, 3, -1], [3, -1, -1]])
    y = pool.big_m(program, x, windows, low, high)
    # Window 0: entry 2 is below entry 1. Window 1: entry 3 wins. Window 2 has one entry.
    assert program.statistics().binaries == 2
    values = np.concatenate([[1.0, 2.0, 0.5, 1.5], np.zeros(program.n_columns - 4)])
    np.testing.assert_array_equal(y[[1, 2]].value(values), [1.5, 1.5])
    # M of entry 0 is 4 - 0, of entry 1 it is 3 - 2.
    big = program.matrices().row_upper[2:4]
    np.testing.assert_array_equal(big, [4.0, 1.0])


def test_entries_below_may_be_expressions():
    program = Program()
    x = program.columns(2, -1, 1)
    weight = np.array([[1.0, 1.0], [1.0, -1.0], [-2.0, 0.0]])
    y = pool.big_m(program, weight @ x, np.array([[0, 1, 2]]), -2.0, 2.0)
    # max(x1 + x2, x1 - x2, -2 x1) = max(x1 + |x2|, -2 x1) is least at 0.
    assert minimum(program, y) == pytest.approx(0.0, abs=1e-6)
    assert solve(program).status == 0


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda e: e.name)
def test_misuse_is_named(encoding):
    program = Program()
    x = program.columns(2, 0, 1)
    with pytest.raises(ProgramError, match=r"windows \[1\] have no entry"):
        encoding.encode(program, x, np.array([[0, 1], [-1, -1]]), 0, 1)
    with pytest.raises(ProgramError, match="outside the 2 entries"):
        encoding.encode(program, x, np.array([[0, 2]]), 0, 1)
    with pytest.raises(ProgramError, match="integer indices"):
        encoding.encode(program, x, np.array([[0.0, 1.0]]), 0, 1)
    with pytest.raises(ProgramError, match="max-pool: entries 0, 1 have no finite bounds"):
        encoding.encode(program, x, np.array([[0, 1]]), -np.inf, 1)
