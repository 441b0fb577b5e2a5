"""Changes for many regions at once: detectors in spare neurons, training at worst points, the way back."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

import repairsolver as rs
from repairsolver.property.specification import Conjunction, Region
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.detectors import Detectors, Wanted, find_detectors
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.layer import find_layers
from repairsolver.repairing.delta.overlap import overlapping_contradiction
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.spare import certain, rewired
from repairsolver.repairing.delta.worst import WorstPoints
from repairsolver.results import Array
from repairsolver.verification.regionwise import many_regions, splits_inputs, verify_regions

INPUTS, OUTPUTS, HIDDEN, IDLE = 20, 3, 24, 10


@pytest.fixture(scope="module")
def network() -> rs.Network:
    """20-24-24-3 with neurons in both hidden layers that never wake."""
    torch.manual_seed(5)
    first, second, last = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, OUTPUTS)
    with torch.no_grad():
        for layer in (first, second, last):
            layer.weight.mul_(2.0)
        for layer in (first, second):
            layer.bias[:IDLE] = -100.0
    module = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
    return rs.load_network(module, input_shape=(1, INPUTS))


@pytest.fixture(scope="module")
def kept() -> Array:
    return np.random.default_rng(1).integers(0, 256, size=(300, INPUTS)) / 256


def decided(network: rs.Network, points: Array) -> np.ndarray:
    return rs.replay(network, points).argmax(axis=1)


def balls(centres: Array, labels: np.ndarray, radius: float) -> rs.Property:
    found = [
        rs.local_robustness(x, radius, int(label), OUTPUTS, lower=0.0, upper=1.0)
        for x, label in zip(centres, labels, strict=True)
    ]
    return rs.Property(tuple(r for p in found for r in p.regions), INPUTS, OUTPUTS, name="balls")


@pytest.fixture(scope="module")
def wrong(network: rs.Network) -> rs.Property:
    """Six small balls that must all be decided otherwise than their middles are."""
    centres = np.random.default_rng(2).integers(0, 256, size=(6, INPUTS)) / 256
    return balls(centres, (decided(network, centres) + 1) % OUTPUTS, 0.03)


def required(network: rs.Network, kept: Array, choice: str = "all", penalty: float = 1.0) -> Requirements:
    layer = find_layers(network, Choice(choice, "both", None, None))
    requirements = Requirements(network, layer)
    requirements.decide(kept, decided(network, kept), "max", role="keep", penalty=penalty)
    return requirements


def test_detectors_are_positive_on_their_boxes_and_negative_at_harmed_points(kept: Array) -> None:
    rng = np.random.default_rng(0)
    middle, target = rng.uniform(0, 1, (7, INPUTS)), np.array([0, 0, 0, 1, 1, 1, 1])
    harmed = np.stack([np.arange(len(kept)) % 2 == 0, np.ones(len(kept), dtype=bool)], axis=1)
    wanted = Wanted(middle, np.full((7, INPUTS), 0.02), target, kept, harmed)
    found = find_detectors(wanted, 5, seconds=60, seed=0)
    assert isinstance(found, Detectors)
    assert len(found.weight) <= 5
    assert (found.target[found.used] == target).all()
    for box in range(7):
        inside = middle[box] + rng.choice([-0.02, 0.02], size=(500, INPUTS))
        values = inside @ found.weight.T + found.bias
        assert (values[:, found.used[box]] > 0).all()
    assert not ((kept @ found.weight.T + found.bias > 0) & harmed[:, found.target]).any()


def test_spare_neurons_repair_balls_and_keep_decisions(
    network: rs.Network, wrong: rs.Property, kept: Array
) -> None:
    fix = rs.repair(
        network, wrong, layers="all", keep=rs.PointSet(kept), limits=rs.Limits(seconds=120), seed=0
    )
    assert fix.status == "repaired"
    assert fix.network is not None
    assert fix.verdict is not None
    assert fix.verdict.proved_regions == tuple(range(6))
    assert (decided(fix.network, kept) == decided(network, kept)).all()
    fresh = np.random.default_rng(9).integers(0, 256, size=(2000, INPUTS)) / 256
    assert (decided(fix.network, fresh) == decided(network, fresh)).mean() > 0.95
    rng = np.random.default_rng(3)
    for region in wrong.regions:
        inside = np.clip(
            rng.uniform(region.lower, region.upper, (500, INPUTS)).astype(np.float32).astype(np.float64),
            region.lower,
            region.upper,
        )
        assert (region.violation(inside, rs.replay(fix.network, inside)) < 0).all()


def test_only_awake_neurons_that_no_point_wakes_are_rewired(
    network: rs.Network, wrong: rs.Property, kept: Array
) -> None:
    requirements = required(network, kept, penalty=np.inf)
    delta = rewired(network, wrong, requirements, unit=1.0, seconds=60, seed=0)
    assert delta is not None
    layer = requirements.layer
    assert isinstance(layer, HiddenLayers)
    first = layer.edited(delta).nodes[0].operator
    before = network.nodes[0].operator
    assert not np.abs(first.weight - before.weight)[IDLE:].any()  # type: ignore[union-attr]


@pytest.mark.parametrize("choice", ["last", "first"])
def test_new_work_needs_the_whole_chain(
    network: rs.Network, wrong: rs.Property, kept: Array, choice: str
) -> None:
    name = network.affine_layers[0].layer if choice == "first" else "last"
    assert rewired(network, wrong, required(network, kept, name), unit=1.0, seconds=10, seed=0) is None


def test_without_points_nothing_is_spare(network: rs.Network, wrong: rs.Property) -> None:
    requirements = Requirements(network, find_layers(network, Choice("all", "both", None, None)))
    assert rewired(network, wrong, requirements, unit=1.0, seconds=10, seed=0) is None


def test_bounds_call_no_violated_region_right(network: rs.Network) -> None:
    centres = np.random.default_rng(4).integers(0, 256, size=(30, INPUTS)) / 256
    prop = balls(centres, decided(network, centres), 0.02)
    right = certain(network, prop, np.arange(30))
    rng = np.random.default_rng(5)
    for number, region in enumerate(prop.regions):
        inside = rng.uniform(region.lower, region.upper, (500, INPUTS))
        if right[number]:
            assert (region.violation(inside, network(inside)) < 0).all()
    assert 0 < right.sum() < 30


@pytest.fixture(scope="module")
def small() -> rs.Network:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    return rs.load_network(module, input_shape=(1, 2))


@pytest.fixture(scope="module")
def boxes() -> rs.Property:
    """25 boxes of a grid; its left part must be decided otherwise than its right part."""
    regions = []
    for i in range(5):
        for j in range(5):
            low = np.array([i, j]) / 5 + 0.03
            row = np.array([[1.0, -1.0]]) * (1 if i < 3 else -1)
            unsafe = Conjunction(row, np.zeros((1, 2)), np.zeros(1))
            regions.append(Region(low, low + 0.14, (unsafe,)))
    return rs.Property(tuple(regions), 2, 2, name="grid")


def test_many_boxes_with_few_inputs_are_repaired_at_once(small: rs.Network, boxes: rs.Property) -> None:
    assert many_regions(boxes)
    assert splits_inputs(boxes)
    fix = rs.repair(small, boxes, layers="all", limits=rs.Limits(seconds=120), seed=0)
    assert fix.status == "repaired"
    assert fix.network is not None
    points = np.random.default_rng(0).uniform(0, 1, (20000, 2)).astype(np.float32).astype(np.float64)
    assert (boxes.violation(points, rs.replay(fix.network, points)) < 0).all()


def test_training_moves_nothing_but_the_unknowns(small: rs.Network, boxes: rs.Property) -> None:
    layer = find_layers(small, Choice(small.affine_layers[0].layer, "weights", None, None))
    training = WorstPoints(small, boxes, Requirements(small, layer), margin=0.1, reach=np.array(0.02), seed=0)
    before = float(training.lowest.clamp(min=-1e3).sum())
    training.run(30, time.monotonic() + 60)
    assert float(training.lowest.sum()) > before
    delta = training.delta()
    assert delta.shape == (32,)
    assert 0 < np.abs(delta).max() <= 0.02 + 1e-7


def test_counterexamples_are_visited(small: rs.Network, boxes: rs.Property) -> None:
    layer = find_layers(small, Choice("all", "both", None, None))
    training = WorstPoints(
        small, boxes, Requirements(small, layer), margin=0.1, reach=np.array(np.inf), seed=0
    )
    inside = boxes.regions[3].lower + 0.01
    training.visit(inside[None])
    assert np.allclose(training.at[3, 0].numpy(), inside, atol=1e-6)
    assert not np.allclose(training.at[4, 0].numpy(), inside, atol=1e-3)


def test_boxes_at_once_and_one_by_one_agree(small: rs.Network, boxes: rs.Property) -> None:
    verdict = verify_regions(small, boxes, limits=rs.Limits(seconds=60))
    alone = [str(rs.verify(small, rs.Property((region,), 2, 2)).status) for region in boxes.regions]
    expected = tuple(k for k, status in enumerate(alone) if status == "holds")
    assert verdict.proved_regions == expected
    assert verdict.status == ("holds" if len(expected) == 25 else "violated")


def test_regions_that_meet_and_contradict_each_other_are_named(network: rs.Network) -> None:
    """Two balls that touch in one corner ask for different labels there."""
    centres = np.full((3, INPUTS), 0.25)
    centres[1] = 0.75
    centres[2] = 0.5
    labels = np.array([0, 0, 1])
    apart = balls(centres[:2], np.array([0, 1]), 0.125)
    assert overlapping_contradiction(apart) is None
    assert overlapping_contradiction(balls(centres, np.array([0, 1, 2]), 0.0625)) is None
    touching = balls(centres, labels, 0.125)
    core = overlapping_contradiction(touching)
    assert core is not None
    assert {demand.part.partition(",")[0] for demand in core.demands} == {"region 1", "region 3"}
    assert len(core.demands) == 2
    at = core.demands[0].input[None]
    assert all(touching.regions[k].contains(at)[0] for k in (0, 2))
    fix = rs.repair(network, touching, layers="all", limits=rs.Limits(seconds=30))
    assert fix.status == "infeasible"
    assert fix.core is not None
    assert "region 1 and region 3" in fix.message


def test_regions_that_meet_may_ask_for_different_things(network: rs.Network) -> None:
    """Not the first output, and not the second one: the third is right for both."""
    box = np.zeros(INPUTS), np.ones(INPUTS)
    regions = []
    for wrong in (0, 1):
        row = np.array([[0.0, 0.0, 1.0]])
        row[0, wrong] = -1.0
        regions.append(Region(*box, (Conjunction(row, np.zeros((1, INPUTS)), np.zeros(1)),)))
    assert overlapping_contradiction(rs.Property(tuple(regions), INPUTS, OUTPUTS)) is None


def test_rows_in_the_inputs_are_met_exactly() -> None:
    """y > x and y < x - 1/3, rounded, meet nowhere; y > x and y < x + 1e-17 do."""

    def demand(sign: float, bound: float) -> Region:
        row = Conjunction(np.array([[sign]]), np.array([[-sign]]), np.array([bound]))
        return Region(np.zeros(1), np.ones(1), (row,))

    above = demand(1.0, 0.0)
    assert overlapping_contradiction(rs.Property((above, demand(-1.0, 1 / 3)), 1, 1)) is not None
    assert overlapping_contradiction(rs.Property((above, demand(-1.0, 0.0)), 1, 1)) is not None
    assert overlapping_contradiction(rs.Property((above, demand(-1.0, -1e-17)), 1, 1)) is None


def test_a_training_that_takes_all_the_time_ends_the_repair(
    small: rs.Network, boxes: rs.Property, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that takes long comes after it: neither weights for ties nor a lower bound."""

    def never(*_: object) -> None:
        raise AssertionError("the time was up")

    monkeypatch.setattr("repairsolver.repairing.delta.method.spare_decisions", never)
    monkeypatch.setattr("repairsolver.repairing.delta.method.update_bound", never)
    monkeypatch.setattr("repairsolver.repairing.delta.worst.WorstPoints.run", lambda *_: time.sleep(3.0))
    fix = rs.repair(small, boxes, layers="all", limits=rs.Limits(seconds=3.0), seed=0)
    assert fix.status == "timeout"
    assert not fix.proved
