"""Regions given up for points to keep: the dearest, named, and never a claim about the property as given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import repairsolver as rs
from repairsolver.errors import EditError
from repairsolver.property.specification import Conjunction, Region
from repairsolver.repairing.delta.giving_up import without
from repairsolver.results import RepairStatus, VerifyStatus

BAD = 7
"""The region that wants another label than a hundred kept points in it have."""


@pytest.fixture(scope="module")
def network() -> rs.Network:
    torch.manual_seed(0)
    return rs.load_network(
        nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)),
        input_shape=(1, 2),
    )


def box(middle: np.ndarray, radius: float, label: int) -> Region:
    """In which a label must be decided."""
    row = np.eye(2)[label] - np.eye(2)[1 - label]
    unsafe = Conjunction(row[None], np.zeros((1, 2)), np.zeros(1))
    return Region(middle - radius, middle + radius, (unsafe,))


@pytest.fixture(scope="module")
def prop(network: rs.Network) -> rs.Property:
    """Boxes as they are decided, but for two: one with few and one with very many points to keep."""
    middles = np.stack(np.meshgrid(np.linspace(-3, 3, 6), np.linspace(-3, 3, 4)), axis=-1).reshape(-1, 2)
    labels = rs.replay(network, middles).argmax(axis=1)
    turned = [k in (BAD, 2) for k in range(len(middles))]
    regions = tuple(
        box(m, 0.2, int(1 - label if turn else label))
        for m, label, turn in zip(middles, labels, turned, strict=True)
    )
    return rs.Property(regions, 2, 2, name="boxes")


@pytest.fixture(scope="module")
def keep(network: rs.Network, prop: rs.Property) -> rs.PointSet:
    """Everywhere but in the other boxes, and very many in the one that wants another label."""
    rng = np.random.default_rng(4)
    region = prop.regions[BAD]
    inside = rng.uniform(region.lower, region.upper, (400, 2))
    around = rng.uniform(-4, 4, (200, 2))
    free = ~np.any([r.contains(around) for r in prop.regions], axis=0)
    points = np.concatenate([inside, around[free]]).astype(np.float32).astype(np.float64)
    return rs.PointSet(points, rs.replay(network, points).argmax(axis=1))


def test_the_region_that_costs_most_is_given_up_and_named(
    network: rs.Network, prop: rs.Property, keep: rs.PointSet
) -> None:
    fix = rs.repair(
        network, prop, layers="all", keep=keep, keep_soft=1.0, give_up=1, limits=rs.Limits(seconds=40)
    )
    assert fix.given_up == (BAD,)
    assert fix.verdict is not None
    assert fix.verdict.proved_regions == tuple(k for k in range(len(prop.regions)) if k != BAD)
    assert fix.status in (RepairStatus.UNKNOWN, RepairStatus.TIMEOUT)
    assert not fix.proved
    assert fix.verdict.status is not VerifyStatus.HOLDS
    told = f"23 of 24 regions; 1 was given up, as it costs most of the points to keep: {BAD + 1}"
    assert told in fix.message  # messages count from 1
    assert fix.network is not None
    rng = np.random.default_rng(0)
    for k, region in enumerate(prop.regions):
        points = rng.uniform(region.lower, region.upper, (500, 2))
        wrong = prop.violation(points, rs.replay(fix.network, points)) > 0
        assert wrong.any() == (k == BAD)
    after = rs.replay(fix.network, keep.inputs).argmax(axis=1)
    assert (after == keep.labels).mean() > 0.9


def test_without_giving_up_the_same_points_are_lost(
    network: rs.Network, prop: rs.Property, keep: rs.PointSet
) -> None:
    fix = rs.repair(network, prop, layers="all", keep=keep, keep_soft=1.0, limits=rs.Limits(seconds=40))
    assert fix.given_up == ()
    if fix.status is RepairStatus.REPAIRED and fix.network is not None:
        after = rs.replay(fix.network, keep.inputs).argmax(axis=1)
        assert (after == keep.labels).mean() < 0.6


def test_regions_keep_their_numbers(prop: rs.Property) -> None:
    less = without(prop, [2, 5])
    assert len(less.regions) == len(prop.regions)
    assert [k for k, region in enumerate(less.regions) if not region.unsafe] == [2, 5]


def test_where_regions_have_no_price(network: rs.Network, prop: rs.Property, keep: rs.PointSet) -> None:
    with pytest.raises(EditError, match="take layers='all'"):
        rs.repair(network, prop, keep=keep, keep_soft=1.0, give_up=1)
    with pytest.raises(EditError, match=r"at least 20 .* give_up=5 leaves 19: lower it"):
        rs.repair(network, prop, layers="all", keep=keep, keep_soft=1.0, give_up=5)
    with pytest.raises(EditError, match="give keep"):
        rs.repair(network, prop, layers="all", give_up=1)
    with pytest.raises(EditError, match=r"give_up is 24, but .* 24 regions .* expected 0 to 23"):
        rs.repair(network, prop, layers="all", keep=keep, give_up=24)
    with pytest.raises(EditError, match="does not use give_up"):
        rs.repair(network, prop, method="gate", give_up=1)
