"""The whole repair: proved, sampled, bounded from below; and every way in which it can end otherwise."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from delta_networks import dense_network

from repairsolver.errors import EditError, PointSetError, PropertyError, SolverUnavailableError
from repairsolver.network import Network, load_network, replay
from repairsolver.property import PointSet, load_property, output_order
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.repairing import Repair, repair_property
from repairsolver.repairing.delta import loop, margin_search
from repairsolver.repairing.delta.candidate import Candidate
from repairsolver.repairing.delta.layer import find_layer
from repairsolver.repairing.delta.margin import Margins
from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Event, Limits, RepairStatus, Verdict, VerifyStatus
from repairsolver.verification.engine import verify_property

NETWORK = dense_network(0, (2, 6, 3))
LIMITS = Limits(seconds=120.0)


def not_largest(network: Network, label: int) -> Property:
    m, n = network.output_size, network.input_size
    rows = np.delete(np.eye(m), label, axis=0) - np.eye(m)[label]
    unsafe = Conjunction(rows, np.zeros((m - 1, n)), np.zeros(m - 1))
    return Property((Region(np.full(n, -1.0), np.full(n, 1.0), (unsafe,)),), n, m, name="not largest")


def violated_property(network: Network) -> Property:
    """What the network decides most often in the box is forbidden."""
    points = np.random.default_rng(0).uniform(-1, 1, size=(500, network.input_size))
    return not_largest(network, int(np.bincount(network(points).argmax(axis=1)).argmax()))


def assert_guarantee(fix: Repair, network: Network, prop: Property) -> None:
    assert fix.status is RepairStatus.REPAIRED
    assert fix.network is not None
    assert fix.edit is not None
    assert fix.cost is not None
    assert fix.proved
    points = np.random.default_rng(9).uniform(-1, 1, size=(10_000, network.input_size))
    points = points.astype(np.float32).astype(np.float64)
    assert (prop.violation(points, replay(fix.network, points)) < 0).all()
    assert fix.lower_bound <= fix.cost
    assert fix.cost == pytest.approx(fix.edit.norm(fix.norm), abs=0)
    assert fix.edit.apply(network).sha256 == fix.network.sha256


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_repair_is_proved_and_close_to_the_bound(norm: str) -> None:
    prop = violated_property(NETWORK)
    fix = repair_property(NETWORK, prop, norm=norm, gap=0.05, limits=LIMITS)
    assert_guarantee(fix, NETWORK, prop)
    assert fix.gap is not None
    assert 0 <= fix.gap <= 0.05


@pytest.mark.parametrize("seed", range(1, 4))
def test_random_networks(seed: int) -> None:
    network = dense_network(seed, (2, 8, 4))
    prop = violated_property(network)
    fix = repair_property(network, prop, gap=0.2, limits=LIMITS)
    assert_guarantee(fix, network, prop)


def test_softmax_is_transferred() -> None:
    network = dense_network(5, (2, 5, 3), tail="Softmax")
    prop = violated_property(network)
    assert_guarantee(repair_property(network, prop, gap=0.2, limits=LIMITS), network, prop)


def test_one_row_has_the_closed_form() -> None:
    """Two outputs, one bias each: lifting y0 - y1 by the worst violation costs at most just that in L1."""
    network = dense_network(2, (1, 2, 2))
    points = np.linspace(-1, 1, 2001)[:, None]
    outputs = network(points)
    order = (0, 1) if (outputs[:, 0] - outputs[:, 1]).max() > 0 else (1, 0)
    prop = output_order([-1.0], [1.0], order[0], order[1], 2)
    worst = (outputs[:, order[0]] - outputs[:, order[1]]).max()
    fix = repair_property(network, prop, gap=0.02, limits=LIMITS)
    assert_guarantee(fix, network, prop)
    assert fix.lower_bound <= worst * (1 + 1e-3)


def test_same_seed_same_answer() -> None:
    prop = violated_property(NETWORK)
    first, second = (repair_property(NETWORK, prop, gap=0.2, seed=3) for _ in range(2))
    assert first.network is not None
    assert second.network is not None
    assert first.network.model == second.network.model


def test_network_that_holds_is_returned_unchanged() -> None:
    rows = np.array([[1.0, 0.0, 0.0]])
    never = Conjunction(rows, np.zeros((1, 2)), np.array([-1e6]))
    prop = Property((Region(-np.ones(2), np.ones(2), (never,)),), 2, 3)
    fix = repair_property(NETWORK, prop, limits=LIMITS)
    assert (fix.status, fix.cost, fix.lower_bound) == (RepairStatus.REPAIRED, 0.0, 0.0)
    assert fix.network is NETWORK


def test_contradictory_conjunctions_are_infeasible() -> None:
    rows = np.array([[1.0, -1.0, 0.0]])
    both = tuple(Conjunction(sign * rows, np.zeros((1, 2)), np.array([1.0])) for sign in (1.0, -1.0))
    prop = Property((Region(-np.ones(2), np.ones(2), both),), 2, 3)
    fix = repair_property(NETWORK, prop, limits=LIMITS)
    assert fix.status is RepairStatus.INFEASIBLE
    assert fix.network is None
    assert "whatever its size" in repr(fix)


def test_time_that_does_not_suffice_is_said() -> None:
    network = dense_network(1, (5, 40, 40, 40, 4))
    fix = repair_property(network, violated_property(network), limits=Limits(seconds=0.5))
    assert fix.status in (RepairStatus.TIMEOUT, RepairStatus.UNKNOWN, RepairStatus.REPAIRED)
    assert fix.proved == (fix.status is RepairStatus.REPAIRED)


def test_points_are_repaired_and_kept() -> None:
    prop = violated_property(NETWORK)
    x = np.random.default_rng(2).uniform(-3, 3, size=(30, 2))
    x = x[~prop.regions[0].contains(x)][:8].astype(np.float32).astype(np.float64)
    decided = NETWORK(x).argmax(axis=1)
    points = PointSet(x[:1], (decided[:1] + 1) % 3, name="wrong")
    keep = PointSet(x[1:4], name="right")
    fix = repair_property(NETWORK, prop, gap=0.2, points=points, keep=keep, limits=LIMITS)
    assert_guarantee(fix, NETWORK, prop)
    assert fix.network is not None
    after = replay(fix.network, x[:4]).argmax(axis=1)
    np.testing.assert_array_equal(after, [(decided[0] + 1) % 3, *decided[1:4]])


def test_events_tell_the_story() -> None:
    events: list[Event] = []
    repair_property(NETWORK, violated_property(NETWORK), gap=0.3, limits=LIMITS, on_event=events.append)
    assert {"attack", "solve", "boxes", "bound"} <= {event.stage for event in events}


REFUSED = {
    "method": ({"method": "magic"}, EditError, "unknown method 'magic': choose one of delta"),
    "norm": ({"norm": "l7"}, EditError, "unknown norm 'l7': choose one of l0, l1, l2, linf"),
    "layer": ({"layers": "layer9"}, EditError, "no layer 'layer9'"),
    "decision": ({"decision": "mean"}, EditError, "unknown decision"),
    "gap": ({"gap": 1.5}, EditError, "gap must lie in"),
    "solver": ({"solver": "abacus"}, SolverUnavailableError, "abacus"),
    "labels": (
        {"points": PointSet(np.zeros((1, 2)), np.array([9]))},
        PointSetError,
        r"labels of points \[0\] lie outside 0..2",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_misuse_is_refused(name: str) -> None:
    arguments, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        repair_property(NETWORK, violated_property(NETWORK), **arguments)


def test_property_of_another_size_is_refused() -> None:
    with pytest.raises(PropertyError):
        repair_property(NETWORK, not_largest(dense_network(0, (3, 4, 2)), 0))


def test_without_a_limit_a_few_failures_after_a_proof_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[float, float]] = []

    def try_margin(
        session: loop.Session, margin: float, seconds: float, *, shared: bool, most: float
    ) -> loop.Outcome:
        tried.append((margin, seconds))
        if len(tried) != 3:
            return loop.Outcome.UNPROVED
        session.best = Candidate(NETWORK, np.ones(1), 1.0, margin, None)
        return loop.Outcome.PROVED

    monkeypatch.setattr(margin_search, "try_margin", try_margin)
    monkeypatch.setattr(margin_search, "update_bound", lambda session: None)
    monkeypatch.setattr(margin_search.Margins, "next", lambda self, seconds, least: 1.0)
    margin_search.search_margins(fresh_session(Limits()), 1.0, shared=True)
    assert [seconds for _, seconds in tried[:3]] == [20.0, 40.0, 80.0]
    assert len(tried) == 6


def fresh_session(limits: Limits) -> loop.Session:
    prop, layer = violated_property(NETWORK), find_layer(NETWORK, "last")
    requirements = Requirements(NETWORK, layer)
    return loop.Session(NETWORK, prop, layer, requirements, Objective(), 0.01, "highs", limits, 0, None)


def tried_margins(
    monkeypatch: pytest.MonkeyPatch, session: loop.Session, outcome: Callable[[float], loop.Outcome]
) -> list[float]:
    """The margins of a search whose outcomes are given, each after a second."""
    tried: list[float] = []
    session.started -= 1.0

    def try_margin(
        session: loop.Session, margin: float, seconds: float, *, shared: bool, most: float
    ) -> loop.Outcome:
        session.started -= 1.0
        tried.append(margin)
        found = outcome(margin)
        if found is loop.Outcome.PROVED:
            verdict = Verdict(VerifyStatus.HOLDS, seconds=0.2 / margin)
            session.best = Candidate(NETWORK, np.ones(1), margin, margin, verdict)
        return found

    monkeypatch.setattr(margin_search, "try_margin", try_margin)
    monkeypatch.setattr(margin_search, "update_bound", lambda session: None)
    margin_search.search_margins(session, 1.0, shared=True)
    return tried


def test_margins_far_larger_than_the_layer_are_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    session = fresh_session(Limits(seconds=1000.0))

    def outcome(margin: float) -> loop.Outcome:
        return loop.Outcome.EXCESSIVE if margin >= 100 else loop.Outcome.UNPROVED

    tried = tried_margins(monkeypatch, session, outcome)
    assert tried[:4] == [1.0, 8.0, 256.0, pytest.approx(2048**0.5)]
    assert 100 <= session.excessive <= 256
    assert max(tried[3:]) < 256.0
    assert tried[-1] == max(margin for margin in tried if margin < 100)  # all time that is left, once more
    assert len(tried) < 9


def test_proofs_get_their_time_by_the_power_law(monkeypatch: pytest.MonkeyPatch) -> None:
    session = fresh_session(Limits(seconds=40.0))
    tried = tried_margins(monkeypatch, session, lambda margin: loop.Outcome.PROVED)
    assert tried == sorted(tried, reverse=True)
    # A margin m takes 0.2 / m seconds: the last proof fits into what is left, and no step is above 8.
    assert 0.2 / tried[-1] < 36
    assert all(before / after <= 8.0 + 1e-9 for before, after in itertools.pairwise(tried))


def test_a_repair_whose_change_would_be_excessive_says_so() -> None:
    session = fresh_session(Limits(seconds=60.0))
    session.requirements.forbid(session.prop, np.array([[0.0, 0.0]]))
    outcome = loop.try_margin(session, 1e6, 5.0, shared=True, most=30 * session.layer_size)
    assert outcome is loop.Outcome.EXCESSIVE
    assert session.last is None


def test_the_end_has_its_time_within_the_limit() -> None:
    layer = find_layer(NETWORK, "last")
    prop, requirements = violated_property(NETWORK), Requirements(NETWORK, layer)
    limits = Limits(seconds=50.0)
    session = loop.Session(NETWORK, prop, layer, requirements, Objective(), 0.01, "highs", limits, 0, None)
    assert session.left - session.remaining == pytest.approx(5.0, abs=0.1)


def test_margins_fall_after_proofs_and_are_bisected_after_failures() -> None:
    margins = Margins(1.0)
    assert margins.next() == 1.0
    margins.report(1.0, proved=False)
    assert margins.next() == 8.0
    margins.report(8.0, proved=False)
    assert margins.next() == 256.0
    margins.report(256.0, proved=True)
    assert margins.next() == pytest.approx(2048**0.5)
    margins.report(32.0, proved=True)
    assert margins.next() == 16.0
    margins.report(16.0, proved=True)
    assert margins.next() == pytest.approx(128**0.5)
    margins.report(128**0.5, proved=True)
    assert margins.next() is None


def test_the_time_for_a_proof_says_which_margin() -> None:
    margins = Margins(1.0)
    margins.report(1.0, proved=True, seconds=2.0)
    assert margins.next(1e6) == 1 / 8
    assert margins.next(4.0) == pytest.approx(0.5 ** (1 / 0.8))
    assert margins.next(1.0) is None  # a smaller margin would take longer
    assert margins.next(1e6, least=0.3) == 0.3
    margins.report(0.5, proved=True, seconds=4.0)
    assert margins.next(16.0) == pytest.approx(0.125)
    margins.report(0.4, proved=False)
    assert margins.next(16.0) is None


def test_unreachable_margins_bound_the_search_from_above() -> None:
    margins = Margins(1.0)
    margins.unreachable(1.0)
    assert margins.next() == 0.125
    margins.report(0.125, proved=False)
    assert margins.next() == pytest.approx(0.125**0.5)
    margins.unreachable(0.3)
    margins.report(0.2, proved=False)
    assert margins.next() is None


@pytest.mark.data
def test_acasxu_property_2() -> None:
    folder = os.environ.get("REPAIRSOLVER_DATA")
    if folder is None:
        pytest.skip("REPAIRSOLVER_DATA does not name the benchmark data folder")
    root = Path(folder) / "acasxu"
    network = load_network(root / "onnx" / "ACASXU_run2a_3_1_batch_2000.onnx")
    prop = load_property(root / "vnnlib" / "prop_2.vnnlib", network=network)
    fix = repair_property(network, prop, gap=0.5, decision="min", limits=Limits(seconds=15))
    assert fix.status is RepairStatus.REPAIRED
    assert fix.network is not None
    assert verify_property(fix.network, prop, limits=Limits(seconds=60)).status is VerifyStatus.HOLDS


def test_what_can_only_be_met_with_equality_is_infeasible() -> None:
    rows, none = np.array([[1.0, -1.0, 0.0]]), np.zeros((1, 2))
    both = tuple(Conjunction(sign * rows, none, np.zeros(1)) for sign in (1.0, -1.0))
    prop = Property((Region(-np.ones(2), np.ones(2), both),), 2, 3)
    fix = repair_property(NETWORK, prop, limits=LIMITS)
    assert fix.status is RepairStatus.INFEASIBLE
    assert fix.core is not None
    assert fix.core.ties
    assert "equality, which is not enough" in fix.message
    assert "must not violate region 1, conjunction" in str(fix.core)
