from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from milp import minimum, solve

from layerwise import smooth
from layerwise.program import Program, ProgramError

FUNCTIONS = [smooth.SIGMOID, smooth.TANH]
by_name = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
reals = st.floats(-50, 50) | st.floats(-1, 1) | st.sampled_from([0.0, 1e-300, -1e-9, 700.0, -1e6, 1e6])


def exact(function, x: float) -> Decimal:
    """f(x) to about 60 digits."""
    argument = Decimal(x) * (2 if function is smooth.TANH else 1)
    small = (-abs(argument)).exp()
    sigmoid = 1 / (1 + small) if argument >= 0 else small / (1 + small)
    return 2 * sigmoid - 1 if function is smooth.TANH else sigmoid


@by_name
@given(ends=st.tuples(reals, reals), at=st.lists(st.floats(0, 1), min_size=1, max_size=5))
@example(ends=(-1e6, 1e6), at=[0.5, 0.5000001])
@example(ends=(-1e-9, 50.0), at=[0.0, 0.01])
@example(ends=(-50.0, 1e-9), at=[0.0, 0.99, 1.0])
@settings(max_examples=300, deadline=None)
def test_lines_are_sound_in_exact_arithmetic(function, ends, at):
    low, high = sorted(ends)
    lines = smooth.envelope(function, np.array([low]), np.array([high]))
    numbers = (lines.lower_slope, lines.lower_constant, lines.upper_slope, lines.upper_constant)
    lower_slope, lower_constant, upper_slope, upper_constant = (Decimal(float(v[0])) for v in numbers)
    with localcontext() as context:
        context.prec = 60
        for share in (0.0, 1.0, *at):
            x = min(max(low + share * (high - low), low), high)
            value = exact(function, x)
            assert lower_slope * Decimal(x) + lower_constant <= value
            assert value <= upper_slope * Decimal(x) + upper_constant


@by_name
def test_lines_are_tight(function):
    """On a grid, each line touches the curve, and the gap obeys the quadratic bound on one-sided segments."""
    rng = np.random.default_rng(0)
    low = rng.uniform(-6, 5, 200)
    high = low + rng.uniform(0.01, 1, 200)
    lines = smooth.envelope(function, low, high)
    share = np.linspace(0, 1, 2001)[:, None]
    x = low + share * (high - low)
    value = function.value(x)
    below = value - (lines.lower_slope * x + lines.lower_constant)
    above = lines.upper_slope * x + lines.upper_constant - value
    assert below.min(axis=0).max() < 1e-6
    assert above.min(axis=0).max() < 1e-6
    one_sided = (low >= 0) | (high <= 0)
    limit = function.curvature * (high - low) ** 2 / 8 + 1e-12
    assert (np.maximum(below, above).max(axis=0) <= limit)[one_sided].all()
    assert one_sided.sum() > 100


@by_name
def test_slope_and_curvature_are_those_of_the_function(function):
    x = np.linspace(-8, 8, 4001)
    step = 1e-5
    first = (function.value(x + step) - function.value(x - step)) / (2 * step)
    second = (function.slope(x + step) - function.slope(x - step)) / (2 * step)
    np.testing.assert_allclose(function.slope(x), first, atol=1e-9)
    assert np.abs(second).max() == pytest.approx(function.curvature, rel=1e-5)
    np.testing.assert_allclose(function.value(x), function.centre - function.value(-x), atol=1e-15)


@given(seed=st.integers(0, 10**6), segments=st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_breakpoints_cover_the_interval_and_hold_zero(seed, segments):
    rng = np.random.default_rng(seed)
    low = rng.uniform(-5, 4, 20)
    high = low + rng.uniform(0, 5, 20)
    knots = smooth.breakpoints(low, high, segments)
    assert (knots[:, 0] == low).all()
    assert (knots[:, -1] == high).all()
    assert (np.diff(knots, axis=1) >= 0).all()
    assert (np.diff(knots, axis=1).max(axis=1) <= 2 * (high - low) / segments + 1e-12).all()
    if segments > 1:
        mixed = (low < 0) & (high > 0)
        assert (knots[mixed] == 0).any(axis=1).all()


@pytest.mark.parametrize("segments", [1, 2, 3, 5])
@pytest.mark.parametrize("ends", [(-3.0, 4.0), (-2.0, -0.5), (0.1, 2.0), (-0.1, 5.0), (1.0, 1.0)])
@by_name
def test_encodings_admit_the_graph_within_the_stated_error(function, ends, segments):
    encode = smooth.SMOOTH_ENCODINGS[function.name]
    low, high = ends
    for at in np.linspace(low, high, 5):
        program = Program()
        zhat = program.columns(1, low, high)
        z = encode(program, zhat, low, high, segments)
        program.rows(zhat, at, at)
        least, most = minimum(program, z), -minimum(program, -z)
        value = float(function.value(np.array(at)))
        assert least - 1e-6 <= value <= most + 1e-6
        if segments > 1 or low >= 0 or high <= 0:
            widest = np.diff(smooth.breakpoints(np.array([low]), np.array([high]), segments)).max()
            limit = function.curvature * widest**2 / 8 + 1e-6
            assert max(value - least, most - value) <= limit


def test_more_segments_bring_a_network_optimum_closer_from_below():
    """min of a two-neuron tanh network: a relaxation bounds it from below, and converges."""
    rng = np.random.default_rng(3)
    weight, bias, cost = rng.normal(size=(2, 2)), rng.normal(size=2), rng.normal(size=(1, 2))
    grid = np.stack(np.meshgrid(np.linspace(-2, 2, 401), np.linspace(-2, 2, 401)), -1).reshape(-1, 2)
    truth = (np.tanh(grid @ weight.T + bias) @ cost.T).min()
    reach = 2 * np.abs(weight).sum(axis=1)
    found = []
    for segments in (1, 4, 16):
        program = Program()
        x = program.columns(2, -2, 2)
        z = smooth.tanh(program, weight @ x + bias, bias - reach, bias + reach, segments)
        found.append(minimum(program, cost @ z))
    assert found[0] <= truth
    assert found[1] <= truth
    assert truth - 0.05 <= found[2] <= truth + 1e-7


def test_a_single_segment_needs_no_binaries_and_several_do():
    for segments, binaries, columns, rows in ((1, 0, 2, 4), (3, 6, 2 * 7, 2 * 7)):
        program = Program()
        zhat = program.columns(2, -1, 1)
        smooth.sigmoid(program, zhat, -1, 1, segments)
        summary = program.statistics()
        assert (summary.binaries, summary.columns - 2, summary.rows) == (binaries, columns, rows)
        assert solve(program).status == 0


def test_misuse_is_named():
    program = Program()
    zhat = program.columns(2)
    with pytest.raises(ProgramError, match="tanh: entries 0, 1 have no finite bounds"):
        smooth.tanh(program, zhat, -np.inf, 1.0)
    with pytest.raises(ProgramError, match="at least one segment"):
        smooth.sigmoid(program, zhat, -1.0, 1.0, 0)
