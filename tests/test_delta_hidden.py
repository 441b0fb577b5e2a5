"""Hidden layers: the least change at points against brute force, and whole repairs, proved and sampled."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from delta_networks import dense_network
from onnx import helper
from onnx_models import model
from pattern_oracle import least_change
from test_delta_loop import assert_guarantee, violated_property

from repairsolver.errors import EditError
from repairsolver.network import Network, load_network
from repairsolver.property import PointSet, load_property
from repairsolver.property.specification import Property
from repairsolver.repairing import repair_property
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.layer import find_layers
from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.sequential import least, least_bound
from repairsolver.results import Event, Limits, RepairStatus, VerifyStatus
from repairsolver.verification.engine import verify_property

NEED = 0.1


def flipped(network: Network, seed: int, layers: str, count: int = 2) -> tuple[Requirements, np.ndarray]:
    """Random points that must get the other one of two decisions, with no floor for rounding."""
    points = np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32).astype(np.float64)
    requirements = Requirements(network, find_layers(network, Choice(layers)))
    requirements.decide(points, 1 - network(points).argmax(axis=1), "max", role="repair")
    for name, group in requirements.groups.items():
        requirements.groups[name] = replace(group, floor=np.zeros(len(group.floor)))
    return requirements, points


def rows_of(network: Network, points: np.ndarray) -> list[np.ndarray]:
    """The label's lead over the other output, as one row a point."""
    labels = 1 - network(points).argmax(axis=1)
    return [np.array([[1.0, -1.0]]) * (1 - 2 * label) for label in labels]


@pytest.mark.parametrize(("seed", "norm"), [(0, "l1"), (2, "linf"), (3, "l1"), (3, "linf"), (5, "l1")])
def test_least_change_is_that_of_all_activation_patterns(seed: int, norm: str) -> None:
    network = dense_network(seed, (2, 3, 2, 2))
    requirements, points = flipped(network, seed + 50, "layer0")
    truth = least_change(network, 0, points, rows_of(network, points), NEED, norm)
    problem = LeastChange(requirements, NEED, Objective(norm, name=norm), "highs")
    found = least(problem, shared=False)
    assert found.delta is not None
    assert found.cost == pytest.approx(truth, rel=5e-3)
    bound = least_bound(problem, gap=1e-6, known=found.cost * (1 + 1e-6))
    assert bound.bound == pytest.approx(truth, rel=1e-4)
    assert bound.bound <= truth * (1 + 1e-6)
    blind = least_bound(problem, gap=1e-6, known=np.inf)
    assert blind.cost == pytest.approx(truth, rel=1e-4)


def test_what_no_change_can_do_is_not_found_and_the_bound_says_so() -> None:
    """Both outputs read one neuron: two points on one ray cannot be told apart as asked."""
    network = dense_network(1, (2, 3, 2, 2))
    requirements, points = flipped(network, 51, "layer0")
    assert np.isinf(least_change(network, 0, points, rows_of(network, points), NEED, "l1"))
    problem = LeastChange(requirements, NEED, Objective("l1"), "highs")
    assert least(problem, shared=False).delta is None
    answer = least_bound(problem, gap=1e-6, known=np.inf)
    assert answer.delta is None
    assert answer.bound > 1e3
    bounded = replace(problem, objective=Objective("l1", reach=np.full(requirements.layer.size, 5.0)))
    assert str(least_bound(bounded, gap=1e-6, known=np.inf).status) == "infeasible"


@pytest.mark.parametrize("seed", [5])
def test_the_bound_of_l2_lies_between_linf_and_what_was_found(seed: int) -> None:
    network = dense_network(seed, (2, 3, 2, 2))
    requirements, _ = flipped(network, seed + 50, "layer0")
    found = {}
    for norm, solver in (("l2", "projection"), ("linf", "highs")):
        problem = LeastChange(requirements, NEED, Objective(norm, name=norm), solver)
        found[norm] = least(problem, shared=False)
    problem = LeastChange(requirements, NEED, Objective("l2", name="l2"), "projection")
    bound = least_bound(problem, gap=0.1, known=found["l2"].cost).bound
    assert found["linf"].cost * (1 - 1e-6) <= bound <= found["l2"].cost


