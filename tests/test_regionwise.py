"""Many regions with many inputs: attacked together, verified one by one, repaired by training on bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import repairsolver as rs
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.layer import find_layers
from repairsolver.repairing.delta.regionwise import attack_regions
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.training import _Training, trainable, trained
from repairsolver.results import Array
from repairsolver.verification.regionwise import many_regions, verify_regions

INPUTS, OUTPUTS, BALLS, RADIUS = 20, 3, 5, 0.08


def decided(network: rs.Network, points: Array) -> np.ndarray:
    return rs.replay(network, points).argmax(axis=1)


def balls(centres: Array, labels: np.ndarray, radius: float = RADIUS) -> rs.Property:
    found = [
        rs.local_robustness(x, radius, int(label), OUTPUTS, lower=0.0, upper=1.0)
        for x, label in zip(centres, labels, strict=True)
    ]
    return rs.Property(tuple(r for p in found for r in p.regions), INPUTS, OUTPUTS, name="balls")


@pytest.fixture(scope="module")
def network() -> rs.Network:
    """20-16-12-3, random but for the spread of its weights."""
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Linear(INPUTS, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, OUTPUTS)
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2.0)
    return rs.load_network(module, input_shape=(1, INPUTS))


@pytest.fixture(scope="module")
def centres() -> Array:
    return np.random.default_rng(0).integers(0, 256, size=(BALLS, INPUTS)) / 256


@pytest.fixture(scope="module")
def wrong(network: rs.Network, centres: Array) -> rs.Property:
    """Balls of which every second one must get another label than the network gives its middle."""
    labels = decided(network, centres)
    labels[::2] = (labels[::2] + 1) % OUTPUTS
    return balls(centres, labels)


def training(network: rs.Network, prop: rs.Property) -> _Training:
    layer = find_layers(network, Choice("all", "both", None, None))
    return _Training(network, prop, layer, None, 0.1, np.array(np.inf), 0)  # type: ignore[arg-type]


def test_only_several_regions_with_many_inputs_are_taken_one_by_one(wrong: rs.Property) -> None:
    assert many_regions(wrong)
    assert not many_regions(rs.Property(wrong.regions[:1], INPUTS, OUTPUTS))
    narrow = rs.Property(
        tuple(
            type(r)(np.where(np.arange(INPUTS) < 3, r.lower, r.upper), r.upper, r.unsafe)
            for r in wrong.regions
        ),
        INPUTS,
        OUTPUTS,
    )
    assert not many_regions(narrow)


def test_the_attack_finds_points_of_every_violated_region(network: rs.Network, wrong: rs.Property) -> None:
    none = np.zeros((0, INPUTS))
    found = attack_regions(network, wrong, none, least=0.0, seed=0, seconds=60)
    assert (wrong.violation(found, rs.replay(network, found)) >= 0).all()
    hit = [bool(region.contains(found).any()) for region in wrong.regions]
    assert hit[::2] == [True, True, True]  # their middles violate already


def test_the_attack_with_a_margin_counts_near_misses(network: rs.Network, centres: Array) -> None:
    right = balls(centres, decided(network, centres), 1e-4)
    none = np.zeros((0, INPUTS))
    assert not len(attack_regions(network, right, none, least=0.0, seed=0, seconds=60))
    near = attack_regions(network, right, none, least=-100.0, seed=0, seconds=60)
    assert all(region.contains(near).any() for region in right.regions)


def test_regions_are_verified_one_by_one(network: rs.Network, centres: Array) -> None:
    labels = decided(network, centres)
    labels[1] = (labels[1] + 1) % OUTPUTS
    prop = balls(centres, labels, 1e-4)
    verdict = verify_regions(network, prop, limits=rs.Limits())
    assert verdict.status == "violated"
    assert verdict.proved_regions == (0, 2, 3, 4)
    assert all(prop.regions[1].contains(c.input[None])[0] for c in verdict.counterexamples)
    early = verify_regions(network, prop, limits=rs.Limits(), order=[1, 0, 2, 3, 4], enough=1)
    assert early.status == "violated"
    assert early.proved_regions == ()
    labels[1] = decided(network, centres)[1]
    assert verify_regions(network, balls(centres, labels, 1e-4), limits=rs.Limits()).status == "holds"


def test_no_time_proves_nothing(network: rs.Network, wrong: rs.Property) -> None:
    verdict = verify_regions(network, wrong, limits=rs.Limits(seconds=1e-9))
    assert verdict.status == "timeout"
    assert verdict.proved_regions == ()


@pytest.mark.parametrize("width", [0.3, 1.0])
def test_bounds_lie_below_what_samples_reach(network: rs.Network, wrong: rs.Property, width: float) -> None:
    search = training(network, wrong)
    rng = np.random.default_rng(1)
    for change in search.change.values():
        change.data += torch.tensor(0.05 * rng.normal(size=change.shape), dtype=torch.float32)
    bounds = search.bounds(width).detach().numpy()
    edited, row = search.layer.edited(search.delta()), 0
    for region in wrong.regions:
        middle, radius = (region.lower + region.upper) / 2, width * (region.upper - region.lower) / 2
        points = rng.uniform(middle - radius, middle + radius, size=(500, INPUTS))
        for conjunction in region.unsafe:
            assert bounds[row] <= -conjunction.violation(points, edited(points)).max() + 1e-5
            row += 1
    assert row == len(bounds)


def test_training_respects_what_may_change(
    network: rs.Network, wrong: rs.Property, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repairsolver.repairing.delta.training.MOST_STEPS", 250)
    layer = find_layers(network, Choice(network.affine_layers[0].layer, "weights", None, None))
    assert trainable(network, layer)
    requirements = Requirements(network, layer)
    delta = trained(network, wrong, requirements, margin=0.1, reach=np.array(0.01), seconds=60, seed=0)
    assert delta is not None
    assert delta.shape == (16 * INPUTS,)
    assert 0 < np.abs(delta).max() <= 0.01 + 1e-7


def test_all_balls_are_repaired_and_proved(network: rs.Network, wrong: rs.Property) -> None:
    fix = rs.repair(network, wrong, layers="all", limits=rs.Limits(seconds=300, rounds=18))
    assert fix.status == "repaired"
    assert fix.verdict is not None
    assert fix.verdict.proved_regions == tuple(range(BALLS))
    assert fix.network is not None
    rng = np.random.default_rng(2)
    for region in wrong.regions:
        points = rng.uniform(region.lower, region.upper, size=(2000, INPUTS)).astype(np.float32)
        inside = np.clip(points.astype(np.float64), region.lower, region.upper)
        assert (region.violation(inside, rs.replay(fix.network, inside)) < 0).all()
        alone = rs.Property((region,), INPUTS, OUTPUTS)
        assert rs.verify(fix.network, alone).status == "holds"


def test_what_cannot_be_repaired_is_not_called_repaired(network: rs.Network, centres: Array) -> None:
    """Two of the balls are the same and ask for different labels."""
    labels = decided(network, centres)
    twice, asked = np.concatenate([centres, centres[:1]]), np.append(labels, (labels[0] + 1) % OUTPUTS)
    fix = rs.repair(network, balls(twice, asked), layers="all", limits=rs.Limits(seconds=8))
    assert fix.status != "repaired"
    assert not fix.proved
    if fix.verdict is not None and fix.verdict.proved_regions is not None:
        assert not {0, BALLS} <= set(fix.verdict.proved_regions)
