"""Repairs from examples: what they mend and keep, how they are written, and that nothing is called proved."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from delta_networks import conv_network
from random_networks import Draft, dense_network, random_network
from scipy.optimize import linprog
from test_imitation_points import SMALL, half_wrong

import repairsolver as rs
from repairsolver.bounds.tensors import tensor_graph
from repairsolver.errors import EditError
from repairsolver.network import Network
from repairsolver.network.forward import activations
from repairsolver.property import Conjunction, Property, Region
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.objective import Aim
from repairsolver.repairing.imitation import method
from repairsolver.repairing.imitation.behaviour import Behaviours, collect, values_at
from repairsolver.repairing.imitation.exact import least_tuning
from repairsolver.repairing.imitation.idle import woken
from repairsolver.repairing.imitation.options import Imitation, Retraining, Tuning
from repairsolver.repairing.imitation.responsibility import neuron_layers, responsibility
from repairsolver.repairing.imitation.scaling import chosen_neurons, scaled_forward, with_factors
from repairsolver.repairing.imitation.spare import hidden_tail
from repairsolver.repairing.imitation.swarm import Swarm, swarm_minimum
from repairsolver.report.files import write_repair
from repairsolver.report.sentences import explain_repair
from repairsolver.results import Limits, RepairStatus, VerifyStatus
from repairsolver.verification.paused import Paused

QUICK = Limits(seconds=20)


def repaired(network: Network, how: Imitation, prop: Property | None = None) -> rs.Repair:
    return rs.repair(
        network, prop or half_wrong(network, 0.1), method="imitation", imitation=how, limits=QUICK, seed=1
    )


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Tanh", "Sigmoid"])
@pytest.mark.parametrize("variant", ["retrain", "gradient"])
def test_negatives_are_mended(activation: str, variant: str, tmp_path: Path) -> None:
    network = dense_network(5, (2, 10, 10, 3), activation)
    prop = half_wrong(network, 0.05)
    how = SMALL
    if variant == "gradient":
        how = Imitation(variant="tune", samples=500, tuning=Tuning(neurons=20, optimiser="gradient"))
    fix = repaired(network, how, prop)
    assert fix.network is not None
    assert fix.edit is not None
    points = collect(network, prop, None, None, SMALL, decision="max", seed=1)
    fix.save(tmp_path / "net.onnx")
    saved = rs.load_network(tmp_path / "net.onnx")
    after = prop.violation(points.negatives, rs.replay(saved, points.negatives))
    assert (after < 0).mean() > (0.99 if variant == "retrain" else 0.8)
    assert fix.edit.apply(network).sha256 == saved.sha256 == fix.network.sha256
    assert fix.cost == pytest.approx(fix.edit.norm("l1"))
    assert (fix.status is RepairStatus.REPAIRED) == (
        fix.verdict is not None and fix.verdict.status is VerifyStatus.HOLDS
    )
    if fix.status is RepairStatus.REPAIRED:
        box = np.random.default_rng(8).uniform(-1, 1, (20_000, 2)).astype(np.float32).astype(float)
        assert (prop.violation(box, rs.replay(saved, box)) < 0).all()


@pytest.mark.parametrize("seed", [3, 11])
def test_convolutions_and_residual_networks(seed: int) -> None:
    network = conv_network(seed) if seed == 3 else random_network(seed, smooth=True)
    how = Imitation(samples=300, retraining=Retraining(steps=150))
    fix = repaired(network, how, half_wrong(network, 0.05))
    assert fix.fidelity is not None
    assert fix.fidelity.efficacy is not None
    assert fix.fidelity.efficacy.value > 0.9


def test_the_same_seed_gives_the_same_network() -> None:
    network = dense_network(5, (2, 10, 10, 3))
    prop = half_wrong(network, 0.05)
    points = collect(network, prop, None, None, SMALL, decision="max", seed=1)
    given = {"points": rs.PointSet(points.negatives), "keep": rs.PointSet(points.positives)}
    how = Imitation(samples=300, retraining=Retraining(steps=80))
    shas = {
        rs.repair(network, prop, method="imitation", imitation=how, seed=2, **given).network.sha256
        for _ in range(2)
    }
    assert len(shas) == 1


def test_labelled_points() -> None:
    network = dense_network(2, (4, 40, 3), "Tanh")
    inputs = np.random.default_rng(0).uniform(-1, 1, (200, 4))
    decided = network(inputs).argmax(axis=1)
    labels = decided.copy()
    labels[:2] = (labels[:2] + 1) % 3
    nothing = Property((), 4, 3)
    fix = rs.repair(
        network,
        nothing,
        method="imitation",
        points=rs.PointSet(inputs[:2], labels[:2]),
        keep=rs.PointSet(inputs[2:], labels[2:]),
        limits=QUICK,
    )
    assert fix.status is RepairStatus.REPAIRED
    after = rs.replay(fix.network, inputs).argmax(axis=1)
    assert (after[:2] == labels[:2]).all()
    assert (after[2:] == labels[2:]).mean() > 0.8


def test_nothing_is_repaired_without_a_violation() -> None:
    network = dense_network(5, (2, 10, 3))
    prop = half_wrong(network, 0.05)
    low = Conjunction(prop.regions[0].unsafe[0].output, np.zeros((1, 2)), np.array([-1e3]))
    safe = Property((Region(-np.ones(2), np.ones(2), (low,)),), 2, 3)
    fix = repaired(network, SMALL, safe)
    assert fix.status is RepairStatus.REPAIRED
    assert fix.edit is not None
    assert fix.edit.count == 0


def test_prove_ends_with_a_proof() -> None:
    network = dense_network(5, (2, 10, 10, 3))
    prop = half_wrong(network, 0.05)
    fix = repaired(network, Imitation(samples=500, prove=True), prop)
    assert fix.status is RepairStatus.REPAIRED
    assert fix.certificate is not None
    box = np.random.default_rng(8).uniform(-1, 1, (20_000, 2)).astype(np.float32).astype(float)
    assert (prop.violation(box, rs.replay(fix.network, box)) < 0).all()
    assert fix.edit.apply(network).sha256 == fix.network.sha256


def test_proving_leaves_time_to_method_delta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 s, proofs of what was learnt may take 40, so that 60 are left at least where they fail."""
    allowed: dict[str, float] = {}

    def late(*given: object, limits: rs.Limits, **options: object) -> rs.Verdict:
        allowed.setdefault("verify", limits.seconds)
        return rs.Verdict(rs.VerifyStatus.TIMEOUT, methods=("attack",))

    def nothing(*given: object, limits: rs.Limits, **options: object) -> SimpleNamespace:
        allowed["delta"] = limits.seconds
        return SimpleNamespace(network=None, rounds=0)

    monkeypatch.setattr(method, "verify_property", late)
    monkeypatch.setattr(method, "repair_delta", nothing)
    network = dense_network(2, (2, 8, 2))
    how = replace(SMALL, prove=True)
    rs.repair(network, half_wrong(network), method="imitation", imitation=how, limits=rs.Limits(seconds=100))
    assert 0 < allowed["verify"] <= 40
    assert allowed["delta"] > 40
    del allowed["verify"]
    rs.repair(
        network, half_wrong(network), method="imitation", imitation=replace(how, prove=False),
        limits=rs.Limits(seconds=100),
    )  # fmt: skip
    assert allowed["verify"] > 40


