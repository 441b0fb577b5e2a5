"""The change of behaviour in squares: against dense algebra, differences and scipy, and whole repairs."""

from __future__ import annotations

import numpy as np
import pytest
from delta_networks import conv_network, dense_network
from scipy.optimize import minimize
from test_delta_objective import labelled

from repairsolver.errors import EditError
from repairsolver.network import Network, replay
from repairsolver.network.forward import activations
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.repairing import repair_property
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.curvature import Diagonal, Kronecker, Pulled, curvature
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.layer import find_layers
from repairsolver.repairing.delta.least_behaviour import least_behaviour, least_moved_bound
from repairsolver.repairing.delta.merit import Merit
from repairsolver.repairing.delta.momentum import descended
from repairsolver.repairing.delta.objective import Aim, objective_for
from repairsolver.repairing.delta.points import add_points
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.squared_moves import RIDGE, SquaredMoves, squared_moves
from repairsolver.results import Limits, RepairStatus

LIMITS = Limits(seconds=60.0)


def samples(network: Network, count: int = 40) -> PointSet:
    drawn = np.random.default_rng(5).uniform(-2, 2, (count, network.input_size))
    return PointSet(drawn.astype(np.float32).astype(np.float64))


def problem(
    network: Network, choice: Choice, wrong: int = 2, margin: float = 0.1, seed: int = 0
) -> LeastChange:
    layer = find_layers(network, choice)
    requirements, prop = Requirements(network, layer), Property((), network.input_size, network.output_size)
    plain = objective_for(layer, Aim("l2", minimise="behaviour"))
    objective = squared_moves(plain, requirements, prop, samples(network), "max", 0)
    add_points(requirements, prop, labelled(network, wrong, seed), None, "max")
    return LeastChange(requirements, margin, objective, "projection")


def measured(given: LeastChange) -> SquaredMoves:
    assert isinstance(given.objective.squares, SquaredMoves)
    return given.objective.squares


def bare(given: LeastChange) -> HiddenLayers:
    layer = given.requirements.layer
    return HiddenLayers(given.requirements.network, layer.blocks, layer.scores)


@pytest.mark.parametrize("name", ["layer0", "layer1", "layer0, layer1"])
def test_value_is_the_root_mean_square_of_forward_passes(name: str) -> None:
    network = dense_network(1, (2, 6, 3))
    given = problem(network, Choice(name))
    delta = 0.3 * np.random.default_rng(0).normal(size=given.requirements.layer.size)
    inputs = samples(network).inputs
    moved = activations(bare(given).edited(delta), inputs)["y"] - network(inputs)
    moved -= moved.mean(axis=1, keepdims=True)
    wanted = (moved**2).sum(axis=1).mean() + measured(given).ridge @ delta**2
    assert given.objective.value(delta) == pytest.approx(np.sqrt(wanted))
    assert (measured(given).ridge > 0).all()
    assert (measured(given).ridge < 1).all()


@pytest.mark.parametrize(
    "choice", [Choice("layer1"), Choice("layer1", "weights"), Choice("layer1", "biases")]
)
@pytest.mark.parametrize("transposed", [False, True])
def test_factors_are_exact_behind_a_linear_tail(choice: Choice, transposed: bool) -> None:
    """G x A against the sum of J'J: kernels, combinations and products with damping that is all but 0."""
    network = dense_network(2, (2, 6, 3), transposed=transposed)
    given = problem(network, choice)
    layer, inputs = given.requirements.layer, samples(network).inputs
    (shape,), gradient = curvature(bare(given), np.zeros(layer.size), inputs, None)
    assert isinstance(shape, Kronecker)
    assert not gradient.any()
    hidden, _ = layer.points(network, inputs)
    jacobian = layer.gradient(hidden, np.eye(3))
    jacobian = jacobian - jacobian.mean(axis=1, keepdims=True)
    rows = jacobian.reshape(-1, layer.size)
    matrix = rows.T @ rows / len(inputs)
    assert shape.mean == pytest.approx(np.trace(matrix) / layer.size)
    damping = 0.5
    pulled = Pulled(hidden[:4], np.random.default_rng(0).normal(size=(4, 3)))
    part, whole = shape.rows(pulled), layer.blocks[0].gradient(pulled.hidden, pulled.at_layer[:, None])[:, 0]
    inverse = np.array([shape.inverse(row, damping) for row in np.eye(layer.size)])
    np.testing.assert_allclose(part.kernel(damping), whole @ inverse @ whole.T, rtol=1e-9, atol=1e-12)
    weights = np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(
        part.combined(weights, damping), inverse @ whole.T @ weights, rtol=1e-9, atol=1e-12
    )
    step = np.random.default_rng(1).normal(size=layer.size)
    np.testing.assert_allclose(part.along(step), whole @ step, rtol=1e-9)