@pytest.mark.parametrize(("seed", "layers"), [(0, "layer0"), (2, "layer0"), (3, "all")])
def test_regions_are_repaired_and_proved(seed: int, layers: str) -> None:
    network = dense_network(seed, (2, 6, 3))
    prop = violated_property(network)
    fix = repair_property(network, prop, layers=layers, gap=0.3, limits=Limits(seconds=60.0, rounds=15))
    assert_guarantee(fix, network, prop)
    assert fix.edit is not None
    touched = {change.layer for change in fix.edit.changes}
    assert touched <= ({"layer0"} if layers == "layer0" else {"layer0", "layer1"})
    if layers == "all":
        assert fix.lower_bound == 0.0


def test_only_what_was_chosen_changes() -> None:
    network = dense_network(0, (2, 6, 3))
    prop = violated_property(network)
    fix = repair_property(
        network,
        prop,
        layers="layer0",
        parameters="biases",
        neurons=[0, 2, 3, 5],
        gap=0.5,
        limits=Limits(60.0),
    )
    assert fix.status is RepairStatus.REPAIRED
    assert fix.edit is not None
    (change,) = fix.edit.changes
    assert (change.tensor, change.role) == ("b0", "bias")
    assert not change.difference[[1, 4]].any()


def test_auto_says_which_layer_and_why() -> None:
    network = dense_network(0, (2, 6, 3))
    prop = violated_property(network)
    events: list[Event] = []
    fix = repair_property(
        network, prop, layers="auto", gap=0.5, limits=Limits(seconds=40.0), on_event=events.append
    )
    assert_guarantee(fix, network, prop)
    told = [event.message for event in events if event.stage == "localise"]
    assert len(told) == 3
    assert "was chosen among 2" in told[-1]
    assert told[-1] in fix.message
    assert fix.edit is not None
    assert len({change.layer for change in fix.edit.changes}) == 1


def test_auto_leaves_out_a_layer_that_no_change_helps() -> None:
    """Two points with the same last hidden values need different labels: only an earlier layer can."""
    weight = np.array([[1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    constants = {
        "W0": weight,
        "b0": np.zeros(2, dtype=np.float32),
        "W1": np.array([[1.0, 0.5], [0.5, 1.0]], dtype=np.float32),
        "b1": np.array([0.1, 0.0], dtype=np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "W0", "b0"], ["z"], name="early", transB=1),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("Gemm", ["h", "W1", "b1"], ["y"], name="late", transB=1),
    ]
    network = load_network(model(nodes, (1, 2), constants).SerializeToString(), name="blind")
    points = PointSet(np.array([[1.0, 0.5], [1.0, -0.5]]), np.array([0, 1]), name="apart")
    nowhere = Property((), 2, 2, name="no region")
    fix = repair_property(network, nowhere, layers="auto", points=points, limits=Limits(seconds=30.0))
    assert fix.status is RepairStatus.REPAIRED
    assert fix.edit is not None
    assert {change.layer for change in fix.edit.changes} == {"early"}
    assert "'early'" in fix.message
    with pytest.raises(EditError, match="name it instead of layers='auto'"):
        repair_property(network, nowhere, layers="auto", neurons=[0], points=points)


@pytest.mark.data
def test_a_hidden_layer_of_acasxu_with_property_2() -> None:
    folder = os.environ.get("REPAIRSOLVER_DATA")
    if folder is None:
        pytest.skip("REPAIRSOLVER_DATA does not name the benchmark data folder")
    root = Path(folder) / "acasxu"
    network = load_network(root / "onnx" / "ACASXU_run2a_2_1_batch_2000.onnx")
    prop = load_property(root / "vnnlib" / "prop_2.vnnlib", network=network)
    fix = repair_property(
        network, prop, layers="Operation_6_MatMul", gap=0.7, decision="min", limits=Limits(seconds=15.0)
    )
    assert fix.status is RepairStatus.REPAIRED
    assert fix.network is not None
    assert 0 < fix.lower_bound <= (fix.cost or 0.0)
    assert verify_property(fix.network, prop, limits=Limits(seconds=60)).status is VerifyStatus.HOLDS
