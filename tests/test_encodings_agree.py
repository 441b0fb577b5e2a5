"""Every encoding against brute force, against the others, and against exact rational arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st
from milp import Rows, encode_net, minimum, minimum_by_patterns, random_net, solve

from layerwise import affine, interval, output, pool, relu, smt
from layerwise.program import Program

BOX = np.array([-1.0, -1.0]), np.array([1.0, 1.0])


def optimum(net, cost, encoding):
    program = Program()
    y = encode_net(program, program.columns(2, *BOX), net, encoding.encode)
    return minimum(program, cost[None] @ y)


@pytest.mark.parametrize("slope", [0.0, 0.2])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_optimum_is_that_of_brute_force(slope, seed):
    rng = np.random.default_rng(seed)
    net = random_net(rng, [2, 3, 2, 2], slope)
    cost = rng.normal(size=2)
    truth = minimum_by_patterns(net, cost, *BOX)
    samples = net(rng.uniform(*BOX, (500, 2))) @ cost
    assert truth <= samples.min() + 1e-9
    for encoding in relu.RELU_ENCODINGS.values():
        found = optimum(net, cost, encoding)
        if encoding.exact:
            assert found == pytest.approx(truth, abs=1e-6)
        else:
            assert found <= truth + 1e-6


@pytest.mark.parametrize("seed", range(2))
def test_eight_neurons_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    net, cost = random_net(rng, [2, 4, 4, 1]), np.ones(1)
    truth = minimum_by_patterns(net, cost, *BOX)
    assert optimum(net, cost, relu.RELU_ENCODINGS["big_m"]) == pytest.approx(truth, abs=1e-6)
    assert optimum(net, cost, relu.RELU_ENCODINGS["ideal"]) == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_exact_arithmetic_confirms_the_optimum(seed):
    """z3 finds a point just above the optimum of the integer programs, and none just below it."""
    rng = np.random.default_rng(seed)
    net, cost = random_net(rng, [2, 3, 3, 2], slope=0.0 if seed % 2 else 0.1), rng.normal(size=2)
    best = optimum(net, cost, relu.RELU_ENCODINGS["big_m"])
    x = smt.variables(2)
    terms = x
    for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
        terms = smt.leaky_relu(smt.dense(terms, weight, bias), net.slope)
    y = smt.dense(terms, net.weights[-1], net.biases[-1])
    for bound, answer in ((best + 1e-5, z3.sat), (best - 1e-5, z3.unsat)):
        solver = z3.Solver()
        solver.add(
            smt.box(x, *BOX), smt.all_rows_hold(y, Rows(cost[None], np.zeros((1, 2)), np.array([bound])))
        )
        assert solver.check() == answer


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_convolutional_network_with_pool_and_clip(seed):
    """conv -> clip -> max-pool -> dense: encodings enclose sampled values; exact ones agree with z3."""
    rng = np.random.default_rng(seed)
    weight, bias, last = rng.normal(size=(1, 1, 2)), rng.normal(size=1), rng.normal(size=(1, 2))
    windows = np.array([[0, 1, -1], [1, 2, 3]])
    geometry = {"strides": (1,), "pads": ((1, 1),), "dilations": (1,)}
    program = Program()
    x = program.columns(3, -1, 1)
    zhat = affine.convolution(x, weight, bias, (1, 3), **geometry)
    z = relu.clip(program, zhat, *interval.of_expressions(program, zhat), low=-0.5, high=0.5)
    y = last @ pool.big_m(program, z, windows, -0.5, 0.5)
    best = minimum(program, y)

    matrix = affine.convolution_matrix(weight, (1, 3), **geometry).toarray()
    points = rng.uniform(-1, 1, (300, 3))
    clipped = np.clip(points @ matrix.T + bias, -0.5, 0.5)
    pooled = np.stack([clipped[:, :2].max(axis=1), clipped[:, 1:].max(axis=1)], axis=1)
    assert best <= (pooled @ last.T).min() + 1e-6

    unknown = smt.variables(3)
    terms = smt.clip(smt.dense(unknown, matrix, bias), -0.5, 0.5)
    value = smt.dense(smt.max_pool(terms, windows), last, 0.0)[0]
    for bound, answer in ((best + 1e-5, z3.sat), (best - 1e-5, z3.unsat)):
        solver = z3.Solver()
        solver.add(smt.box(unknown, -1.0, 1.0), value <= smt.rational(bound))
        assert solver.check() == answer


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_repaired_last_layer_satisfies_the_definition(seed):
    """Unknown weights, several points, conjunctions with inputs: what the program says of the solution
    is what numpy says, and z3 agrees that no cheaper change exists."""
    rng = np.random.default_rng(seed)
    hidden, inputs = np.maximum(rng.normal(size=(3, 2)), 0) + 0.1, rng.normal(size=(3, 1))
    weight, bias = rng.normal(size=(2, 2)), rng.normal(size=2)
    conjunctions = [
        Rows(np.array([[1.0, -1.0], [1.0, 0.0]]), np.array([[0.0], [0.5]]), np.array([0.0, 0.2])),
        Rows(np.array([[0.0, 1.0]]), np.array([[0.0]]), np.array([-0.5])),
    ]
    program = Program()
    delta = program.columns(6, -8, 8)
    size = program.columns(1)
    program.rows(size[np.zeros(6, dtype=int)] - delta, lower=0.0)
    program.rows(size[np.zeros(6, dtype=int)] + delta, lower=0.0)
    y = affine.dense_unknown(delta[:4] + weight.ravel(), delta[4:] + bias, hidden)
    output.at_least_one_row_broken(program, y, conjunctions, margin=0.1, x=inputs)
    program.minimise(size)
    result = solve(program)
    assert result.status == 0
    change = delta.value(result.x)
    outputs = hidden @ (weight + change[:4].reshape(2, 2)).T + bias + change[4:]
    np.testing.assert_allclose(y.value(result.x).reshape(3, 2), outputs, atol=1e-9)
    for c in conjunctions:
        slack = outputs @ c.output.T + inputs @ c.input.T - c.bound
        assert (slack.max(axis=1) >= 0.1 - 1e-5).all()

    d = smt.variables(6, "d")
    for bound, answer in ((result.fun + 1e-4, z3.sat), (result.fun - 1e-4, z3.unsat)):
        solver = z3.Solver()
        if bound < 0:
            continue
        solver.add(smt.box(d, -bound, bound))
        for point, at in zip(hidden, inputs, strict=True):
            rows = [np.concatenate([np.kron(np.eye(2)[r], point), np.eye(2)[r]]) for r in range(2)]
            terms = smt.dense(d, np.array(rows), weight @ point + bias)
            for c in conjunctions:
                solver.add(smt.some_row_broken(terms, c, smt.constants(at), 0.1))
        assert solver.check() == answer
