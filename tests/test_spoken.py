"""Which decision a property speaks of: ACAS Xu's properties, classifiers, and what tells nothing."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import repairsolver as rs
from repairsolver.property import parse_property
from repairsolver.property.spoken import spoken_of


def prop(unsafe: str, outputs: int = 3) -> rs.Property:
    declared = "(declare-const X_0 Real)" + "".join(f"(declare-const Y_{k} Real)" for k in range(outputs))
    return parse_property(f"{declared}(assert (>= X_0 -1))(assert (<= X_0 1))(assert {unsafe})")


def mirrored(unsafe: str) -> str:
    return unsafe.replace("<=", "@").replace(">=", "<=").replace("@", ">=")


@pytest.mark.parametrize(
    ("unsafe", "expected"),
    [
        ("(and (<= Y_0 Y_1) (<= Y_0 Y_2))", "min"),  # Y_0 may not be the smallest
        ("(or (<= Y_1 Y_0) (<= Y_2 Y_0))", "min"),  # Y_0 must be the smallest
        ("(or (and (<= Y_0 Y_1) (<= Y_0 Y_2)) (and (<= Y_1 Y_0) (<= Y_1 Y_2)))", "min"),
        ("(or (<= Y_0 Y_2) (<= Y_1 Y_2))", "min"),
        ("(and (>= Y_0 Y_1) (>= Y_0 Y_2))", None),  # Y_0 may not be the largest: property 2 of ACAS Xu
        ("(or (<= Y_0 Y_1) (<= Y_0 Y_2))", "max"),  # Y_0 must be the largest
        ("(or (and (>= Y_1 Y_0) (>= Y_1 Y_2)) (and (>= Y_2 Y_0) (>= Y_2 Y_1)))", "max"),
        ("(<= Y_0 Y_1)", None),
        ("(or (<= Y_0 Y_1) (<= Y_1 Y_2) (<= Y_2 Y_0))", None),
        ("(and (<= Y_0 Y_1) (<= Y_0 Y_2) (<= Y_0 3))", None),
        ("(and (<= Y_0 Y_1) (<= (+ Y_0 1) Y_2))", None),
        ("(and (<= Y_0 Y_1) (<= (+ Y_0 X_0) Y_2))", None),
        ("(and (<= Y_0 Y_1) (<= (* 2 Y_0) Y_2))", None),
        ("(and (<= Y_0 Y_1) (<= Y_1 Y_2))", None),
        ("(and (<= Y_0 Y_1) (<= (* 2 Y_0) (* 2 Y_1)))", None),
        ("(and (<= Y_0 Y_1) (<= (* 2 Y_0) (* 2 Y_2)))", "min"),
        ("(>= Y_0 3)", None),
    ],
)
def test_what_a_property_speaks_of(unsafe: str, expected: str | None) -> None:
    assert spoken_of(prop(unsafe)) == expected


@pytest.mark.parametrize("outputs", [3, 4])
def test_a_property_of_the_smallest_output_is_one_of_its_choice_alone(outputs: int) -> None:
    """Every set of forbidden outputs: what is unsafe depends on the smallest (largest) output alone."""
    scores = np.array(list(product(range(outputs), repeat=outputs)), dtype=float)
    scores = scores[[len(set(row)) == outputs for row in scores.tolist()]]
    for chosen in product([False, True], repeat=outputs):
        forbidden = [k for k in range(outputs) if chosen[k]]
        others = [k for k in range(outputs) if not chosen[k]]
        if not forbidden or not others:
            continue
        parts = [f"(and {' '.join(f'(<= Y_{i} Y_{j})' for j in others)})" for i in forbidden]
        unsafe = f"(or {' '.join(parts)})" if len(parts) > 1 else parts[0]
        smallest, largest = prop(unsafe, outputs), prop(mirrored(unsafe), outputs)
        assert spoken_of(smallest) == "min"
        assert spoken_of(largest) == ("max" if len(others) == 1 else None)
        points = np.zeros((len(scores), 1))
        assert np.array_equal(
            smallest.violation(points, scores) >= 0, np.isin(scores.argmin(axis=1), forbidden)
        )
        assert np.array_equal(
            largest.violation(points, scores) >= 0, np.isin(scores.argmax(axis=1), forbidden)
        )


def test_regions_that_say_nothing_do_not_vote() -> None:
    speaks, silent = prop("(and (<= Y_0 Y_1) (<= Y_0 Y_2))"), prop("(>= Y_0 3)")
    contrary = prop("(or (<= Y_0 Y_1) (<= Y_0 Y_2))")
    for given, expected in (((speaks, silent), "min"), ((speaks, contrary), None), ((silent, silent), None)):
        regions = tuple(region for one in given for region in one.regions)
        assert spoken_of(rs.Property(regions, 1, 3)) == expected


def test_no_region_and_two_outputs_say_nothing() -> None:
    assert spoken_of(rs.Property((), 1, 3)) is None
    assert spoken_of(prop("(<= Y_0 Y_1)", 2)) is None


@pytest.mark.data
@pytest.mark.parametrize(
    ("number", "expected"),
    [(1, None), (2, None), (3, "min"), (4, "min"), (5, "min"), (6, "min"), (7, "min"), (8, "min"), (9, "min"),
     (10, "min")],
)  # fmt: skip
def test_properties_of_acas_xu(number: int, expected: str | None) -> None:
    if not (folder := os.environ.get("REPAIRSOLVER_DATA")):
        pytest.skip("REPAIRSOLVER_DATA is not set: the benchmark data folder is needed")
    path = Path(folder) / "acasxu" / "vnnlib" / f"prop_{number}.vnnlib"
    assert spoken_of(rs.load_property(path)) == expected
