"""Fidelity: against counts by hand, closed forms, and scipy's own interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from repairsolver.errors import NetworkError, PointSetError, PropertyError
from repairsolver.metrics import Norms, Share, evaluate, fidelity, norms_of_change
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Dense, Relu, Source
from repairsolver.property.specification import Conjunction, Property, Region


@dataclass(frozen=True)
class Points:
    inputs: NDArray[np.float64]
    labels: NDArray[np.int64] | None = None
    name: str = "points"


def linear(weight: list[list[float]], bias: list[float]) -> Network:
    w, b = np.array(weight), np.array(bias)
    node = Node("y", Dense(w, b, Source("w"), Source("b")), ("x",), (1, len(b)))
    return Network((node,), "x", (1, w.shape[1]), np.dtype(np.float32), b"")


# The decision of THRESHOLD is 0 where x > 0; SHIFTED's where x > 0.5.
THRESHOLD = linear([[1.0], [0.0]], [0.0, 0.0])
SHIFTED = linear([[1.0], [0.0]], [0.0, 0.5])
BOX = (np.array([-1.0]), np.array([1.0]))


def below(corner: float) -> Property:
    """Violated in [corner, 1] where output 0 is not above output 1."""
    unsafe = Conjunction(np.array([[1.0, -1.0]]), np.zeros((1, 1)), np.zeros(1))
    region = Region(np.array([corner]), np.array([1.0]), (unsafe,))
    return Property((region,), 1, 2)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_is_clopper_pearson(counts: tuple[int, int]) -> None:
    hits, total = counts
    expected = binomtest(hits, total).proportion_ci(0.95, method="exact")
    assert Share(hits, total).interval == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_network_agrees_with_itself_everywhere() -> None:
    result = fidelity(THRESHOLD, THRESHOLD, *BOX, samples=1000)
    assert result.agreement == Share(1000, 1000)
    assert (result.mean_difference, result.max_difference) == (0.0, 0.0)
    assert result.norms == Norms(0, 0.0, 0.0, 0.0)


def test_agreement_contains_the_true_share() -> None:
    result = fidelity(THRESHOLD, SHIFTED, *BOX, samples=20_000, seed=3)
    assert result.agreement is not None
    low, high = result.agreement.interval
    assert low < 0.75 < high
    assert high - low < 0.02
    assert result.domain == "the given box"
    assert result.mean_difference == pytest.approx(0.5)


def test_decision_min_and_max_differ_where_they_should() -> None:
    two = linear([[1.0], [0.0], [0.0]], [0.0, 0.0, 9.0])
    other = linear([[1.0], [0.0], [0.0]], [0.0, 0.5, 9.0])
    assert fidelity(two, other, *BOX, decision="max", samples=500).agreement == Share(500, 500)
    smallest = fidelity(two, other, *BOX, decision="min", samples=20_000).agreement
    assert smallest is not None
    assert smallest.value == pytest.approx(0.75, abs=0.02)


def test_same_seed_same_answer() -> None:
    first, second, other = (fidelity(THRESHOLD, SHIFTED, *BOX, samples=999, seed=s) for s in (1, 1, 2))
    assert first.agreement == second.agreement
    assert first.agreement != other.agreement


def test_domain_defaults_to_the_bounding_box_of_the_regions() -> None:
    result = fidelity(THRESHOLD, SHIFTED, prop=below(0.0), samples=20_000)
    assert result.domain == "the property's region"
    assert result.region_agreement is result.agreement
    one, other = below(0.0).regions[0], below(0.25).regions[0]
    both = fidelity(THRESHOLD, SHIFTED, prop=Property((one, other), 1, 2), samples=100)
    assert both.domain == "the bounding box of the property's regions"
    assert result.lower.tolist() == [0.0]
    assert result.agreement is not None
    assert result.agreement.value == pytest.approx(0.5, abs=0.02)


def test_agreement_in_regions_is_separate_from_the_domain() -> None:
    result = fidelity(THRESHOLD, SHIFTED, *BOX, prop=below(0.6), samples=2000)
    assert result.region_agreement == Share(2000, 2000)
    assert result.agreement is not None
    assert result.agreement.value < 0.8


def test_exact_ties_choose_both_and_are_not_right() -> None:
    tied = linear([[0.0], [0.0]], [1.0, 1.0])
    first = linear([[0.0], [0.0]], [1.0, 0.0])
    assert fidelity(tied, first, *BOX, samples=10).agreement == Share(0, 10)
    keep = Points(np.array([[0.0]]), np.array([0]))
    assert fidelity(first, tied, *BOX, samples=10, keep=keep).drawdown == Share(1, 1)


def test_single_output_has_a_difference_but_no_agreement() -> None:
    one, other = linear([[1.0]], [0.0]), linear([[1.0]], [0.25])
    result = fidelity(one, other, *BOX, samples=100, keep=Points(np.array([[0.0]])))
    assert result.agreement is None
    assert result.drawdown is None
    assert result.max_difference == pytest.approx(0.25)


def test_drawdown_counts_right_before_and_wrong_now() -> None:
    inputs = np.array([[-0.5], [0.25], [0.4], [0.9]])
    labelled = Points(inputs, np.array([0, 0, 1, 0]))  # right before: rows 1 and 3; now: 2 and 3
    assert fidelity(THRESHOLD, SHIFTED, *BOX, samples=10, keep=labelled).drawdown == Share(1, 4)
    assert fidelity(THRESHOLD, SHIFTED, *BOX, samples=10, keep=Points(inputs)).drawdown == Share(2, 4)


def test_efficacy_by_labels_and_generalisation_by_the_property() -> None:
    points = Points(np.array([[0.25], [0.75]]), np.array([1, 1]))
    unseen = Points(np.array([[0.3], [0.6], [-3.0]]))  # violated, fixed, outside every region
    result = fidelity(THRESHOLD, SHIFTED, *BOX, samples=10, points=points, unseen=unseen, prop=below(0.0))
    assert result.efficacy == Share(1, 2)
    assert result.generalisation == Share(2, 3)


def test_norms_count_shared_tensors_once() -> None:
    def twice(weight: float) -> Network:
        layer = Dense(np.array([[weight]]), np.zeros(1), Source("w"), None)
        nodes = (
            Node("a", layer, ("x",), (1, 1)),
            Node("r", Relu(), ("a",), (1, 1)),
            Node("y", layer, ("r",), (1, 1)),
        )
        return Network(nodes, "x", (1, 1), np.dtype(np.float32), b"")

    assert norms_of_change(twice(1.0), twice(3.0)) == Norms(1, 2.0, 2.0, 2.0)
    assert norms_of_change(THRESHOLD, twice(1.0)) is None
    changed = linear([[1.0], [3.0]], [0.0, 4.0])
    assert norms_of_change(THRESHOLD, changed) == Norms(2, 7.0, 5.0, 4.0)


def test_batches_do_not_change_outputs() -> None:
    points = np.random.default_rng(0).normal(size=(9000, 1))
    assert np.array_equal(evaluate(SHIFTED, points), SHIFTED(points))
    assert evaluate(SHIFTED, points[:0]).shape == (0, 2)


def test_misuse_is_named() -> None:
    with pytest.raises(NetworkError, match=r"\(1, 2\) and \(1, 1\)"):
        fidelity(THRESHOLD, linear([[1.0]], [0.0]), *BOX)
    with pytest.raises(PropertyError, match="no domain"):
        fidelity(THRESHOLD, SHIFTED)
    with pytest.raises(PropertyError, match="both corners"):
        fidelity(THRESHOLD, SHIFTED, BOX[0])
    with pytest.raises(PropertyError, match=r"shape \(1,\)"):
        fidelity(THRESHOLD, SHIFTED, np.zeros(2), np.ones(2))
    with pytest.raises(PropertyError, match=r"lower <= upper.*got \[1, -1\] for X_0"):
        fidelity(THRESHOLD, SHIFTED, BOX[1], BOX[0])
    with pytest.raises(ValueError, match="decision"):
        fidelity(THRESHOLD, SHIFTED, *BOX, decision="least")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="samples"):
        fidelity(THRESHOLD, SHIFTED, *BOX, samples=0)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (Points(np.zeros((3, 2))), "1 entries"),
        (Points(np.zeros((0, 1))), "no points"),
        (Points(np.zeros((2, 1)), np.array([0, 2])), r"rows \[1\] hold \[2\]"),
        (Points(np.zeros((2, 1))), "no labels and no property"),
    ],
)
def test_unfit_points_are_named(points: Points, message: str) -> None:
    with pytest.raises(PointSetError, match=message):
        fidelity(THRESHOLD, SHIFTED, *BOX, samples=10, points=points)


def test_time_that_is_short_leaves_samples_out() -> None:
    result = fidelity(THRESHOLD, SHIFTED, *BOX, prop=below(0.0), samples=1_000_000, seconds=0.001)
    assert result.agreement is not None
    assert result.region_agreement is not None
    assert 100 <= result.agreement.total < 1_000_000
    assert 100 <= result.region_agreement.total < 1_000_000