@pytest.mark.parametrize(
    ("found", "start"), [((), "the original network"), ((object(),), "the network learnt")]
)
def test_delta_starts_where_it_has_something_to_learn(
    found: tuple[object, ...], start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the original, if the network learnt is neither proved nor violated where an attack looks."""
    started: list[Network] = []

    def nothing(candidate: Network, *given: object, **options: object) -> SimpleNamespace:
        started.append(candidate)
        return SimpleNamespace(network=None, rounds=0, verdict=None)

    late = rs.Verdict(VerifyStatus.TIMEOUT, methods=("attack",))
    monkeypatch.setattr(method, "verify_property", lambda *given, **options: late)
    monkeypatch.setattr(method, "attack", lambda *given, **options: found)
    monkeypatch.setattr(method, "repair_delta", nothing)
    network = dense_network(2, (2, 8, 2))
    how = replace(SMALL, prove=True)
    fix = rs.repair(network, half_wrong(network), method="imitation", imitation=how, limits=QUICK)
    assert (started[0].sha256 == network.sha256) == (start == "the original network")
    assert fix.message.endswith(f"method delta started from {start}")
    assert fix.network.sha256 != network.sha256


def test_time_that_delta_leaves_goes_to_the_proof_of_what_was_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search that ran out of time goes on, if delta has no proof either; delta is then not spoken of."""
    searches: list[tuple[str, Paused, float]] = []

    def slow(
        network: Network, *given: object, limits: rs.Limits, paused: Paused, **options: object
    ) -> rs.Verdict:
        searches.append((network.sha256, paused, limits.seconds))
        status = VerifyStatus.TIMEOUT if len(searches) == 1 else VerifyStatus.HOLDS
        return rs.Verdict(status, methods=("input splitting",))

    monkeypatch.setattr(method, "verify_property", slow)
    monkeypatch.setattr(method, "attack", lambda *given, **options: ())
    monkeypatch.setattr(
        method,
        "repair_delta",
        lambda *given, **options: SimpleNamespace(network=None, rounds=0, verdict=None),
    )
    network = dense_network(2, (2, 8, 2))
    fix = rs.repair(
        network, half_wrong(network), method="imitation", imitation=replace(SMALL, prove=True),
        limits=rs.Limits(seconds=100),
    )  # fmt: skip
    (first, paused, few), (second, again, more) = searches
    assert first == second == fix.network.sha256
    assert paused is again
    assert few <= 40 < more
    assert fix.status is RepairStatus.REPAIRED
    assert "delta" not in fix.message


def test_options_of_other_methods_are_refused() -> None:
    network = dense_network(5, (2, 10, 3))
    with pytest.raises(EditError, match="has no option neurons, max_change"):
        rs.repair(network, half_wrong(network), method="imitation", neurons=[1], max_change=0.1)
    with pytest.raises(EditError, match="does not use imitation"):
        rs.repair(network, half_wrong(network), imitation=Imitation())


# Factors of neurons, written as weights.


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Tanh", "Sigmoid"])
@pytest.mark.parametrize("low", [0.0, -2.0])
def test_written_factors_are_the_scaled_forward_pass(activation: str, low: float) -> None:
    network = dense_network(7, (3, 6, 5, 2), activation)
    layers = responsibility(
        network,
        collect(network, half_wrong(network), None, None, SMALL, decision="max", seed=0),
        "difference",
    ).layers
    chosen = chosen_neurons(layers, {layer.name: np.array([0, 1]) for layer in layers})
    factors = np.random.default_rng(0).uniform(low, 2.0, 6)
    points = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    import torch

    graph = tensor_graph(network)
    expected = scaled_forward(graph, chosen, torch.tensor(points.astype(float)), torch.tensor(factors))
    written = with_factors(network, network, chosen, factors)
    assert rs.replay(written, points) == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-4)


