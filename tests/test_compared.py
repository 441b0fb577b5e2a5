"""Which decision the fidelity of a repair compares, where the property is about smallest outputs."""

from __future__ import annotations

import pytest
from random_networks import dense_network

import repairsolver as rs
from repairsolver.property import parse_property
from repairsolver.repairing.compared import OTHER, about_smallest
from repairsolver.report.sentences import explain_repair

DECLARED = "(declare-const X_0 Real)" + "".join(f"(declare-const Y_{k} Real)" for k in range(3))


def prop(unsafe: str) -> rs.Property:
    return parse_property(f"{DECLARED}(assert (>= X_0 -1))(assert (<= X_0 1))(assert {unsafe})")


@pytest.mark.parametrize(
    ("unsafe", "expected"),
    [
        ("(and (<= Y_0 Y_1) (<= Y_0 Y_2))", True),  # Y_0 may not be the smallest
        ("(or (<= Y_1 Y_0) (<= Y_2 Y_0))", True),  # Y_0 must be the smallest
        ("(or (and (<= Y_0 Y_1) (<= Y_0 Y_2)) (and (<= Y_1 Y_0) (<= Y_1 Y_2)))", True),
        ("(and (>= Y_0 Y_1) (>= Y_0 Y_2))", False),  # Y_0 may not be the largest
        ("(or (<= Y_0 Y_1) (<= Y_0 Y_2))", False),  # Y_0 must be the largest
        ("(<= Y_0 Y_1)", False),
        ("(and (<= Y_0 Y_1) (<= Y_0 Y_2) (<= Y_0 3))", False),
        ("(and (<= Y_0 Y_1) (<= (+ Y_0 1) Y_2))", False),
        ("(and (<= Y_0 Y_1) (<= (+ Y_0 X_0) Y_2))", False),
        ("(and (<= Y_0 Y_1) (<= (* 2 Y_0) Y_2))", False),
        ("(and (<= Y_0 Y_1) (<= Y_1 Y_2))", False),
        ("(and (<= Y_0 Y_1) (<= (* 2 Y_0) (* 2 Y_1)))", False),
    ],
)
def test_properties_about_smallest_outputs(unsafe: str, expected: bool) -> None:
    assert about_smallest(prop(unsafe)) is expected


def test_no_region_is_about_nothing() -> None:
    assert not about_smallest(rs.Property((), 1, 3))


@pytest.mark.parametrize(("decision", "said"), [("max", True), ("min", False)])
def test_the_answer_says_once_which_decision_was_compared(decision: str, said: bool) -> None:
    network = dense_network(3, (1, 6, 3))
    fix = rs.repair(
        network,
        prop("(and (<= Y_0 Y_1) (<= Y_0 Y_2))"),
        decision=decision,
        limits=rs.Limits(seconds=20),
    )
    assert fix.fidelity is not None
    assert explain_repair(fix).count(OTHER) == said
