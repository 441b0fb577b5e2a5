"""Repair by gates: proved, unchanged elsewhere, fewest gates against brute force, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from onnx import helper
from onnx_models import model
from random_networks import dense_network, sample
from typer.testing import CliRunner

import repairsolver as rs
from layerwise.program import Program
from repairsolver.cli.main import app
from repairsolver.errors import EditError
from repairsolver.network import Network, load_network, replay
from repairsolver.network.forward import activations
from repairsolver.network.gated import (
    Correction,
    NewGate,
    Override,
    add_gates,
    asked_of,
    gateable,
    records_of,
)
from repairsolver.network.gates import gates_of
from repairsolver.network.operators import Relu
from repairsolver.property import Conjunction, Property, Region, write_property
from repairsolver.repairing.gate import method
from repairsolver.repairing.gate.contradiction import contradictions, explained
from repairsolver.repairing.gate.placement import Wanted, layer_of, overridden, place_gates
from repairsolver.repairing.gate.regions import (
    cover,
    covered_share,
    overlaps,
    places_around,
    whole_regions,
)
from repairsolver.repairing.gate.shield import shield
from repairsolver.results import RepairStatus, Verdict, VerifyStatus
from repairsolver.solvers import SolutionStatus, solve
from repairsolver.verbs.repairs import AGAIN
from repairsolver.verification.attack import attack
from repairsolver.verification.replay import into_box

LIMITS = rs.Limits(seconds=120)


def violated_sometimes(seed: int, outputs: int = 3) -> tuple[Network, Property]:
    """A network whose most frequent decision in a box is forbidden there, on part of it."""
    network = dense_network(seed, [2, 10, 10, outputs])
    points = np.random.default_rng(seed).uniform(-1, 1, (2000, 2))
    chosen = network(points).argmax(axis=1)
    counts = np.bincount(chosen, minlength=outputs)
    present = [k for k in range(outputs) if 0 < counts[k] < len(points)]
    if not present:
        return violated_sometimes(seed + 1000, outputs)
    label = min(present, key=lambda k: counts[k])
    return network, rs.not_maximal([-1, -1], [1, 1], label, outputs)


def require_repaired(fix: rs.Repair, network: Network, prop: Property) -> None:
    """Proved, checked, safe at samples on onnxruntime; bit for bit the old network where gates are off."""
    assert fix.status is RepairStatus.REPAIRED, fix.message
    assert fix.network is not None
    assert isinstance(fix.edit, rs.Gates)
    assert "% of a region's volume" in fix.message
    assert fix.verdict is not None
    assert fix.verdict.status is VerifyStatus.HOLDS
    assert fix.certificate is not None
    assert rs.check(fix.certificate, network=fix.network, property=prop).valid
    rng = np.random.default_rng(1)
    for region in prop.regions:
        points = sample(rng, region.lower, region.upper, 2000).astype(np.float32).astype(float)
        assert (prop.violation(points, replay(fix.network, points)) < 0).all()
    points = np.clip(rng.normal(size=(2000, network.input_size)), -3, 3).astype(np.float32).astype(float)
    off = ~np.any([gate.fires(points) for gate in fix.edit.gates], axis=0)
    np.testing.assert_array_equal(replay(fix.network, points)[off], replay(network, points)[off])


@pytest.mark.parametrize(
    ("seed", "place"), [(0, "output"), (1, "output"), (2, "output"), (1, "inner"), (0, "auto")]
)
def test_a_repair_is_proved_and_changes_nothing_elsewhere(seed: int, place: str) -> None:
    network, prop = violated_sometimes(seed)
    assert rs.verify(network, prop).status is VerifyStatus.VIOLATED
    fix = rs.repair(network, prop, method="gate", place=place, limits=LIMITS, certificate=True)
    require_repaired(fix, network, prop)


def test_the_scores_stay_where_the_demanded_half_space_holds() -> None:
    network, prop = violated_sometimes(1)
    fix = rs.repair(network, prop, method="gate", place="output", limits=LIMITS)
    assert isinstance(fix.edit, rs.Gates)
    points = np.random.default_rng(0).uniform(-1, 1, (4000, 2)).astype(np.float32).astype(float)
    before, after = replay(network, points), replay(fix.network, points)
    change = fix.edit.gates[0].change
    assert isinstance(change, Correction)
    met = (before @ change.output.T >= change.bound + 1e-6).all(axis=1)
    assert met.any()
    np.testing.assert_array_equal(before[met], after[met])


def test_several_properties_hold_at_once_and_one_after_another() -> None:
    network, first = violated_sometimes(2)
    points = np.random.default_rng(3).uniform(-1, 0, (2000, 2))
    label = int(np.bincount(network(points).argmax(axis=1), minlength=3).argmax())
    second = rs.not_maximal([-1, -1], [-0.5, 0], label, 3)
    both = rs.repair(network, [first, second], method="gate", place="output", limits=LIMITS, certificate=True)
    assert both.status is RepairStatus.REPAIRED
    assert [v.status for v in both.verdicts] == [VerifyStatus.HOLDS, VerifyStatus.HOLDS]
    asked = {"method": "gate", "place": "output", "decision": "max", "limits": LIMITS}
    once = rs.repair(network, first, **asked)
    assert not once.remarks
    twice = rs.repair(once.network, second, **asked)
    assert twice.status is RepairStatus.REPAIRED
    assert twice.remarks == (AGAIN,)
    assert "proved again" not in once.message + twice.message
    for prop in (first, second):
        assert rs.verify(twice.network, prop, limits=LIMITS).status is VerifyStatus.HOLDS
    assert rs.check(twice.certificate, network=twice.network, property=second).valid
    assert rs.remove_gates(twice.network).model == network.model
    assert twice.edit.apply(once.network).model == twice.network.model


def test_a_later_repair_does_not_break_what_an_earlier_one_was_for() -> None:
    network = dense_network(5, [2, 10, 10, 3])
    box = ([-1.0, -1.0], [1.0, 1.0])
    low, high = np.quantile(network(np.random.default_rng(0).uniform(-1, 1, (1000, 2)))[:, 0], [0.4, 0.6])
    first = rs.output_range(*box, output=0, outputs=3, at_most=float(low))
    once = rs.repair(network, first, method="gate", place="output", limits=LIMITS)
    assert asked_of(once.network) == (first.text or write_property(first))
    contrary = rs.output_range(*box, output=0, outputs=3, at_least=float(high))
    fix = rs.repair(once.network, contrary, method="gate", place="output", limits=LIMITS)
    assert fix.status is RepairStatus.INFEASIBLE
    forgotten = without_asked(once.network)
    assert asked_of(forgotten) == ""
    fix = rs.repair(forgotten, contrary, method="gate", place="output", limits=LIMITS)
    assert fix.status is RepairStatus.REPAIRED
    assert "only properties given here are proved again" in fix.message


def without_asked(network: rs.Network) -> rs.Network:
    """The same gates, put in without the property that they are for."""
    gates = [gate for record in records_of(network) for gate in record.gates]
    return add_gates(rs.remove_gates(network), gates)


def test_nothing_is_done_where_nothing_is_wrong() -> None:
    network = dense_network(4, [2, 5, 2])
    low = float(network(np.random.default_rng(0).uniform(-1, 1, (500, 2)))[:, 0].min()) - 5
    prop = rs.output_range([-1, -1], [1, 1], 0, 2, at_least=low)
    fix = rs.repair(network, prop, method="gate")
    assert fix.status is RepairStatus.REPAIRED
    assert fix.edit is not None
    assert fix.edit.count == 0
    assert fix.network is network


def tanh_network() -> Network:
    """A residual convolution with tanh and a softmax, 1 x 4 x 4 inputs."""
    rng = np.random.default_rng(8)

    def normal(*shape: int) -> np.ndarray:
        return (0.7 * rng.normal(size=shape)).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "k1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["c1"], ["t1"]),
        helper.make_node("Conv", ["t1", "k2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "t1"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["g"]),
        helper.make_node("Softmax", ["g"], ["y"], axis=-1),
    ]
    stored = {"k1": normal(2, 1, 3, 3), "b1": normal(2), "k2": normal(2, 2, 3, 3), "b2": normal(2)}
    stored |= {"w": normal(32, 4), "b": normal(4)}
    return load_network(model(nodes, ["N", 1, 4, 4], stored).SerializeToString(), name="residual")


@pytest.mark.parametrize("place", ["output", "inner"])
def test_a_robustness_ball_of_a_residual_convolution_behind_a_softmax(place: str) -> None:
    network = tanh_network()
    rng = np.random.default_rng(0)
    image = rng.random((60, 16))[57]
    label = int(network(image).argmax())
    prop = rs.local_robustness(image, 1.0 * (np.arange(16) < 2), label, 4, lower=0.0, upper=1.0)
    assert attack(network, prop)
    fix = rs.repair(network, prop, method="gate", place=place, limits=LIMITS)
    assert fix.status is RepairStatus.REPAIRED, fix.message
    assert isinstance(fix.edit, rs.Gates)
    assert fix.edit.gates[0].tensor == ("g" if place == "output" else "r")
    region = prop.regions[0]
    points = sample(rng, region.lower, region.upper, 500).astype(np.float32).astype(float)
    points = points[region.contains(points)]
    assert (replay(fix.network, points).argmax(axis=1) == label).all()
    elsewhere = rng.random((200, 16)).astype(np.float32).astype(float)
    elsewhere = elsewhere[~fix.edit.gates[0].fires(elsewhere)]
    np.testing.assert_array_equal(replay(fix.network, elsewhere), replay(network, elsewhere))


def fewest_by_force(
    network: Network, node_name: str, unsafe: Conjunction, points: np.ndarray, margin: float
) -> int:
    """The fewest neurons of the last hidden layer whose affine overrides make all points safe, row by row."""
    hidden = activations(network, points)[node_name]
    last = network.nodes[-1].operator
    size = hidden.shape[1]
    for count in range(size + 1):
        for chosen in combinations(range(size), count):
            if _possible(hidden, last.weight, last.bias, unsafe, np.array(chosen, int), margin):
                return count
    raise AssertionError("no override makes the points safe")


def _possible(
    hidden: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    unsafe: Conjunction,
    chosen: np.ndarray,
    margin: float,
) -> bool:
    """A linear program for one row demanded at all points (the conjunctions here have one row)."""
    program = Program()
    reach = 4.0 * np.abs(hidden).max() + 1e-3
    lost, shift = program.columns(len(chosen), 0, 1), program.columns(len(chosen), -reach, reach)
    for h in hidden:
        y = weight @ h + bias
        effect = unsafe.output @ weight[:, chosen]
        value = effect @ shift - (effect * h[chosen]) @ lost + float((unsafe.output @ y)[0])
        program.rows(value, lower=unsafe.bound + margin)
    return solve(program).status is SolutionStatus.OPTIMAL


@pytest.mark.parametrize("seed", range(8))
def test_the_fewest_gates_are_those_that_brute_force_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = dense_network(seed, [2, 5, 5, 2])
    node = [n for n in gateable(network) if isinstance(n.operator, Relu)][-1]
    points = rng.uniform(-1, 1, (6, 2))
    y = network(points)
    row = np.array([[1.0, -1.0]])
    threshold = float(np.quantile(y @ row.T, 0.9)) + rng.choice([0.1, 2.0])
    unsafe = Conjunction(row, np.zeros((1, 2)), np.array([threshold]))
    layer = layer_of(network, node, np.arange(5))
    wanted = Wanted([unsafe], points, 0.01, np.zeros((0, 2)))
    placed = place_gates(network, layer, wanted, most=None, solver="highs", seconds=20, seed=0)
    if placed is None:
        with pytest.raises(AssertionError):
            fewest_by_force(network, node.name, unsafe, points, 0.01)
        return
    assert placed.change.count == placed.fewest == fewest_by_force(network, node.name, unsafe, points, 0.01)
    hidden = placed.change(activations(network, points)[node.name], points)
    last = network.nodes[-1].operator
    assert (row @ (hidden @ last.weight.T + last.bias).T >= threshold + 0.01 - 1e-6).all()


def test_gates_in_an_earlier_layer_are_encoded_exactly() -> None:
    network, prop = violated_sometimes(0)
    node = next(n for n in gateable(network) if isinstance(n.operator, Relu))
    points = np.random.default_rng(0).uniform(-1, 1, (10, 2))
    layer = layer_of(network, node, np.arange(10))
    wanted = Wanted(prop.regions[0].unsafe, points, 0.01, np.zeros((0, 2)))
    placed = place_gates(network, layer, wanted, most=None, solver="highs", seconds=20, seed=0)
    assert placed is not None
    _, outputs = overridden(network, layer, placed.change, points)
    assert (prop.violation(points, outputs) <= -0.01 + 1e-6).all()


def region_of(*conjunctions: tuple[list[list[float]], list[float]]) -> Region:
    unsafe = tuple(
        Conjunction(np.array(rows), np.zeros((len(rows), 1)), np.array(bound)) for rows, bound in conjunctions
    )
    return Region(np.zeros(1), np.ones(1), unsafe)


@pytest.mark.parametrize(
    "region",
    [
        region_of(([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]], [0.0, 0.0])),
        region_of(([[1.0, -1.0, 0.0]], [0.0]), ([[1.0, 0.0, -1.0]], [0.0])),
        region_of(([[0.5, 2.0, 0.0]], [0.25]), ([[0.0, 1.0, 1.0]], [-1.0])),
        region_of(([[1.0, 0.0, 0.0]], [0.5]), ([[1.0, 0.0, 0.0]], [0.75])),
        region_of(([[-1.0, 0.0, 0.0]], [-0.5]), ([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.0, 0.0])),
    ],
)
def test_a_shield_breaks_every_conjunction_and_leaves_what_is_fine(region: Region) -> None:
    rng = np.random.default_rng(0)
    points, outputs = rng.random((200, 1)), rng.normal(size=(200, 3))
    found = shield(region, points, outputs)
    assert found is not None
    more = rng.normal(size=(2000, 3)) * 3
    x = rng.random((2000, 1))
    moved = found(more, x)
    assert (region.violation(x, moved) < 0).all()
    fine = (more @ found.output.T + x @ found.input.T >= found.bound).all(axis=1)
    np.testing.assert_array_equal(moved[fine], more[fine])


def test_a_safe_set_without_scores_is_said_to_be_empty() -> None:
    """The conjunction between the contradicting ones is not named: without it they contradict, too."""
    region = region_of(([[1.0, 0.0]], [1.0]), ([[0.0, 1.0]], [0.0]), ([[-1.0, 0.0]], [0.0]))
    assert shield(region, np.zeros((0, 1)), np.zeros((0, 2))) is None
    (found,) = contradictions(region)
    assert found.owner == (0, 2)
    network = dense_network(0, [1, 4, 2])
    prop = Property((region,), 1, 2)
    fix = rs.repair(network, prop, method="gate", place="output", limits=LIMITS)
    assert fix.status is RepairStatus.INFEASIBLE
    assert "Y_0 > 1 (of conjunction 1) and -Y_0 > 0 (of conjunction 3) contradict each other" in fix.message
    assert "conjunction 2" not in fix.message
    assert fix.network is None


def test_scores_that_would_have_to_differ_both_ways_contradict() -> None:
    """Only equal scores lie between the half-spaces, strictly nothing; hidden neurons are not tried."""
    region = region_of(([[1.0, -1.0]], [0.0]), ([[-1.0, 1.0]], [0.0]))
    (found,) = contradictions(region)
    assert found.owner == (0, 1)
    fix = rs.repair(dense_network(0, [1, 4, 2]), Property((region,), 1, 2), method="gate", limits=LIMITS)
    assert fix.status is RepairStatus.INFEASIBLE
    assert "Y_0 - Y_1 > 0 (of conjunction 1) and -Y_0 + Y_1 > 0 (of conjunction 2)" in fix.message
    assert "hidden" not in fix.message


def test_a_narrow_choice_of_scores_is_no_contradiction() -> None:
    """One in ten million between two half-spaces: less than solvers of linear programs tell apart."""
    assert not contradictions(region_of(([[1.0, 0.0]], [1.0]), ([[-1.0, 0.0]], [-1.0 - 1e-7])))


@pytest.mark.parametrize("more", [61, 62])
def test_choices_that_were_not_all_tried_are_no_contradiction(more: int) -> None:
    """2^63 and 2^64 choices of rows, more than 64 bits hold; those that are tried contradict, others not."""
    first = ([[1.0, 0.0], [0.0, 1.0]], [1.0, 50.0])
    second = ([[-1.0, 0.0], [0.0, 1.0]], [0.0, 50.0])
    rest = [([[1.0, 0.0], [0.0, 1.0]], [-10.0 - k, -20.0 - k]) for k in range(more)]
    region = region_of(first, second, *rest)
    scores = np.array([[0.0, 60.0]])
    assert (region.violation(np.zeros((1, 1)), scores) < 0).all(), "these scores are safe"
    assert "no scores are safe" not in explained(region, 0)
    prop = Property((region,), 1, 2)
    fix = rs.repair(dense_network(0, [1, 4, 2]), prop, method="gate", place="output", limits=LIMITS)
    assert fix.status is not RepairStatus.INFEASIBLE


def test_regions_without_a_common_input_make_no_joint_demands() -> None:
    """Two regions of all inputs, and within them two apart, of which one wants y_0 > 1, the other y_0 < 0."""
    low, high, other = (([[1.0, 0]], [1.0]), ([[-1.0, 0]], [0.0]), ([[0.0, 1]], [9.0]))
    parts = [(0.0, 1.0, other), (0.0, 1.0, other), (0.0, 0.4, low), (0.6, 1.0, high)]
    regions = tuple(replace(region_of(u), lower=np.array([a]), upper=np.array([b])) for a, b, u in parts)
    network, prop = dense_network(0, [1, 4, 2]), Property(regions, 1, 2)
    for place in overlaps(prop, whole_regions(prop)):
        every = (place.region, *place.others)
        assert max(regions[k].lower[0] for k in every) <= min(regions[k].upper[0] for k in every)
    fix = rs.repair(network, prop, method="gate", place="output", limits=LIMITS, certificate=True)
    require_repaired(fix, network, prop)


def test_regions_that_share_a_face_make_joint_demands() -> None:
    low, high = ([[1.0, 0]], [1.0]), ([[-1.0, 0]], [0.0])
    regions = tuple(
        replace(region_of(u), lower=np.array([a]), upper=np.array([b]))
        for a, b, u in [(0.0, 0.5, low), (0.5, 1.0, high)]
    )
    prop = Property(regions, 1, 2)
    fix = rs.repair(dense_network(0, [1, 4, 2]), prop, method="gate", limits=LIMITS)
    assert fix.status is RepairStatus.INFEASIBLE


@pytest.mark.parametrize("seed", range(6))
def test_contradictions_are_irreducible(seed: int) -> None:
    """Whole numbers, by z3: what is said to contradict has no scores, and has some without any row."""
    z3 = pytest.importorskip("z3")
    rng = np.random.default_rng(seed)
    rows, bounds = rng.integers(-2, 3, (5, 2)).astype(float), rng.integers(-1, 3, 5).astype(float)
    region = region_of(*(([row.tolist()], [bound]) for row, bound in zip(rows, bounds, strict=True)))
    y = z3.Reals("a b")

    def possible(picked: np.ndarray, bound: np.ndarray) -> bool:
        solver = z3.Solver()
        for row, least in zip(picked, bound, strict=True):
            solver.add(sum(int(c) * v for c, v in zip(row, y, strict=True)) > int(least))
        return bool(solver.check() == z3.sat)

    found = contradictions(region)
    assert bool(found) == (not possible(rows, bounds))
    for picked in found:
        assert not possible(picked.output, picked.bound)
        for k in range(len(picked.bound)):
            assert possible(np.delete(picked.output, k, 0), np.delete(picked.bound, k))
    assert not found or "region 8" in explained(region, 7)


def test_most_of_the_time_is_for_a_violation_that_is_hard_to_find(monkeypatch: pytest.MonkeyPatch) -> None:
    network, prop = violated_sometimes(1)
    given = []

    def undecided(*_: object, limits: rs.Limits, **__: object) -> Verdict:
        given.append(limits.seconds)
        return Verdict(VerifyStatus.TIMEOUT, None)

    monkeypatch.setattr(method, "attack", lambda *_, **__: ())
    monkeypatch.setattr(method, "verify_property", undecided)
    fix = rs.repair(network, prop, method="gate", limits=rs.Limits(seconds=100))
    assert fix.status is RepairStatus.TIMEOUT
    assert 50 < given[0] < 100


def test_the_share_of_a_region_that_boxes_cover() -> None:
    """A fixed input is met or not; two gates of one box count once; a region is covered at most once."""
    region = Region(np.array([0.0, 0, 3]), np.array([2.0, 4, 3]), ())
    prop = Property((region,), 3, 2)
    box = np.array([-9.0, 1, 3]), np.array([1.0, 2, 9])
    assert covered_share(prop, [box, box]) == 1 / 8
    assert covered_share(prop, [box, (np.array([1.5, 0, 3]), np.array([2.0, 4, 3]))]) == 3 / 8
    assert covered_share(prop, [(np.full(3, -np.inf), np.array([np.inf, np.inf, 2.9]))]) == 0
    whole = np.full(3, -np.inf), np.full(3, np.inf)
    assert covered_share(prop, [whole, box]) == 1


def test_few_boxes_cover_many() -> None:
    rng = np.random.default_rng(0)
    centres = np.concatenate([rng.normal([0, 0], 0.1, (600, 2)), rng.normal([5, 5], 0.1, (600, 2))])
    lower, upper = cover(centres - 0.05, centres + 0.05, np.array([10.0, 10.0]), 4)
    assert len(lower) == 2
    inside = ((centres[:, None] >= lower) & (centres[:, None] <= upper)).all(axis=2).any(axis=1)
    assert inside.all()


def test_places_hold_fixed_inputs_that_no_float32_number_is() -> None:
    network = dense_network(0, [3, 4, 2])
    unsafe = Conjunction(np.eye(2), np.zeros((2, 3)), np.zeros(2))
    prop = Property((Region(np.array([0.1, -1, 0.3]), np.array([0.1, 1, 0.3]), (unsafe,)),), 3, 2)
    points = into_box(np.array([[0.0, 0.5, 0.0], [0.0, 0.25, 1.0]]), prop.regions[0], network.element)
    (place,) = places_around(network, prop, points, most=4)
    assert (place.lower <= [0.1, 0.25, 0.3]).all()
    assert (place.upper >= [0.1, 0.5, 0.3]).all()


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"place": "somewhere"}, "place"),
        ({"max_gates": 0}, "max_gates"),
        ({"layers": "all", "norm": "linf"}, "layers, norm"),
        ({"keep": rs.PointSet(np.zeros((1, 2)), np.zeros(1, int))}, "points"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(wishes: dict[str, object], reason: str) -> None:
    network, prop = violated_sometimes(0)
    with pytest.raises(EditError, match=reason):
        rs.repair(network, prop, method="gate", **wishes)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["delta", "imitation"])
def test_weights_of_a_gated_network_are_not_changed(method: Literal["delta", "imitation"]) -> None:
    network, prop = violated_sometimes(0)
    fix = rs.repair(network, prop, method="gate", place="output", limits=LIMITS)
    with pytest.raises(EditError, match=f"gates, and method '{method}' changes weights"):
        rs.repair(fix.network, prop, method=method)


@pytest.mark.parametrize("measure", ["difference", "normalised", "gradient", "bounds"])
def test_neurons_of_a_gated_network_are_ranked_without_slopes(
    measure: Literal["difference", "normalised", "gradient", "bounds"],
) -> None:
    network, prop = violated_sometimes(0)
    node = gateable(network)[-1]
    nothing = Override(np.array([0]), np.ones(1), np.ones(1), np.full(1, -np.inf), np.full(1, np.inf))
    gate = NewGate(node.name, node.layer, np.full((1, 2), 5.0), np.full((1, 2), 6.0), nothing)
    gated = add_gates(network, [gate])
    if measure in ("gradient", "bounds"):
        with pytest.raises(EditError, match=f"gates, at which slopes end.*{measure}"):
            rs.localise(gated, prop, measure=measure)
    else:
        found, before = (rs.localise(net, prop, measure=measure) for net in (gated, network))
        assert [n.index for n in found.ranked(3)] == [n.index for n in before.ranked(3)]


def test_the_edit_is_printed_saved_and_applied(tmp_path: Path) -> None:
    network, prop = violated_sometimes(1)
    fix = rs.repair(network, prop, method="gate", limits=LIMITS, monitor=True)
    assert isinstance(fix.edit, rs.Gates)
    points = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    text = fix.edit.describe(points=points)
    assert "of 100 inputs" in text
    assert "X_0 [" in text
    fix.edit.save(tmp_path / "gates.json")
    assert rs.apply_edit(network, tmp_path / "gates.json").model == fix.network.model
    with pytest.raises(EditError, match="belong"):
        rs.apply_edit(dense_network(77, [2, 3, 3]), tmp_path / "gates.json")
    with pytest.raises(EditError, match="json"):
        fix.edit.save(tmp_path / "gates.npz")


def test_an_override_says_what_it_does() -> None:
    none, every = -np.inf, np.inf
    change = Override(
        np.array([0, 1, 2, 3]), np.array([1, 1, 0.5, 1]), np.array([0, 0.25, -1, 0]),
        np.array([2, none, none, 0]), np.array([2, every, 3, every]),
    )  # fmt: skip
    assert change.sentences("h") == [
        "h: neuron 0 is 2",
        "h: neuron 1 moved by +0.25",
        "h: neuron 2 is 0.5 of itself - 1, at most 3",
        "h: neuron 3 at least 0",
    ]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_line_from_repair_to_removal(tmp_path: Path) -> None:
    network, prop = violated_sometimes(1)
    rs.save_network(network, tmp_path / "net.onnx")
    rs.save_property(prop, tmp_path / "prop.vnnlib")
    files = tmp_path / "net.onnx", tmp_path / "prop.vnnlib"
    gated, proof = tmp_path / "gated.onnx", tmp_path / "proof.cert"
    said = run("repair", *files, "-o", gated, "--method", "gate", "--place", "output", "--monitor",
               "--timeout", 30, "--certificate", proof, "--quiet")  # fmt: skip
    assert said.startswith("repaired\n")
    assert (tmp_path / "gated.gates.json").exists()
    assert run("verify", gated, files[1], "--quiet").startswith("unsat")
    assert run("check", proof, "--network", gated, "--property", files[1]).startswith("valid")
    listed = run("gates", gated)
    assert listed.startswith("gates\n")
    assert "tells which gates are on" in listed
    np.savez(tmp_path / "points.npz", inputs=np.zeros((4, 2)))
    record = json.loads(run("gates", gated, "--json", "--data", tmp_path / "points.npz"))
    assert record["result"] == "gates"
    assert record["gates"][0]["on"] in (0.0, 1.0)
    assert run("gates", gated, "--remove", "-o", tmp_path / "back.onnx").startswith("removed")
    assert (tmp_path / "back.onnx").read_bytes() == network.model
    assert run("gates", files[0]).startswith("none")
    again = run("apply", files[0], tmp_path / "gated.gates.json", "-o", tmp_path / "again.onnx")
    assert again.startswith("applied")
    assert (tmp_path / "again.onnx").read_bytes() == gated.read_bytes()


def test_gates_of_others_are_listed_as_such(tmp_path: Path) -> None:
    from test_conditions import Logic

    data = Logic(0).build()
    (tmp_path / "other.onnx").write_bytes(data)
    assert gates_of(load_network(data))
    assert run("gates", tmp_path / "other.onnx").startswith("unrecognised")
    result = CliRunner().invoke(
        app, ["gates", str(tmp_path / "other.onnx"), "--remove", "-o", str(tmp_path / "x.onnx")]
    )
    assert result.exit_code == 1


def test_repairs_of_weights_take_no_wishes_of_gates() -> None:
    network, prop = violated_sometimes(0)
    with pytest.raises(EditError, match="place, monitor"):
        rs.repair(network, prop, method="delta", place="inner", monitor=True)