def test_filters_are_scaled_whole() -> None:
    import torch

    network = conv_network(0)
    affine, _ = neuron_layers(network)[1]
    prop = half_wrong(network)
    found = responsibility(
        network, collect(network, prop, None, None, SMALL, decision="max", seed=0), "normalised"
    )
    chosen = chosen_neurons(found.layers, {affine.layer: np.array([1])})
    points = np.random.default_rng(1).normal(size=(20, 7)).astype(np.float32)
    factors = np.array([1.5])
    expected = scaled_forward(
        tensor_graph(network), chosen, torch.tensor(points.astype(float)), torch.tensor(factors)
    )
    written = with_factors(network, network, chosen, factors)
    assert rs.replay(written, points) == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-5)


def residual_tanh() -> Network:
    """Values of a tanh that a sum reads: no weight can carry a factor."""
    draft = Draft(np.random.default_rng(0), (1, 3))
    before = draft.current
    draft.add("Gemm", [before, draft.normal(3, 3), draft.normal(3)], (1, 3), transB=1)
    draft.add("Tanh", [draft.current], (1, 3))
    draft.add("Add", [before, draft.current], (1, 3))
    draft.add("Gemm", [draft.current, draft.normal(2, 3), draft.normal(2)], (1, 2), transB=1)
    return draft.network("residual")


