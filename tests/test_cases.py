"""Cases of gated networks: every input lies in its own case, proofs are checked, mutants are rejected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gated_networks import points_near, random_gate
from random_networks import dense_network, random_network, random_property, sample

import repairsolver as rs
from repairsolver.certificate.cases import cases, cells, split
from repairsolver.errors import TreeError, UnsupportedOperatorError
from repairsolver.network import Network, replay
from repairsolver.network.gated import NewGate, Override, add_gates, gateable
from repairsolver.network.gates import gates_of
from repairsolver.network.operators import Gate
from repairsolver.property import Conjunction, Property, Region
from repairsolver.results import Limits, OpenBoxes, Verdict, VerifyStatus
from repairsolver.verification.cases import verify_cases


def gated(seed: int, count: int = 2) -> tuple[Network, list[NewGate]]:
    rng = np.random.default_rng([seed, 9])
    network = random_network(seed, smooth=False)
    gates = [random_gate(rng, network) for _ in range(count)]
    return add_gates(network, gates), gates


@pytest.mark.parametrize("seed", range(40))
def test_every_input_lies_in_a_case_with_its_own_gates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    corners = [np.round(4 * rng.normal(size=(2, int(rng.integers(1, 4)), n))) / 4 for _ in range(3)]
    gates = [Gate(pair.min(axis=0), pair.max(axis=0)) for pair in corners]
    flat = rng.random(n) < 0.2
    low = np.round(4 * rng.normal(size=n)) / 4
    high = np.where(flat, low, low + np.round(8 * rng.random(n)) / 4)
    found = list(cells(gates, low, high))
    grid = low + (high - low) * np.floor(9 * rng.random((400, n))) / 8
    points = np.concatenate([grid, sample(rng, low, high), np.round(4 * sample(rng, low, high)) / 4])
    points = np.clip(points, low, high)
    own = np.array([gate.fires(points) for gate in gates]).T
    covered = np.zeros(len(points), dtype=bool)
    for (lower, upper), pattern in found:
        assert (lower >= low).all()
        assert (upper <= high).all()
        assert (lower <= upper).all()
        covered |= ((points >= lower) & (points <= upper)).all(axis=1) & (own == pattern).all(axis=1)
    assert covered.all()


def test_a_box_that_ends_where_a_gate_ends_has_nothing_outside() -> None:
    box = np.zeros(2), np.ones(2)
    inside, outside = split(box, np.array([0.0, -1.0]), np.array([1.0, 2.0]))
    assert inside is not None
    np.testing.assert_array_equal(inside, box)
    assert outside == []


def middle(network: Network, seed: int) -> Property:
    """A property that cuts through the gates: around where they are."""
    prop = random_property(seed, network, regions=1)
    return replace(prop, text="")


@pytest.mark.parametrize("seed", range(16))
def test_verdicts_agree_with_onnxruntime_and_certificates_are_checked(seed: int) -> None:
    network, gates = gated(seed)
    prop = middle(network, seed)
    verdict = rs.verify(network, prop, limits=rs.Limits(seconds=20), certificate=True)
    region = prop.regions[0]
    rng = np.random.default_rng(seed)
    points = np.concatenate([sample(rng, region.lower, region.upper, 2000), points_near(rng, gates)])
    points = np.clip(points, region.lower, region.upper).astype(np.float32).astype(float)
    points = points[region.contains(points)]
    worst = prop.violation(points, replay(network, points)).max()
    if verdict.status is VerifyStatus.VIOLATED:
        found = verdict.counterexample
        assert found is not None
        again = replay(network, found.input[None])
        assert prop.violation(found.input[None], again)[0] >= 0
    if verdict.status is VerifyStatus.HOLDS:
        assert worst < 1e-5
    if verdict.certificate is not None:
        answer = rs.check(verdict.certificate, network=network, property=prop)
        assert answer.valid, answer.reason


def below(network: Network, threshold: float, lower: np.ndarray, upper: np.ndarray) -> Property:
    """Violated where the first output is at most a threshold."""
    row = np.zeros((1, network.output_size))
    row[0, 0] = 1.0
    unsafe = Conjunction(row, np.zeros((1, network.input_size)), np.array([threshold]))
    return Property((Region(lower, upper, (unsafe,)),), network.input_size, network.output_size)


def lifted(seed: int, by: float, low: float, high: float) -> tuple[Network, Network, Property]:
    """A network whose first output is lifted in a box, and a property that holds exactly because of it."""
    network = dense_network(seed, [2, 8, 8, 2])
    name = gateable(network)[-1].name
    corners = np.full((1, 2), low), np.full((1, 2), high)
    nothing = np.array([-np.inf]), np.array([np.inf])
    change = Override(np.array([0]), np.ones(1), np.array([by]), *nothing)
    found = add_gates(network, [NewGate(name, name, *corners, change)])
    points = np.random.default_rng(0).uniform(0, 1, (4000, 2))
    return network, found, below(network, float(network(points)[:, 0].min()) - 0.05, np.zeros(2), np.ones(2))


def test_a_proof_holds_for_its_gates_only() -> None:
    _, found, prop = lifted(3, 2.0, 0.25, 0.75)
    verdict = rs.verify(found, prop, certificate=True)
    assert verdict.status is VerifyStatus.HOLDS
    assert verdict.certificate is not None
    assert rs.check(verdict.certificate, network=found, property=prop).valid
    _, other, _ = lifted(3, -5.0, 0.25, 0.75)
    forged = replace(verdict.certificate, network=other.sha256)
    answer = rs.check(forged, network=other, property=prop)
    assert not answer.valid
    wider = lifted(3, -5.0, 0.25, 0.8)[1]
    assert not rs.check(
        replace(verdict.certificate, network=wider.sha256), network=wider, property=prop
    ).valid
    assert rs.verify(other, prop).status is VerifyStatus.VIOLATED


@pytest.mark.parametrize("field", ["axis", "value"])
def test_mutated_trees_of_cases_are_rejected(field: str) -> None:
    _, found, prop = lifted(9, 3.0, 0.25, 0.75)
    harder = below(found, float(prop.regions[0].unsafe[0].bound[0]) + 0.045, np.zeros(2), np.ones(2))
    certificate = rs.verify(found, harder, certificate=True).certificate
    assert certificate is not None
    assert len(certificate.value) > 2
    assert rs.check(certificate, network=found, property=harder).valid
    changed = {
        "axis": replace(certificate, axis=np.full_like(certificate.axis, -1), value=np.zeros(0)),
        "value": replace(certificate, value=certificate.value[:-1]),
    }
    assert not rs.check(changed[field], network=found, property=harder).valid


def test_what_is_violated_inside_a_gate_alone_is_found_and_replayed() -> None:
    original, found, prop = lifted(1, -4.0, 0.5, 0.53125)
    assert rs.verify(original, prop).status is VerifyStatus.HOLDS
    verdict = rs.verify(found, prop)
    assert verdict.status is VerifyStatus.VIOLATED
    assert verdict.counterexample is not None
    assert gates_of(found)[0].operator.fires(verdict.counterexample.input[None])[0]
    several = rs.falsify(found, prop, count=4, worst=True, limits=rs.Limits(seconds=5))
    assert len(several.counterexamples) == 4
    assert several.upper_bound is not None


def test_a_network_without_gates_is_its_only_case() -> None:
    network = dense_network(0, [2, 3, 1])
    prop = random_property(0, network)
    (case,) = cases(network, prop)
    assert case.network is network
    assert case.prop is prop


def test_what_cases_cannot_do_is_said(tmp_path) -> None:
    _, found, prop = lifted(1, 1.0, 0.25, 0.5)
    with pytest.raises(TreeError, match="gates"):
        rs.verify(found, prop, tree=tmp_path / "tree.npz")
    with pytest.raises(UnsupportedOperatorError, match="real"):
        rs.verify(found, prop, arithmetic="float32")


def test_time_runs_out_with_what_is_open() -> None:
    network, _ = gated(2)
    region = random_property(2, network).regions[0]
    wide = Region(region.lower - 3, region.upper + 3, region.unsafe)
    prop = Property((wide,), network.input_size, network.output_size)
    verdict = rs.verify(network, prop, limits=rs.Limits(seconds=0.01))
    assert verdict.status in (VerifyStatus.VIOLATED, VerifyStatus.TIMEOUT, VerifyStatus.HOLDS)
    assert 0 <= verdict.proved_volume <= 1


def cut_in_three() -> tuple[Network, Property]:
    """One input from 0 to 1, with a gate on [1/8, 1/4]: outside are two boxes, the second much larger."""
    network = dense_network(0, sizes=[1, 3, 2])
    node = gateable(network)[-1]
    one = np.zeros(1)
    change = Override(np.array([0]), np.ones(1), np.ones(1), one - np.inf, one + np.inf)
    gate = NewGate(node.name, node.layer, np.array([[0.125]]), np.array([[0.25]]), change)
    never = Conjunction(np.array([[1.0, 0.0]]), np.zeros((1, 1)), np.array([-1e6]))
    return add_gates(network, [gate]), Property((Region(np.zeros(1), np.ones(1), (never,)),), 1, 2)


def decided(network: Network, prop: Property, off: Verdict) -> Verdict:
    """The case in which the gate is on holds, the other one is decided as given."""
    parts = cases(network, prop)
    on = Verdict(VerifyStatus.HOLDS, proved_volume=1.0)
    return verify_cases(network, prop, parts, lambda case, _: on if case.pattern[0] else off, Limits())


def test_a_case_of_which_nothing_was_bounded_is_open_and_not_proved() -> None:
    verdict = decided(*cut_in_three(), Verdict(VerifyStatus.TIMEOUT))
    assert verdict.status is VerifyStatus.TIMEOUT
    assert verdict.open_boxes is not None
    assert sorted(verdict.open_boxes.lower[:, 0]) == [0.0, 0.25]
    assert sorted(verdict.open_boxes.upper[:, 0]) == [0.125, 1.0]
    assert verdict.proved_volume == pytest.approx(0.125)
    assert verdict.best_bound is None


def test_the_proved_volume_of_a_case_is_that_of_its_boxes_however_large_they_are() -> None:
    """Of two boxes the small one is proved: half of the queries of the case, an eighth of the volume."""
    network, prop = cut_in_three()
    off = next(case for case in cases(network, prop) if not case.pattern[0])
    large = int(np.argmax([float(r.upper[0] - r.lower[0]) for r in off.prop.regions]))
    box = off.prop.regions[large]
    left = OpenBoxes(box.lower[None], box.upper[None], np.array([large]), np.array([-1.0]))
    half = Verdict(VerifyStatus.TIMEOUT, best_bound=-1.0, proved_volume=0.5, open_boxes=left)
    verdict = decided(network, prop, half)
    assert verdict.proved_volume == pytest.approx(0.25)
    assert verdict.best_bound == -1.0


def test_a_violated_case_leaves_no_open_boxes_to_be_sampled() -> None:
    verdict = decided(*cut_in_three(), Verdict(VerifyStatus.VIOLATED))
    assert verdict.status is VerifyStatus.VIOLATED
    assert verdict.open_boxes is None
