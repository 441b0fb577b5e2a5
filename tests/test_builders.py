from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from repairsolver.errors import PropertyError
from repairsolver.property import (
    Property,
    local_robustness,
    not_maximal,
    not_minimal,
    output_order,
    output_range,
    parse_property,
)

LOWER, UPPER = np.array([-1.0, 0.1]), np.array([1.0, 0.3])
EXAMPLES = {
    "robust": lambda: local_robustness([0.1, 0.7], 0.05, 1, 3, lower=0.0, upper=1.0),
    "robust to the smallest": lambda: local_robustness([0.1, 0.7], [0.05, 0], 2, 3, decision="min"),
    "order": lambda: output_order(LOWER, UPPER, 0, 2, 3),
    "range": lambda: output_range(LOWER, UPPER, 1, 3, at_least=-1 / 3, at_most=1e-7),
    "at most": lambda: output_range(LOWER, UPPER, 1, 3, at_most=0.0),
    "not maximal": lambda: not_maximal(LOWER, UPPER, 0, 3),
    "not minimal": lambda: not_minimal(LOWER, UPPER, 2, 3),
}


def violated(prop: Property, outputs: np.ndarray) -> np.ndarray:
    """Whether outputs [b, m] violate at the lower corner of the box."""
    corner = np.repeat(prop.regions[0].lower[None], len(outputs), axis=0)
    return prop.violation(corner, outputs) >= 0


@pytest.fixture
def outputs() -> np.ndarray:
    """Every vector of three outputs from -1, 0, 1: all orders and all ties."""
    return np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3), axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("decision", ["max", "min"])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_robust_means_strictly_the_extreme_output(
    outputs: np.ndarray, decision: Literal["max", "min"], label: int
) -> None:
    prop = local_robustness([0.0], 1.0, label, 3, decision=decision)
    values = outputs if decision == "max" else -outputs
    others = np.delete(values, label, axis=1).max(axis=1)
    assert np.array_equal(violated(prop, outputs), others >= values[:, label])


def test_the_ball_is_clipped_to_the_domain() -> None:
    region = local_robustness(
        np.array([[0.0, 0.5], [1.0, 0.25]]), 0.25, 0, 2, lower=0, upper=[1, 1, 1, 0.3]
    ).regions[0]
    assert region.lower.tolist() == [0.0, 0.25, 0.75, 0.0]
    assert region.upper.tolist() == [0.25, 0.75, 1.0, 0.3]


def test_order(outputs: np.ndarray) -> None:
    prop = output_order(LOWER, UPPER, 0, 2, 3)
    assert np.array_equal(violated(prop, outputs), ~(outputs[:, 0] < outputs[:, 2]))


@pytest.mark.parametrize(("least", "most"), [(-0.5, 0.5), (None, 0.0), (0.0, None), (-1.0, 1.0)])
def test_range(outputs: np.ndarray, least: float | None, most: float | None) -> None:
    prop = output_range(LOWER, UPPER, 1, 3, at_least=least, at_most=most)
    y = outputs[:, 1]
    inside = (y > (-np.inf if least is None else least)) & (y < (np.inf if most is None else most))
    assert np.array_equal(violated(prop, outputs), ~inside)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_not_maximal_and_not_minimal(outputs: np.ndarray, label: int) -> None:
    largest = outputs[:, label] == outputs.max(axis=1)
    smallest = outputs[:, label] == outputs.min(axis=1)
    assert np.array_equal(violated(not_maximal(LOWER, UPPER, label, 3), outputs), largest)
    assert np.array_equal(violated(not_minimal(LOWER, UPPER, label, 3), outputs), smallest)


@pytest.mark.parametrize("build", EXAMPLES.values(), ids=EXAMPLES)
def test_the_text_of_a_built_property_reads_back_exactly(build: Callable[[], Property]) -> None:
    prop = build()
    again = parse_property(prop.text)
    assert (again.input_size, again.output_size) == (prop.input_size, prop.output_size)
    (region,), (copy,) = prop.regions, again.regions
    assert np.array_equal(region.lower, copy.lower)
    assert np.array_equal(region.upper, copy.upper)
    for first, second in zip(region.unsafe, copy.unsafe, strict=True):
        assert np.array_equal(first.output, second.output)
        assert np.array_equal(first.input, second.input)
        assert np.array_equal(first.bound, second.bound)


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (local_robustness, ([0.0], 0.1, 3, 3), "label is 3, expected an output of 3"),
        (local_robustness, ([0.0], 0.1, 0, 1), "label is 0, expected an output of 1"),
        (local_robustness, ([0.0], -0.1, 0, 2), "the radius is -0.1, expected at least 0"),
        (local_robustness, ([0.0, np.nan], 0.1, 0, 2), r"center is not finite at \[1\]"),
        (local_robustness, ([0.0, 1.0], [1, 2, 3], 0, 2), "radius has 3 numbers, expected 2"),
        (local_robustness, ([], 0.1, 0, 2), "center is empty"),
        (output_order, (LOWER, UPPER, 1, 1, 3), "smaller and larger are both output 1"),
        (output_order, (LOWER, UPPER, -1, 1, 3), "smaller is -1, expected an output of 3"),
        (output_order, (UPPER, LOWER, 0, 1, 3), r"inputs \[0, 1\] have a lower bound above"),
        (output_order, (LOWER, UPPER[:0], 0, 1, 3), "upper is empty"),
        (output_range, (LOWER, UPPER, 0, 3), "at_least=None, at_most=None; expected finite limits"),
        (not_maximal, (LOWER, UPPER, 0, 1), "label is 0"),
        (not_minimal, (LOWER, [1.0, 2.0, 3.0], 0, 2), "upper has 3 numbers, expected 2"),
    ],
)
def test_misuse_is_refused(build: Callable[..., Property], arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(PropertyError, match=message):
        build(*arguments)


def test_a_box_outside_the_domain_and_wrong_limits_are_refused() -> None:
    with pytest.raises(
        PropertyError, match=r"inputs \[0\] have a lower bound above the upper bound: \[2.0\] > \[1.5\]"
    ):
        local_robustness([1.0], 0.5, 0, 2, lower=2.0)
    with pytest.raises(PropertyError, match="the first below the second"):
        output_range(LOWER, UPPER, 0, 3, at_least=1.0, at_most=1.0)
    with pytest.raises(PropertyError, match="decision is 'mean', expected 'max' or 'min'"):
        local_robustness([1.0], 0.5, 0, 2, decision="mean")  # type: ignore[arg-type]