def test_factors_without_a_place_become_a_multiplication() -> None:
    import torch

    network = residual_tanh()
    points = collect(network, half_wrong(network), None, None, SMALL, decision="max", seed=0)
    found = responsibility(network, points, "difference")
    chosen = chosen_neurons(found.layers, {found.layers[0].name: np.array([0, 2])})
    factors = np.array([0.5, -1.25])
    written = with_factors(network, network, chosen, factors)
    inputs = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    expected = scaled_forward(
        tensor_graph(network), chosen, torch.tensor(inputs.astype(float)), torch.tensor(factors)
    )
    assert rs.replay(written, inputs) == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-5)


def test_a_repair_with_new_nodes_has_no_change_of_weights(tmp_path: Path) -> None:
    network = residual_tanh()
    how = Imitation(variant="tune", samples=300, tuning=Tuning(optimiser="gradient"))
    fix = rs.repair(
        network, half_wrong(network, 0.05), method="imitation", imitation=how, layers="nt0", limits=QUICK
    )
    assert fix.edit is None
    assert fix.cost is None
    assert write_repair(fix, tmp_path / "out.onnx") == (tmp_path / "out.onnx",)
    assert rs.load_network(tmp_path / "out.onnx").sha256 == fix.network.sha256
    assert "multiplications" in explain_repair(fix)
    assert repr(fix)


# Idle neurons.


def test_a_detour_mends_a_corner_and_keeps_the_rest() -> None:
    """Idle neurons of two hidden layers are woken; brute force over all points that count."""
    network = _with_idle(dense_network(4, (2, 12, 12, 3)))
    box = Region(
        np.full(2, 0.7), np.ones(2), (Conjunction(np.eye(3)[[0]] * 0 + 1, np.zeros((1, 2)), np.zeros(1)),)
    )
    corner = np.random.default_rng(0).uniform(0.7, 1.0, (300, 2))
    decided = network(corner).argmax(axis=1)
    label = int(np.bincount(decided, minlength=3).argmin())
    rows = tuple(
        Conjunction(np.eye(3)[[label]] - np.eye(3)[[j]], np.zeros((1, 2)), np.zeros(1))
        for j in range(3)
        if j != label
    )
    prop = Property((Region(box.lower, box.upper, rows),), 2, 3)
    domain = np.random.default_rng(1).uniform(-1, 1, (2000, 2))
    outside = domain[(domain < 0.6).any(axis=1)]
    wrong = corner[prop.violation(corner, network(corner)) >= 0]
    made = Behaviours(prop, wrong, None, outside[:0], outside, "max")
    free = {node.name for node in network.affine_layers}
    targets, seen = network(wrong) + 5 * np.eye(3)[label], values_at(network, made)
    changed = woken(network, network, made, targets, seen, free, 0)
    assert changed is not network
    assert (prop.violation(wrong, rs.replay(changed, wrong)) < 0).all()
    same = rs.replay(changed, outside).argmax(axis=1) == rs.replay(network, outside).argmax(axis=1)
    assert same.mean() > 0.99
    assert woken(network, network, made, targets, seen, free - {network.affine_layers[-1].name}, 0) is network
    second = woken(network, network, made, targets, seen, free - {network.affine_layers[0].name}, 0)
    first = [net.affine_layers[0].operator.weight for net in (second, network)]
    assert np.array_equal(*first)