def test_other_layers_take_the_diagonal() -> None:
    network = conv_network(0)
    given = problem(network, Choice("first"), wrong=1)
    layer, inputs = given.requirements.layer, samples(network).inputs
    (shape,), _ = curvature(bare(given), np.zeros(layer.size), inputs, None)
    assert isinstance(shape, Diagonal)
    jacobian = layer.gradient(inputs, np.eye(network.output_size))
    jacobian = jacobian - jacobian.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(shape.entries, (jacobian**2).sum(axis=(0, 1)) / len(inputs))


@pytest.mark.parametrize("choice", [Choice("layer1"), Choice("layer1", neurons=[0, 2])])
@pytest.mark.parametrize("seed", range(2))
def test_the_optimum_of_a_last_layer_is_that_of_scipy(choice: Choice, seed: int) -> None:
    """min B^2 over the rows of two points, by SLSQP; the bound proves it."""
    network = dense_network(seed, (2, 6, 3))
    given = problem(network, choice, seed=seed)
    found = least_behaviour(given, shared=True, known=np.inf, start=lambda: None)
    assert found.delta is not None
    rows, missing = [], []
    for group in given.requirements.groups.values():
        rows.append(
            given.requirements.layer.gradient(group.hidden, group.readout).reshape(-1, len(found.delta))
        )
        missing.append((group.need(0.1)[:, None] - group.slack).ravel())
    matrix, lacks = np.concatenate(rows), np.concatenate(missing)
    assert (matrix @ found.delta >= lacks - 1e-6).all()
    measure = measured(given)
    answer = minimize(
        lambda d: measure.value(d) ** 2, found.delta + 0.1, method="SLSQP",
        constraints={"type": "ineq", "fun": lambda d: matrix @ d - lacks},
        options={"maxiter": 500, "ftol": 1e-14},
    )  # fmt: skip
    assert measure.value(found.delta) == pytest.approx(np.sqrt(answer.fun), rel=1e-4)
    assert found.bound == pytest.approx(measure.value(found.delta), rel=1e-5)
    assert 0 < least_moved_bound(given, gap=1e-6, known=np.inf).bound <= found.bound * (1 + 1e-9)


@pytest.mark.parametrize("name", ["layer0", "layer1", "layer0, layer1", "layer2"])
def test_the_gradient_of_the_sum_is_that_of_differences(name: str) -> None:
    network = dense_network(3, (2, 5, 4, 3))
    given = problem(network, Choice(name), wrong=4)
    merit = Merit(given, bare(given), measured(given), True)
    rng = np.random.default_rng(0)
    delta = 0.1 * rng.normal(size=merit.layer.size)
    everything = np.arange(len(merit.inputs))
    gradient = merit.gradient(delta, 0.7, everything)
    for _ in range(5):
        way = rng.normal(size=len(delta))
        ahead, behind = (merit.state(delta + s * 1e-6 * way).total(0.7) for s in (1, -1))
        assert gradient @ way == pytest.approx((ahead - behind) / 2e-6, rel=1e-4, abs=1e-6)
    shares = [merit.gradient(delta, 0.7, rng.permutation(everything)[:35]) for _ in range(400)]
    assert np.linalg.norm(np.mean(shares, axis=0) - gradient) < 0.1 * np.linalg.norm(gradient)


@pytest.mark.parametrize("layers", ["layer0", "layer1", "layer0,layer1", "layer2"])
def test_any_layer_is_repaired(layers: str) -> None:
    network = dense_network(4, (2, 8, 8, 3))
    wrong, keep = labelled(network, 1 if layers == "layer0" else 3), samples(network, 60)
    fix = repair_property(
        network, Property((), 2, 3), layers=layers, minimise="behaviour", norm="l2", points=wrong,
        keep=keep, keep_soft=0.3, limits=LIMITS,
    )  # fmt: skip
    assert fix.status is RepairStatus.REPAIRED
    assert fix.network is not None
    assert fix.cost is not None
    assert fix.norm == "behaviour-l2"
    assert (fix.lower_bound > 0) == (layers == "layer2")
    assert (replay(fix.network, wrong.inputs).argmax(axis=1) == wrong.labels).all()
    assert wrong.labels is not None
    assert fix.cost >= fix.lower_bound


