import hashlib

import numpy as np
import pytest

from repairsolver.errors import PropertyError
from repairsolver.property import Conjunction, Property, Region

ROW = Conjunction(np.array([[1.0, -1.0]]), np.zeros((1, 1)), np.array([0.0]))
BOX = Region(np.array([0.0]), np.array([1.0]), (ROW,))


def test_violation_of_a_conjunction_is_its_least_slack() -> None:
    conjunction = Conjunction(np.array([[1.0], [-1.0]]), np.array([[0.0], [2.0]]), np.array([3.0, 1.0]))
    # slacks: 3 - y and 1 + y - 2 x
    assert conjunction.violation(np.array([[0.0], [1.0]]), np.array([[2.0], [0.5]])).tolist() == [1.0, -0.5]


def test_a_conjunction_without_rows_always_holds() -> None:
    nothing = Conjunction(np.zeros((0, 2)), np.zeros((0, 1)), np.zeros(0))
    assert nothing.violation(np.zeros((3, 1)), np.zeros((3, 2))).tolist() == [np.inf] * 3


def test_violation_of_a_property_is_the_worst_over_regions_that_contain_the_point() -> None:
    other = Conjunction(np.array([[0.0, 1.0]]), np.zeros((1, 1)), np.array([5.0]))
    prop = Property((BOX, Region(np.array([1.0]), np.array([2.0]), (other,))), 1, 2)
    inputs = np.array([[0.5], [1.0], [1.5], [2.5]])
    outputs = np.array([[1.0, 3.0]] * 4)
    assert prop.violation(inputs, outputs).tolist() == [2.0, 2.0, 2.0, -np.inf]
    assert Property((), 1, 2).violation(inputs, outputs).tolist() == [-np.inf] * 4


def test_arrays_are_copied_and_read_only() -> None:
    lower = np.zeros(1)
    region = Region(lower, np.ones(1), ())
    lower[0] = 7
    assert region.lower[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        region.lower[0] = 1


def test_the_text_is_hashed() -> None:
    assert Property((), 1, 1, text="é").sha256 == hashlib.sha256("é".encode()).hexdigest()


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        ([0.0, 2.0], [1.0, 1.0], r"inputs \[1\] have a lower bound above"),
        ([0.0, -np.inf], [np.nan, 1.0], r"inputs \[0, 1\] have no finite bounds"),
        ([0.0], [1.0, 1.0], r"corners differ in shape: \(1,\), \(2,\)"),
    ],
)
def test_malformed_boxes(lower: list[float], upper: list[float], message: str) -> None:
    with pytest.raises(PropertyError, match=message):
        Region(np.array(lower), np.array(upper), ())


def test_malformed_conjunctions() -> None:
    with pytest.raises(PropertyError, match="rows differ: C has 1, D has 2, d has 1"):
        Conjunction(np.zeros((1, 1)), np.zeros((2, 1)), np.zeros(1))
    with pytest.raises(PropertyError, match=r"needs matrices C \[r, m\]"):
        Conjunction(np.zeros(1), np.zeros((1, 1)), np.zeros(1))
    with pytest.raises(PropertyError, match="NaN or infinite numbers in its bound"):
        Conjunction(np.zeros((1, 1)), np.zeros((1, 1)), np.array([np.inf]))


def test_regions_and_points_of_another_size_are_refused() -> None:
    with pytest.raises(PropertyError, match=r"= \(1, 1, 2\), expected \(1, 1, 3\)"):
        Property((BOX,), 1, 3)
    with pytest.raises(PropertyError, match="box has 1 inputs, expected 2"):
        Property((Region(np.zeros(1), np.ones(1), ()),), 2, 2)
    with pytest.raises(
        PropertyError, match=r"inputs \(1,\) and outputs \(1, 2\), expected \[b, 1\] and \[b, 2\]"
    ):
        Property((BOX,), 1, 2).violation(np.zeros(1), np.zeros((1, 2)))
    with pytest.raises(PropertyError, match=r"outputs \(1, 2\)"):
        Property((BOX,), 1, 2).violation(np.zeros((3, 1)), np.zeros((1, 2)))


@pytest.mark.parametrize(("inputs", "outputs", "name"), [(0, 2, "input_size"), (1, -1, "output_size")])
def test_sizes_are_positive(inputs: int, outputs: int, name: str) -> None:
    with pytest.raises(PropertyError, match=f"{name} is {min(inputs, outputs)}, expected at least 1"):
        Property((), inputs, outputs)
