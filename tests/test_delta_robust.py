"""Boxes that are kept whatever the change, the least change that bounds prove on them, and the search."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from delta_networks import dense_network

from repairsolver.network import Network, replay
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.repairing import repair_property
from repairsolver.repairing.delta import robust
from repairsolver.repairing.delta.layer import EditableLayer, find_layer
from repairsolver.repairing.delta.leaves import Leaves, Tiling
from repairsolver.repairing.delta.loop import Session
from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.pseudo_points import CLOSE, Programs
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Array, Event, Limits, RepairStatus, VerifyStatus
from repairsolver.verification.engine import verify_property

NETWORK = dense_network(3, (2, 8, 6, 3))
EVER = float("inf")


def not_largest(network: Network) -> Property:
    """What the network decides most often must not be decided where a row of inputs is positive, too."""
    points = np.random.default_rng(0).uniform(-1, 1, size=(500, 2))
    label = int(np.bincount(network(points).argmax(axis=1)).argmax())
    rows = np.delete(np.eye(3), label, axis=0) - np.eye(3)[label]
    unsafe = Conjunction(rows, np.array([[0.1, 0.0], [0.0, -0.2]]), np.array([0.05, 0.0]))
    return Property((Region(np.full(2, -1.0), np.full(2, 1.0), (unsafe,)),), 2, 3, name="not largest")


PROPERTY = not_largest(NETWORK)


def tiling() -> Tiling:
    return Tiling(NETWORK, PROPERTY, find_layer(NETWORK))


def session() -> Session:
    layer = find_layer(NETWORK)
    made = Session(
        NETWORK,
        PROPERTY,
        layer,
        Requirements(NETWORK, layer),
        Objective(),
        0.01,
        "highs",
        Limits(60.0),
        0,
        None,
    )
    points = np.random.default_rng(1).uniform(-1, 1, size=(3000, 2)).astype(np.float32).astype(np.float64)
    worst = np.argsort(-PROPERTY.violation(points, NETWORK(points)))[:100]
    made.requirements.forbid(PROPERTY, points[worst])
    return made


def some_change(layer: EditableLayer, seed: int) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(scale=0.3, size=layer.size))


def rows_at(tile: Tiling, points: Array, delta: Array) -> Array:
    """The rows of the only conjunction of an edited network at points [b, n], in float64."""
    layer = tile.layer
    hidden, scores = layer.points(NETWORK, points)
    unsafe = PROPERTY.regions[0].unsafe[0]
    moved = scores + layer.effect(hidden, delta)
    return np.asarray(moved @ unsafe.output.T + points @ unsafe.input.T - unsafe.bound)


def split(tile: Tiling, depth: int) -> Leaves:
    leaves = tile.bounded(tile.roots())
    for _ in range(depth):
        leaves = tile.bounded(tile.halves(leaves))
    return leaves


def inside(leaves: Leaves, box: int, seed: int) -> Array:
    low, high = leaves.lower[box].numpy(), leaves.upper[box].numpy()
    return np.asarray(np.random.default_rng(seed).uniform(low, high, size=(400, len(low))))


@pytest.mark.parametrize("seed", range(4))
def test_bounds_hold_on_boxes_whatever_the_change(seed: int) -> None:
    tile = tiling()
    leaves, delta = split(tile, 3), some_change(tile.layer, seed)
    values = tile.values(leaves, delta)
    for box in range(len(leaves)):
        least = rows_at(tile, inside(leaves, box, seed), delta).min(axis=0)
        assert (values[box] <= least + 1e-9).all()
        assert (values[box] > least - 20).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_row_at_its_pseudo_point_is_its_bound_and_bounds_those_of_other_changes(seed: int) -> None:
    tile = tiling()
    layer, leaves, delta = tile.layer, split(tile, 2), some_change(tile.layer, seed)
    rows = np.random.default_rng(seed).integers(0, 2, len(leaves))
    worst, unsafe = tile.worst(leaves, rows, delta), PROPERTY.regions[0].unsafe[0]
    for other in (delta, some_change(layer, seed + 50)):
        scores = tile.scores(worst.hidden) + layer.effect(worst.hidden, other)
        at = (scores @ unsafe.output.T + worst.inputs @ unsafe.input.T - unsafe.bound)[
            np.arange(len(rows)), rows
        ]
        bound = tile.values(leaves, other)[np.arange(len(rows)), rows]
        assert (bound <= at + 1e-9).all()  # concave: every pseudo-point is a cut
        if other is delta:
            np.testing.assert_allclose(worst.value, at, atol=1e-9)
            np.testing.assert_allclose(worst.value, bound, atol=1e-9)


def test_refined_boxes_tile_the_region_and_prove_the_change() -> None:
    tile, made = tiling(), session()
    delta = Programs(made, tile, 0.01, EVER).at_points(1.0)
    assert delta is not None
    before = split(tile, 2)
    leaves, place, share = tile.refined(before, delta, EVER, 10_000)
    assert share == 1
    area = (leaves.upper - leaves.lower).prod(dim=1)
    assert float(area.sum()) == pytest.approx(4.0)
    points = np.random.default_rng(0).uniform(-1, 1, size=(5000, 2))
    assert (rows_at(tile, points, delta).max(axis=1) > 0).all()
    for old, new in enumerate(place):
        if new >= 0:
            torch.testing.assert_close(leaves.lower[int(new)], before.lower[old])


def test_boxes_that_time_does_not_suffice_for_stay() -> None:
    tile, made = tiling(), session()
    delta = Programs(made, tile, 0.01, EVER).at_points(0.3)
    assert delta is not None
    leaves, _, share = tile.refined(tile.roots(), delta, time.perf_counter() - 1, 10_000)
    right = torch.tensor((tile.values(leaves, delta) > 0).any(axis=1))
    area = (leaves.upper - leaves.lower).prod(dim=1)
    assert float(area.sum()) == pytest.approx(4.0)
    assert share < 1
    assert share == pytest.approx(float(area[right].sum()) / 4)
    again, _, share = tile.refined(leaves, delta, EVER, 10_000)
    assert share == 1
    assert len(again) > len(leaves)


@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_the_least_change_that_boxes_prove(norm: str) -> None:
    tile, made = tiling(), session()
    made.objective = Objective(norm, name=norm)
    programs = Programs(made, tile, 0.01, EVER)
    safe = programs.at_points(1.0)
    assert safe is not None
    leaves, _, share = tile.refined(tile.roots(), safe, EVER, 10_000)
    assert share == 1
    found = programs.provable(leaves, safe, EVER)
    assert programs.cost(found) < 0.98 * programs.cost(safe)
    assert (tile.values(leaves, found).max(axis=1) > 0).all()
    # The program over its pseudo-points is a relaxation: no provable change with these rows is cheaper.
    relaxed = programs._solved(programs.margin, programs._groups())
    assert relaxed is not None
    assert programs.cost(found) <= (1 + CLOSE) * programs.cost(relaxed) + 1e-9
    assert programs.cost(relaxed) >= programs.cost(programs.at_points(programs.margin)) - 1e-9  # type: ignore[arg-type]


def test_lower_bounds_do_not_see_pseudo_points() -> None:
    tile, made = tiling(), session()
    names = set(made.requirements.groups)
    programs = Programs(made, tile, 0.01, EVER)
    safe = programs.at_points(1.0)
    assert safe is not None
    leaves, _, _ = tile.refined(tile.roots(), safe, EVER, 10_000)
    programs.provable(leaves, safe, EVER)
    assert len(programs.cuts)
    assert set(made.requirements.groups) == names


def test_a_repair_by_boxes_is_proved_and_reported() -> None:
    events: list[Event] = []
    fix = repair_property(NETWORK, PROPERTY, gap=0.05, limits=Limits(seconds=60), on_event=events.append)
    assert fix.status is RepairStatus.REPAIRED
    assert fix.network is not None
    assert fix.lower_bound <= fix.cost  # type: ignore[operator]
    assert "boxes" in {event.stage for event in events}
    assert verify_property(fix.network, PROPERTY).status is VerifyStatus.HOLDS
    points = np.random.default_rng(2).uniform(-1, 1, (5000, 2)).astype(np.float32).astype(np.float64)
    assert (PROPERTY.violation(points, replay(fix.network, points)) < 0).all()


def test_where_boxes_do_not_apply() -> None:
    made = session()
    assert robust.applicable(made)
    made.objective = Objective("l0", reach=1.0, name="l0")
    assert not robust.applicable(made)
    made = session()
    made.limits = Limits()
    assert not robust.applicable(made)
    made = session()
    made.margin = 0.5
    assert not robust.applicable(made)


def test_a_first_proof_that_misses_its_time_gets_all_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    made, given = session(), list[float]()
    real = robust.verify

    def verify(session: Session, network: Network, seconds: float) -> object:
        given.append(seconds)
        return real(session, network, 0.0 if len(given) == 1 else seconds)

    def late(*arguments: object, **named: object) -> object:
        verdict = verify(*arguments, **named)  # type: ignore[arg-type]
        if len(given) > 1:
            return verdict
        return type(verdict)(VerifyStatus.TIMEOUT, seconds=1.0)  # type: ignore[call-arg]

    monkeypatch.setattr(robust, "verify", late)
    robust.search_boxes(made, 0.5)
    assert len(given) == 2
    assert given[1] > given[0]
    assert made.best is not None


@pytest.mark.parametrize(("sizes", "chosen"), [((20, 40), 40), ((20, 10**9), 20), ((10**8, 10**9), 10**8)])
def test_of_changes_found_the_newest_is_proved_whose_proof_fits(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int], chosen: int
) -> None:
    looked_for = robust._Search(session(), 0.5)
    looked_for.proof, looked_for.boxes = 1.0, 10
    found = iter(robust._Found(np.zeros(1), size) for size in sizes)
    late = iter((False, False, True))
    monkeypatch.setattr(looked_for, "_late", lambda _: next(late))
    monkeypatch.setattr(looked_for, "_next", lambda _: np.zeros(1))
    monkeypatch.setattr(looked_for, "_refined", lambda *_: True)
    monkeypatch.setattr(looked_for, "_smaller", lambda _: next(found))
    newest = looked_for._round(robust._Found(np.zeros(1), 10))
    assert newest is not None
    assert newest.boxes == chosen


def test_a_finer_tiling_is_too_late_where_its_proof_would_not_fit() -> None:
    looked_for = robust._Search(session(), 0.5)
    looked_for.proof, looked_for.boxes = 1.0, 10
    assert not looked_for._late(robust._Found(np.zeros(1), 10))
    assert looked_for._late(robust._Found(np.zeros(1), 10**6))
    looked_for.round = looked_for._left
    assert looked_for._late(robust._Found(np.zeros(1), 10))


def test_a_first_tiling_that_is_nearly_done_gets_as_much_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for, shares = robust._Search(session(), 0.5), iter((0.9, 0.96, 1.0))
    levels: list[float] = []

    def refined(*_: object) -> bool:
        levels.append(looked_for.level)
        looked_for.share = next(shares)
        return looked_for.share == 1

    monkeypatch.setattr(looked_for, "_refined", refined)
    assert looked_for._first() is not None
    assert levels[0] < levels[1] == levels[2]