def test_momentum_alone_meets_points() -> None:
    network = dense_network(5, (2, 8, 8, 8, 3))
    given = problem(network, Choice("layer1"), wrong=4, margin=0.05)
    merit = Merit(given, bare(given), measured(given), True)
    reached = descended(merit, 0.25, 0)
    assert reached.best is not None
    assert reached.best.missing == 0
    again = descended(merit, 0.25, 0)
    assert np.array_equal(again.last.delta, reached.last.delta)


def test_kept_points_stay_unless_they_are_soft() -> None:
    network = dense_network(6, (2, 8, 8, 3))
    wrong, keep = labelled(network, 3), samples(network, 60)
    common = {"layers": "layer1", "minimise": "behaviour", "norm": "l2", "points": wrong, "keep": keep}
    fix = repair_property(network, Property((), 2, 3), limits=LIMITS, **common)
    assert fix.network is not None
    assert fix.status is RepairStatus.REPAIRED
    before, after = (replay(n, keep.inputs).argmax(axis=1) for n in (network, fix.network))
    assert (before == after).all()


def test_soft_points_of_the_l2_norm_are_a_sum_of_squares() -> None:
    """min |d|^2 + sum (p s)^2 over the rows, against scipy."""
    network = dense_network(0, (2, 4, 3))
    wrong, keep = labelled(network, 3), samples(network, 12)
    layer = find_layers(network, Choice("last"))
    requirements = Requirements(network, layer)
    add_points(requirements, Property((), 2, 3), wrong, keep, "max", 0.8)
    given = LeastChange(requirements, 0.1, objective_for(layer, Aim("l2", keep_penalty=0.8)), "projection")
    found = given.solve({}, True)
    assert found.delta is not None
    assert found.bound == pytest.approx(given.cost(found.delta), rel=1e-5)
    hard = [g for g in requirements.groups.values() if not np.isfinite(g.penalty)]
    rows = np.concatenate([layer.gradient(g.hidden, g.readout).reshape(-1, layer.size) for g in hard])
    lacks = np.concatenate([(g.need(0.1)[:, None] - g.slack).ravel() for g in hard])
    answer = minimize(
        lambda d: given.cost(d) ** 2, found.delta + 0.05, method="SLSQP",
        constraints={"type": "ineq", "fun": lambda d: rows @ d - lacks},
        options={"maxiter": 500, "ftol": 1e-13},
    )  # fmt: skip
    assert given.cost(found.delta) == pytest.approx(np.sqrt(answer.fun), rel=1e-4)


def test_a_margin_is_met_and_alone_tried() -> None:
    network = dense_network(0, (2, 6, 3))
    wrong = labelled(network, 2)
    fix = repair_property(network, Property((), 2, 3), points=wrong, margin=0.5, limits=LIMITS)
    assert fix.network is not None
    assert fix.rounds == 1
    assert wrong.labels is not None
    scores = replay(fix.network, wrong.inputs)
    own = np.take_along_axis(scores, wrong.labels[:, None], axis=1)
    np.put_along_axis(scores, wrong.labels[:, None], -np.inf, axis=1)
    assert (own[:, 0] - scores.max(axis=1)).min() == pytest.approx(0.5, abs=1e-4)
    for bad in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(EditError, match="margin must be positive and finite"):
            Aim(margin=bad)


def test_a_costly_margin_is_lowered() -> None:
    """A margin that nobody asked for may cost as much again as the repair without it, not more."""
    network = dense_network(0, (2, 6, 3))
    fix = repair_property(
        network, Property((), 2, 3), points=labelled(network, 6), keep=samples(network), keep_soft=0.01,
        minimise="behaviour", norm="l2", limits=LIMITS,
    )  # fmt: skip
    assert fix.status is RepairStatus.REPAIRED
    assert fix.cost is not None
    assert 0 < fix.lower_bound <= fix.cost <= 2.01 * fix.lower_bound


def test_nothing_to_measure_on_is_an_error() -> None:
    network = dense_network(0, (2, 6, 3))
    with pytest.raises(EditError, match="nothing to measure on"):
        repair_property(
            network, Property((), 2, 3), points=labelled(network, 1), minimise="behaviour", norm="l2"
        )
    assert RIDGE > 0
