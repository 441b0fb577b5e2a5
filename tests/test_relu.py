from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milp import encode_net, minimum, random_net, solve

from layerwise import interval, relu
from layerwise.program import Program, ProgramError

ENCODINGS = list(relu.RELU_ENCODINGS.values())
EXACT = [encoding for encoding in ENCODINGS if encoding.exact]
SLOPES = [0.0, 0.1, -0.5]


def rectify(x, slope):
    return np.where(x > 0, x, slope * x)


def one_layer(encoding, rng, slope, size=4):
    """A program with x in a box, zhat = W x + b, z by the encoding; and W, b."""
    weight, bias = rng.normal(size=(size, 2)), rng.normal(size=size)
    program = Program()
    x = program.columns(2, -1.0, 1.0)
    zhat = weight @ x + bias
    z = encoding.encode(program, zhat, *interval.of_expressions(program, zhat), slope)
    return program, x, z, weight, bias


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda e: e.name)
def test_sampled_points_satisfy_every_encoding(encoding, slope):
    rng = np.random.default_rng(5)
    for _ in range(10):
        program, x, z, weight, bias = one_layer(encoding, rng, slope)
        point = rng.uniform(-1, 1, 2)
        program.rows(x, point, point)
        program.rows(z, *(2 * [rectify(weight @ point + bias, slope)]))
        assert solve(program).status == 0


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("encoding", EXACT, ids=lambda e: e.name)
def test_exact_encodings_admit_nothing_else(encoding, slope):
    rng = np.random.default_rng(6)
    for _ in range(10):
        program, x, z, weight, bias = one_layer(encoding, rng, slope)
        point, cost = rng.uniform(-1, 1, 2), rng.normal(size=(1, 4))
        program.rows(x, point, point)
        assert minimum(program, cost @ z) == pytest.approx(
            (cost @ rectify(weight @ point + bias, slope)).item(), abs=1e-6
        )


@pytest.mark.parametrize("slope", SLOPES)
def test_relaxations_of_big_m_and_triangle_coincide_and_ideal_is_no_weaker(slope):
    rng = np.random.default_rng(7)
    for seed in range(20):
        cost = rng.normal(size=(1, 4))
        bounds = {}
        for encoding in ENCODINGS:
            program, x, z, _, _ = one_layer(encoding, np.random.default_rng(seed), slope)
            bounds[encoding.name] = minimum(program, cost @ z + np.ones((1, 2)) @ x, relaxed=True)
        assert bounds["big_m"] == pytest.approx(bounds["triangle"], abs=1e-7)
        assert bounds["ideal"] >= bounds["triangle"] - 1e-7


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_ideal_relaxation_of_one_neuron_is_its_convex_hull(seed):
    """Ideal: every linear objective over x and z has the same optimum with and without integrality."""
    rng = np.random.default_rng(seed)
    program = Program()
    x = program.columns(4, -rng.uniform(0, 1, 4), rng.uniform(0, 1, 4))
    zhat = rng.normal(size=(1, 4)) @ x + rng.normal() * 0.3
    z = relu.ideal(program, zhat, *interval.of_expressions(program, zhat))
    objective = rng.normal(size=(1, 4)) @ x + rng.normal() * 2 * z
    assert minimum(program, objective, relaxed=True) == pytest.approx(minimum(program, objective), abs=1e-6)


def test_ideal_is_strictly_tighter_than_big_m_somewhere():
    """The example of Anderson et al.: z = max(0, x1 + x2 - 1.5) on [0, 1]^2."""
    gap = {}
    for encoding in EXACT:
        program = Program()
        x = program.columns(2, 0, 1)
        z = encoding.encode(program, x.sum() - 1.5, -1.5, 0.5)
        gap[encoding.name] = -minimum(program, 0.5 * x[:1] - z, relaxed=True)
    assert gap["ideal"] < gap["big_m"] - 1e-3


