"""Points of a repair by imitation, relabelling against brute force, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import dense_network

import repairsolver as rs
from repairsolver.errors import EditError, PointSetError
from repairsolver.network import Network, replace_parameters
from repairsolver.property import Conjunction, PointSet, Property, Region
from repairsolver.repairing.imitation.behaviour import Behaviours, collect, unseen
from repairsolver.repairing.imitation.labels import relabelled
from repairsolver.repairing.imitation.options import Imitation, Retraining, Tuning
from repairsolver.repairing.stored import stored_tensors

SMALL = Imitation(samples=500)


def half_wrong(network: Network, share: float = 0.3) -> Property:
    """Output 0 must stay above the given quantile of its values on the box [-1, 1]^n."""
    points = np.random.default_rng(3).uniform(-1, 1, (500, network.input_size))
    bound = np.quantile(network(points)[:, 0], share)
    row = np.eye(network.output_size)[[0]]
    unsafe = Conjunction(row, np.zeros((1, network.input_size)), np.array([bound]))
    box = np.ones(network.input_size)
    return Property((Region(-box, box, (unsafe,)),), network.input_size, network.output_size)


def test_sampled_points_are_judged_by_onnxruntime() -> None:
    network = dense_network(1, (3, 8, 2))
    prop = half_wrong(network)
    found = collect(network, prop, None, None, SMALL, decision="max", seed=4)
    assert len(found.negatives) > 50
    assert len(found.positives) > 50
    assert len(found.domain) == 500
    assert (prop.violation(found.negatives, rs.replay(network, found.negatives)) >= 0).all()
    assert (prop.violation(found.positives, rs.replay(network, found.positives)) < 0).all()
    again = collect(network, prop, None, None, SMALL, decision="max", seed=4)
    assert np.array_equal(found.positives, again.positives)


def test_unseen_points_are_others() -> None:
    network = dense_network(1, (3, 8, 2))
    prop = half_wrong(network)
    found = collect(network, prop, None, None, SMALL, decision="max", seed=4)
    fresh = unseen(network, prop, 500, 4)
    assert fresh is not None
    known = {row.tobytes() for row in found.negatives}
    assert not any(row.tobytes() in known for row in fresh.inputs)


def test_points_that_violate_nothing_are_refused() -> None:
    network = dense_network(1, (3, 8, 2))
    prop = half_wrong(network)
    good = collect(network, prop, None, None, SMALL, decision="max", seed=0).positives
    with pytest.raises(PointSetError, match=r"none of \d+ points violates.*falsify"):
        collect(network, prop, rs.PointSet(good), None, SMALL, decision="max", seed=0)


def test_points_outside_the_regions_are_said_to_be_there() -> None:
    network = dense_network(1, (3, 8, 2))
    away = rs.PointSet(np.full((4, 3), 100.0))
    with pytest.raises(PointSetError, match=r"none of 4 points violates .* \(4 lie outside its regions\)"):
        collect(network, half_wrong(network), away, None, SMALL, decision="max", seed=0)


def test_infinite_outputs_in_the_domain_are_refused() -> None:
    """A domain so wide that float32 overflows there, though nowhere in the regions."""
    network = dense_network(1, (3, 8, 2))
    how = replace(SMALL, domain=(np.full(3, 2e38), np.full(3, 3e38)))
    with pytest.raises(PointSetError, match=r"points of the domain .* are NaN or infinite"):
        collect(network, half_wrong(network), None, None, how, decision="max", seed=0)


def test_no_positives_are_refused() -> None:
    network = dense_network(1, (3, 8, 2))
    prop = half_wrong(network)
    always = replace(prop.regions[0].unsafe[0], bound=np.array([1e6]))
    everything = replace(prop, regions=(replace(prop.regions[0], unsafe=(always,)),))
    with pytest.raises(PointSetError, match="no positive behaviour to imitate"):
        collect(network, everything, None, None, SMALL, decision="max", seed=0)


def test_positives_that_violate_are_refused() -> None:
    network = dense_network(1, (3, 8, 2))
    prop = half_wrong(network)
    bad = collect(network, prop, None, None, SMALL, decision="max", seed=0).negatives
    with pytest.raises(PointSetError, match="violate property"):
        collect(network, prop, None, rs.PointSet(bad), SMALL, decision="max", seed=0)


@pytest.mark.parametrize("role", ["points", "keep", "domain"])
def test_points_of_another_size_are_refused(role: str) -> None:
    network = dense_network(1, (3, 8, 2))
    prop = half_wrong(network)
    wrong = rs.PointSet(np.zeros((2, 4)))
    how = replace(SMALL, domain=wrong) if role == "domain" else SMALL
    given = [wrong if role == name else None for name in ("points", "keep")]
    with pytest.raises(PointSetError, match="have 4 entries, but"):
        collect(network, prop, given[0], given[1], how, decision="max", seed=0)


def test_a_domain_with_crossed_corners_is_refused() -> None:
    network = dense_network(1, (3, 8, 2))
    how = replace(SMALL, domain=(np.ones(3), -np.ones(3)))
    with pytest.raises(PointSetError, match="lower <= upper"):
        collect(network, half_wrong(network), None, None, how, decision="max", seed=0)


def test_infinite_outputs_are_refused() -> None:
    network = dense_network(1, (3, 8, 2))
    prop = half_wrong(network)
    name, last = list(stored_tensors(network).items())[-2]
    broken = replace_parameters(network, {name: np.full_like(last, 3e38)})
    with pytest.raises(PointSetError, match="are NaN or infinite"):
        collect(broken, prop, None, None, SMALL, decision="max", seed=0)


@pytest.mark.parametrize("options", [
    lambda: Imitation(variant="guess"), lambda: Retraining(relabel="far"), lambda: Tuning(optimiser="ants"),
    lambda: Tuning(neurons=0), lambda: Tuning(alpha=2.0), lambda: Imitation(fidelity=0.0),
])  # fmt: skip
def test_unknown_options_are_refused(options: object) -> None:
    with pytest.raises(EditError):
        options()  # type: ignore[operator]


def behaviours(seed: int, labelled: bool) -> tuple[Behaviours, np.ndarray, np.ndarray]:
    """Random outputs of 40 negatives and 60 positives; right is output 0 above 0, or the label."""
    rng = np.random.default_rng(seed)
    unsafe = Conjunction(np.eye(3)[[0]], np.zeros((1, 2)), np.zeros(1))
    prop = Property((Region(-np.ones(2), np.ones(2), (unsafe,)),), 2, 3)
    labels = rng.integers(3, size=40) if labelled else None
    points = rng.uniform(-1, 1, (100, 2))
    made = Behaviours(prop, points[:40], labels, points[40:], points[:0], "max")
    return made, rng.normal(size=(40, 3)), rng.normal(size=(60, 3))


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_labels_are_the_nearest_right_behaviours(seed: int, labelled: bool) -> None:
    made, wrong, right = behaviours(seed, labelled)
    found = relabelled(made, (wrong, right), (wrong, right), Retraining())
    for i, row in enumerate(wrong):
        fine = [
            y for y in right
            if (y[0] > 0 if made.labels is None else y.argmax() == made.labels[i])
        ]  # fmt: skip
        nearest = min(fine, key=lambda y: float(np.square(y - row).sum()))
        assert np.array_equal(found[i], nearest)


def test_labels_by_features_and_averages() -> None:
    made, wrong, right = behaviours(9, False)
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(40, 20)), rng.normal(size=(60, 20))
    found = relabelled(made, (wrong, right), (near, far), Retraining(relabel="feature"))
    fine = right[:, 0] > 0
    for i, row in enumerate(near):
        distance = np.where(fine, np.square(far - row).sum(axis=1), np.inf)
        assert np.array_equal(found[i], right[distance.argmin()])
    mean = relabelled(made, (wrong, right), (near, far), Retraining(relabel="average", neighbours=7))
    for i, row in enumerate(wrong):
        order = np.square(right - row).sum(axis=1).argsort()[:7]
        chosen = right[order][right[order, 0] > 0]
        if len(chosen):
            assert mean[i] == pytest.approx(chosen.mean(axis=0))


def test_a_decision_that_no_positive_has_is_refused() -> None:
    made, wrong, right = behaviours(1, True)
    with pytest.raises(PointSetError, match=r"no positive behaves as negative .*with decision 2"):
        relabelled(made, (wrong, right - 9 * np.eye(3)[2]), (wrong, right), Retraining())


def test_labelled_points_without_anything_to_keep_are_refused() -> None:
    network = dense_network(1, (3, 8, 2))
    inputs = np.random.default_rng(0).uniform(-1, 1, (5, 3))
    wrong = rs.PointSet(inputs, 1 - network(inputs).argmax(axis=1))
    nothing = Property((), 3, 2)
    with pytest.raises(PointSetError, match="has no regions to sample: give points that behave well"):
        collect(network, nothing, wrong, None, SMALL, decision="max", seed=0)
    with pytest.raises(PointSetError, match="none has its label"):
        collect(network, nothing, wrong, wrong, SMALL, decision="max", seed=0)


def test_violating_samples_join_the_points_given_for_retraining_alone() -> None:
    network = dense_network(4, (2, 10, 3))
    prop = half_wrong(network, 0.05)
    found = collect(network, prop, None, None, SMALL, decision="max", seed=0)
    given = PointSet(found.negatives[:3], name="given")
    joined = collect(network, prop, given, None, SMALL, decision="max", seed=0)
    assert np.array_equal(joined.negatives[:3], given.inputs)
    assert len(joined.negatives) > 3
    assert (prop.violation(joined.negatives, rs.replay(network, joined.negatives)) >= 0).all()
    for how in (replace(SMALL, more=False), replace(SMALL, variant="tune")):
        alone = collect(network, prop, given, None, how, decision="max", seed=0)
        assert np.array_equal(alone.negatives, given.inputs)
    labels = network(given.inputs).argmax(axis=1)
    labelled = PointSet(given.inputs, (labels + 1) % 3, name="labelled")
    alone = collect(network, prop, labelled, None, SMALL, decision="max", seed=0)
    assert np.array_equal(alone.negatives, given.inputs)
