"""Strict rows: a tie is no counterexample for any command, and the same row without equality has one."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_models import model

from repairsolver import falsify, repair, sample, verify
from repairsolver.errors import PropertyError
from repairsolver.network import Network, load_network
from repairsolver.property import Conjunction, Property, parse_property
from repairsolver.results import Limits
from repairsolver.sampling.domain import domain_of
from repairsolver.verification.attack import attack
from repairsolver.verification.query import missing_ties, queries

SHORT = Limits(seconds=2.0)


def capped(gain: float = 1.0) -> Network:
    """y = gain * relu(x): on [-1, 1] it ties with 0 on half of the box, and with the gain at one corner."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v", "c"], ["y"]),
    ]
    one, zero = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    weights = {"w": one, "b": zero, "v": np.float32(gain) * one, "c": zero}
    return load_network(model(nodes, (1, 1), weights).SerializeToString())


def unsafe(row: str) -> Property:
    declared = "(declare-const X_0 Real)(declare-const Y_0 Real)"
    return parse_property(f"{declared}(assert (>= X_0 -1))(assert (<= X_0 1))(assert {row})")


@pytest.mark.parametrize(
    ("strict_row", "closed_row"),
    [
        ("(> Y_0 1)", "(>= Y_0 1)"),
        ("(not (<= Y_0 1))", "(not (< Y_0 1))"),
        ("(< Y_0 0)", "(<= Y_0 0)"),
        ("(< (* 2 Y_0) 0)", "(<= (* 2 Y_0) 0)"),
    ],
)
def test_a_tie_is_a_counterexample_of_the_closed_row_only(strict_row: str, closed_row: str) -> None:
    net, strict = capped(), unsafe(strict_row)
    closed = unsafe(closed_row)
    for answer in (verify, falsify):
        assert answer(net, closed, limits=SHORT).status.value == "violated"
        found = answer(net, strict, limits=SHORT)
        assert "tie" in str(getattr(found, "notes", "tie"))
        assert found.status.value in ("unknown", "timeout")
        assert not found.counterexamples


def test_violations_beyond_a_tie_are_found_among_many_ties() -> None:
    prop = unsafe("(> Y_0 0)")
    for found in (attack(capped(), prop), verify(capped(), prop).counterexamples):
        assert found
        assert all(c.output[0] > 0 and c.violation > 0 for c in found)


def test_a_repair_does_not_take_a_tie_for_a_violation() -> None:
    fix = repair(capped(), unsafe("(> Y_0 1)"), limits=SHORT)
    assert fix.status.value in ("unknown", "timeout")
    assert not fix.counterexamples


def test_a_proof_of_the_closure_proves_the_strict_row() -> None:
    assert verify(capped(), unsafe("(> Y_0 1.001)")).status.value == "holds"


def test_a_repair_of_a_strict_row_is_proved() -> None:
    fix = repair(capped(2.0), unsafe("(> Y_0 1)"), limits=Limits(seconds=20))
    assert fix.status.value == "repaired"
    assert fix.network is not None
    assert verify(fix.network, unsafe("(>= Y_0 1)")).status.value == "holds"


def test_samples_at_a_tie_do_not_violate() -> None:
    """Half of the box ties with 0: all of it violates the closed row, nothing the strict one."""
    closed = sample(capped(), unsafe("(<= Y_0 0)"), epsilon=0.1, eta=0.01, seed=1)
    strict = sample(capped(), unsafe("(< Y_0 0)"), epsilon=0.1, eta=0.01, seed=1)
    assert (closed.status.value, strict.status.value) == ("rejected", "accepted")


def test_regions_that_differ_in_strictness_are_kept_apart() -> None:
    declared = "(declare-const X_0 Real)(declare-const Y_0 Real)"
    ways = [f"(and (>= X_0 {k}) (<= X_0 {k + 1}) ({r} Y_0 0))" for k, r in enumerate(("<=", "<"))]
    prop = parse_property(f"{declared}(assert (or {' '.join(ways)}))")
    assert len(domain_of(capped(), prop).unsafe) == 2


def test_only_searches_move_strict_rows() -> None:
    prop, closed = unsafe("(> Y_0 1)"), unsafe("(>= Y_0 1)")
    assert missing_ties(closed) is closed
    assert queries(prop, "cpu").bound.item() == -1 > queries(missing_ties(prop), "cpu").bound.item()


def test_a_strict_row_that_there_is_not() -> None:
    with pytest.raises(PropertyError, match=r"rows \[1\] are to be strict"):
        Conjunction(np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1), frozenset({1}))


def layered(first: list[list[float]], shift: list[float], second: list[float]) -> Network:
    """y = second . relu(first x + shift)."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v", "c"], ["y"]),
    ]
    out = np.float32([second]).T
    weights = {"w": np.float32(first), "b": np.float32(shift), "v": out, "c": np.zeros(1, np.float32)}
    return load_network(model(nodes, (1, len(first)), weights).SerializeToString())


def on_a_cube(size: int, row: str) -> Property:
    one = "(declare-const X_{0} Real)(assert (>= X_{0} -1))(assert (<= X_{0} 1))"
    inputs = "".join(map(one.format, range(size)))
    return parse_property(f"{inputs}(declare-const Y_0 Real)(assert {row})")


TYING = [
    layered([[1.0]], [0.0], [1.0]),
    layered([[1.0], [1.0]], [0.0], [1.0]),
    layered([[1.0, 1.0], [-1.0, 0.5], [0.3, 0.7]], [0.0, 0.0], [1.0, 1.0]),
    layered([[1.0, -2.0], [-0.7, 0.1]], [0.1, -0.3], [0.3, 0.9]),
]


@pytest.mark.parametrize("net", TYING, ids=lambda net: f"{net.input_size} inputs")
def test_a_tie_on_a_part_of_the_box_ends_the_search(net: Network) -> None:
    """All are 0 on a set of positive measure, and never less: without the rule they are split for ever."""
    size, patient = net.input_size, Limits(seconds=60)
    strict = verify(net, on_a_cube(size, "(< Y_0 0)"), limits=patient)
    assert strict.status.value == "unknown"
    assert strict.notes[0].startswith("A tie: at the input (")
    closed = verify(net, on_a_cube(size, "(<= Y_0 0)"), limits=patient)
    assert closed.status.value == "violated"
    assert closed.counterexample is not None
    assert closed.counterexample.violation == 0
    assert verify(net, on_a_cube(size, "(<= Y_0 -1e-9)"), limits=patient).status.value == "holds"


def test_a_violation_far_from_the_ties_is_found() -> None:
    """y is 0 up to x = 0, grows, and falls below 0 on the last two thousandths only."""
    net = layered([[1.0, 200.0]], [0.0, -199.0], [1.0, -1.25])
    found = verify(net, on_a_cube(1, "(< Y_0 0)"), limits=Limits(seconds=60))
    assert found.status.value == "violated"
    assert found.counterexample is not None
    assert found.counterexample.output[0] < 0