def test_only_unstable_neurons_get_binaries():
    program = Program()
    zhat = program.columns(4, [-2, 1, -1, 0], [-1, 2, 1, 0])
    relu.big_m(program, zhat, [-2, 1, -1, 0], [-1, 2, 1, 0])
    assert program.statistics().binaries == 1
    assert program.n_columns == 4 + 2 + 1 + 1
    assert program.n_rows == 2 + 2


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda e: e.name)
@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_stable_neurons_are_exact_in_every_encoding(encoding, slope):
    program = Program()
    low, high = np.array([-2.0, 1.0, 0.0, -1.0]), np.array([-1.0, 2.0, 0.0, 0.0])
    zhat = program.columns(4, low, high)
    z = encoding.encode(program, zhat, low, high, slope)
    for cost in (np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[-1.0, -2.0, -3.0, -4.0]])):
        ends = np.stack([rectify(low, slope), rectify(high, slope)]) * cost
        assert minimum(program, cost @ z) == pytest.approx(ends.min(axis=0).sum())


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_fixed_phases_split_the_problem(seed):
    """The best over all phases is the optimum; a wrong phase at a point is infeasible."""
    rng = np.random.default_rng(seed)
    net = random_net(rng, [2, 3, 1], slope=0.1)
    best = np.inf
    for pattern in np.ndindex(2, 2, 2):
        program = Program()
        x = program.columns(2, -1, 1)
        zhat = net.weights[0] @ x + net.biases[0]
        z = relu.fixed(program, zhat, np.array(pattern, dtype=bool), 0.1)
        program.minimise(net.weights[1] @ z + net.biases[1])
        result = solve(program)
        if result.status == 0:
            best = min(best, result.fun)
            assert net(result.x[None, :2])[0] == pytest.approx(result.fun, abs=1e-6)
        else:
            assert result.status == 2
    program = Program()
    y = encode_net(program, program.columns(2, -1, 1), net, relu.big_m)
    assert best == pytest.approx(minimum(program, y), abs=1e-6)


@pytest.mark.parametrize(
    "ends", [(0.0, 6.0), (-1.0, 1.0), (-np.inf, 0.5), (0.5, np.inf), (-9.0, 9.0), (7.0, 8.0)]
)
@pytest.mark.parametrize("encoding", EXACT, ids=lambda e: e.name)
def test_clip(encoding, ends):
    low, high = ends
    for at in np.linspace(-3, 7, 9):
        program = Program()
        zhat = program.columns(1, -3, 7)
        z = relu.clip(program, zhat, -3, 7, low=low, high=high, encode=encoding.encode)
        program.rows(zhat, at, at)
        expected = float(np.clip(at, low, high))
        assert minimum(program, z) == pytest.approx(expected, abs=1e-6)
        assert -minimum(program, -z) == pytest.approx(expected, abs=1e-6)


def test_clip_relaxation_admits_the_graph():
    for at in np.linspace(-3, 7, 9):
        program = Program()
        zhat = program.columns(1, -3, 7)
        z = relu.clip(program, zhat, -3, 7, low=0, high=6, encode=relu.triangle)
        program.rows(zhat, at, at)
        assert minimum(program, z) <= np.clip(at, 0, 6) + 1e-7 <= -minimum(program, -z) + 2e-7


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda e: e.name)
def test_bad_bounds_are_named(encoding):
    program = Program()
    zhat = program.columns(3, -1, 1)
    with pytest.raises(ProgramError, match="entries 1, 2 have no finite bounds"):
        encoding.encode(program, zhat, [-1, -np.inf, np.nan], 1.0)
    with pytest.raises(ProgramError, match=r"entries 0 have a lower bound above.*2 > 1"):
        encoding.encode(program, zhat, [2, 0, 0], 1.0)
    with pytest.raises(ProgramError, match=r"got an array of shape \(2,\)"):
        encoding.encode(program, zhat, [0, 0], 1.0)
    with pytest.raises(ProgramError, match="slope must be at most 1"):
        encoding.encode(program, zhat, -1.0, 1.0, 1.5)


def test_other_misuse_is_named():
    program = Program()
    free = program.columns(1)
    with pytest.raises(ProgramError, match="inputs: entries 0 have no finite bounds"):
        relu.ideal(program, free, -1.0, 1.0)
    with pytest.raises(ProgramError, match="expected 1 phases"):
        relu.fixed(program, free, np.ones(2, dtype=bool))
    with pytest.raises(ProgramError, match=r"lower end 2.* above the upper end 1"):
        relu.clip(program, free, -1.0, 1.0, low=2.0, high=1.0)