@pytest.mark.parametrize("variant", ["retrain", "exact", "gradient"])
def test_only_the_chosen_layers_change(variant: str) -> None:
    network = dense_network(5, (2, 8, 8, 3))
    last = network.affine_layers[-1]
    how = Imitation(samples=300, retraining=Retraining(steps=80))
    if variant != "retrain":
        how = Imitation(variant="tune", samples=300, seconds=4, tuning=Tuning(optimiser=variant))
    fix = rs.repair(
        network,
        half_wrong(network, 0.05),
        method="imitation",
        imitation=how,
        layers=last.layer,
        limits=QUICK,
    )
    assert {change.layer for change in fix.edit.changes} <= {last.layer}


def _with_idle(network: Network) -> Network:
    """With neuron 0 of both hidden layers never active."""
    from repairsolver.repairing.imitation.writing import with_layers

    layers = {}
    for hidden in hidden_tail(network, network):
        operator = hidden.dense.operator
        weight, bias = operator.weight.copy(), operator.bias.copy()
        weight[0], bias[0] = 0.0, -1.0
        layers[hidden.dense.name] = weight, bias
    return with_layers(network, layers)


def test_idle_neurons_are_those_that_no_point_activates() -> None:
    network = _with_idle(dense_network(4, (2, 12, 12, 3)))
    tail = hidden_tail(network, network)
    assert [h.dense.layer for h in tail] == [n.layer for n in network.affine_layers[:-1]]
    values = activations(network, np.random.default_rng(0).normal(size=(500, 2)))
    assert all((values[h.relu.name][:, 0] == 0).all() for h in tail)
    assert hidden_tail(dense_network(4, (2, 5, 3), "Tanh"), dense_network(4, (2, 5, 3), "Tanh")) == []


# Exact tuning, and the swarm.


def test_exact_tuning_of_outputs_is_the_linear_programs_optimum() -> None:
    """Biases of the last layer alone, one row each: against scipy on all points at once."""
    network = dense_network(6, (2, 5, 2), "Tanh")
    prop = half_wrong(network, 0.2)
    points = collect(network, prop, None, None, Imitation(samples=300), decision="max", seed=0)
    said: list[str] = []
    changed = least_tuning(
        network,
        prop,
        points,
        Choice("last", "biases"),
        None,
        Aim("l1"),
        solver="highs",
        seconds=20.0,
        seed=0,
        say=said.append,
    )
    before, kept = network(points.negatives), network(points.kept)
    decided = kept.argmax(axis=1)
    bound = prop.regions[0].unsafe[0].bound[0]
    rows, limits = [], []
    for y in before:  # y0 + d0 >= bound
        rows.append([-1.0, 0.0, 1.0, 0.0])
        limits.append(y[0] - bound)
    for y, label in zip(kept, decided, strict=True):  # the decision stays
        sign = 1.0 if label == 0 else -1.0
        rows.append([-sign, sign, sign, -sign])
        limits.append(sign * (y[0] - y[1]))
    free = linprog(np.ones(4), A_ub=np.array(rows), b_ub=np.array(limits), bounds=[(0, None)] * 4)
    assert free.status == 0
    cost = sum(
        np.abs(n.operator.bias - o.operator.bias).sum()
        for n, o in zip(changed.affine_layers, network.affine_layers, strict=True)
    )
    assert cost == pytest.approx(free.fun, rel=0.1)
    assert cost >= free.fun - 1e-6
    assert (prop.violation(points.negatives, rs.replay(changed, points.negatives)) < 0).all()
    assert said


def test_the_swarm_is_reproducible_and_finds_a_minimum() -> None:
    goal = np.array([0.3, -0.5, 0.8])

    def cost(x: np.ndarray) -> float:
        return float(np.square(x - goal).sum())

    how = Swarm(patience=100)
    first, second = (swarm_minimum(cost, 3, how, seed=5) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert first[1] == cost(first[0])
    grid = min(cost(np.array(x)) for x in product(np.linspace(-1, 1, 9), repeat=3))
    assert first[1] < grid
    assert first[1] < swarm_minimum(cost, 3, Swarm(iterations=1), seed=5)[1]
    assert (np.abs(first[0]) <= 1).all()
    flat = swarm_minimum(lambda _: 0.5, 3, Swarm(), seed=0)
    assert flat[2] == 20 * 11, "ten iterations without progress after the first end it"
