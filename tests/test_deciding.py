"""Which output a repair takes for the decision, what it keeps of both, and what its answer says."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from random_networks import dense_network
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.decision import Decision, moved, picked
from repairsolver.errors import EditError
from repairsolver.metrics import fidelity
from repairsolver.property import PointSet, Property, parse_property
from repairsolver.repairing.deciding import OPEN, OTHER, settle
from repairsolver.repairing.delta import sparing
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.candidate import edit_of
from repairsolver.repairing.delta.localise import MARGIN
from repairsolver.repairing.delta.loop import Session
from repairsolver.repairing.delta.method import begin_session
from repairsolver.repairing.delta.objective import Aim
from repairsolver.repairing.delta.sequential import least
from repairsolver.repairing.delta.ties import tie_weights
from repairsolver.report import records, words
from repairsolver.report.sentences import explain_repair

DECLARED = "(declare-const X_0 Real)" + "".join(f"(declare-const Y_{k} Real)" for k in range(3))
SMALLEST = "(and (<= Y_0 Y_1) (<= Y_0 Y_2))"
"""Y_0 may not be the smallest."""
LABEL = "(or (<= Y_0 Y_1) (<= Y_0 Y_2))"
NOT_LARGEST = "(and (>= Y_0 Y_1) (>= Y_0 Y_2))"
LIMITS = rs.Limits(seconds=20)


def prop(unsafe: str) -> rs.Property:
    return parse_property(f"{DECLARED}(assert (>= X_0 -1))(assert (<= X_0 1))(assert {unsafe})")


NETWORK = dense_network(41, (1, 6, 3))
"""Every output is the largest somewhere on [-1, 1], and every one the smallest."""
POINTS = np.linspace(-1, 1, 9)[:, None]


def labelled(side: str) -> rs.PointSet:
    outputs = NETWORK(POINTS)
    return rs.PointSet(POINTS, outputs.argmax(axis=1) if side == "max" else outputs.argmin(axis=1))


def test_chosen_outputs_by_hand() -> None:
    outputs = np.array([[3.0, 1.0, 2.0], [0.0, 0.0, 1.0], [5.0, 5.0, 5.0]])
    assert picked(outputs, "max").tolist() == [[0], [2], [0]]
    assert picked(outputs, "min").tolist() == [[1], [0], [0]]
    assert picked(outputs, "both").tolist() == [[0, 1], [2, 0], [0, 0]]
    after = np.array([[3.0, 2.5, 2.0], [2.0, 0.0, 1.0], [5.0, 5.0, 5.0]])
    assert moved(outputs, after, "max").tolist() == [False, True, False]
    assert moved(outputs, after, "min").tolist() == [True, True, False]
    assert moved(outputs, after, "both").tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("unsafe", "keep", "points", "expected", "why"),
    [
        (SMALLEST, None, None, "min", "the smallest output, as the property speaks of it (--decision max"),
        (LABEL, None, None, "max", "the largest output, as the property speaks of it (--decision min"),
        (NOT_LARGEST, None, None, "both", OPEN),
        (NOT_LARGEST, "min", None, "min", "points to keep have their label (--decision max"),
        (NOT_LARGEST, "max", None, "max", "points to keep have their label"),
        (NOT_LARGEST, None, "min", "max", "as usual for labels"),
        (SMALLEST, "max", None, "max", "points to keep have their label"),
        (SMALLEST, None, "max", "min", "as the property speaks of it"),
    ],
)
def test_who_tells(unsafe: str, keep: str | None, points: str | None, expected: str, why: str) -> None:
    kept, given = (None if side is None else labelled(side) for side in (keep, points))
    found = settle("auto", NETWORK, prop(unsafe), (given,), kept)
    assert found.decision == expected
    assert why in found.remark
    for asked in ("max", "min"):
        assert settle(asked, NETWORK, prop(unsafe), (given,), kept).decision == asked


def test_points_without_labels_and_small_networks() -> None:
    unlabelled = rs.PointSet(POINTS)
    assert settle("auto", NETWORK, prop(NOT_LARGEST), (), unlabelled).decision == "both"
    assert settle("auto", NETWORK, None).decision == "both"
    for outputs in (1, 2):
        found = settle("auto", dense_network(1, (1, 3, outputs)), None)
        assert (found.decision, found.remark) == ("max", "")


def test_both_is_refused_with_labels_and_unknown_words_always() -> None:
    with pytest.raises(EditError, match="choose max or min"):
        rs.repair(NETWORK, prop(SMALLEST), decision="both", keep=labelled("max"), limits=LIMITS)
    with pytest.raises(EditError, match="unknown decision 'largest': choose one of auto, max, min, both"):
        settle("largest", NETWORK, None)


@pytest.mark.parametrize(
    ("method", "unsafe", "decision", "taken", "said"),
    [
        ("delta", SMALLEST, "auto", "min", "Decision: the smallest output"),
        ("delta", NOT_LARGEST, "auto", "both", OPEN),
        ("delta", SMALLEST, "max", "max", OTHER),
        ("gate", SMALLEST, "min", "min", ""),
        ("gate", NOT_LARGEST, "both", "both", ""),
        ("imitation", NOT_LARGEST, "auto", "both", OPEN),
    ],
)
def test_every_method_says_once_which_decision_it_took(
    method: str, unsafe: str, decision: str, taken: str, said: str
) -> None:
    fix = rs.repair(NETWORK, prop(unsafe), method=method, decision=decision, limits=LIMITS)  # type: ignore[arg-type]
    assert fix.network is not None
    assert fix.fidelity is not None
    assert fix.decision == taken
    told = explain_repair(fix)
    assert told.count("Decision: ") + told.count(OTHER) == bool(said)
    assert said in told
    assert (fix.fidelity.other is not None) == (taken == "both")
    record = records.repair_record(fix, NETWORK, prop(unsafe))
    assert json.loads(records.dump(record))["decision"] == taken


def test_fidelity_of_both_is_that_of_each_and_the_worse_comes_first() -> None:
    """The shares of one comparison are those of two, on the same samples."""
    network = dense_network(5, (2, 8, 4))
    other = dense_network(6, (2, 8, 4))
    lower, upper = -np.ones(2), np.ones(2)
    both = fidelity(network, other, lower, upper, decision="both", samples=2000)
    single = {
        side: fidelity(network, other, lower, upper, decision=side, samples=2000) for side in ("max", "min")
    }
    assert both.other is not None
    assert {both.decision, both.other.decision} == {"max", "min"}
    for one in (both, both.other):
        assert one.agreement == single[one.decision].agreement
    assert both.agreement is not None
    assert both.other.agreement is not None
    assert both.agreement.value <= both.other.agreement.value
    keep = rs.PointSet(np.random.default_rng(0).uniform(-1, 1, (50, 2)))
    drawn = fidelity(network, other, lower, upper, decision="both", samples=200, keep=keep).drawdown
    changed = {s: moved(network(keep.inputs), other(keep.inputs), s).sum() for s in ("max", "min")}
    assert drawn is not None
    assert drawn.hits == max(changed.values())


@pytest.mark.parametrize("decision", ["max", "min", "both"])
def test_of_unlabelled_points_to_keep_every_decision_that_counts_stays(decision: str) -> None:
    """Checked on the network made; with one decision the other one is lost somewhere."""
    lost = {"max": 0, "min": 0}
    for seed in range(4):
        network = dense_network(seed, (2, 8, 4))
        keep = rs.PointSet(np.random.default_rng(seed).uniform(-1, 1, (40, 2)))
        target = network(np.array([[0.275, 0.275]]))[0]
        row = np.eye(4)[[target.argsort()[1]]]
        unsafe = rs.Conjunction(row, np.zeros((1, 2)), row @ target + 0.3)
        asked = rs.Property((rs.Region(np.full(2, 0.25), np.full(2, 0.3), (unsafe,)),), 2, 4)
        fix = rs.repair(network, asked, keep=keep, decision=decision, limits=LIMITS)  # type: ignore[arg-type]
        assert fix.status is rs.RepairStatus.REPAIRED
        assert fix.network is not None
        for side in lost:
            changed = moved(network(keep.inputs), fix.network(keep.inputs), side)  # type: ignore[arg-type]
            lost[side] += int(changed.sum())
    kept = ("max", "min") if decision == "both" else (decision,)
    assert {side for side in lost if not lost[side]} == set(kept)


def test_the_report_has_a_row_for_each_decision() -> None:
    fix = rs.repair(NETWORK, prop(NOT_LARGEST), limits=LIMITS)
    rows = words.fidelity(records.repair_record(fix, NETWORK, prop(NOT_LARGEST)))
    assert [row[0] for row in rows if row[0].startswith("Same")] == [
        words.SAME[fix.fidelity.decision],
        words.SAME[fix.fidelity.other.decision],
    ]
    told = explain_repair(fix)
    assert "Same largest output on" in told
    assert "Same smallest output on" in told


def test_on_the_command_line(tmp_path) -> None:
    rs.save_network(NETWORK, tmp_path / "net.onnx")
    (tmp_path / "p.vnnlib").write_text(
        f"{DECLARED}(assert (>= X_0 -1))(assert (<= X_0 1))(assert {NOT_LARGEST})"
    )
    call = ["repair", "net.onnx", "p.vnnlib", "-o", "fixed.onnx", "--json", "--timeout", "20", "--quiet"]
    paths = [str(tmp_path / word) if word.endswith((".onnx", ".vnnlib")) else word for word in call]
    answer = CliRunner().invoke(app, paths)
    assert answer.exit_code == 0, answer.output
    record = json.loads(answer.stdout)
    assert record["asked"]["decision"] == "auto"
    assert record["decision"] == "both"
    assert OPEN in record["remarks"]
    assert {record["fidelity"]["decision"], record["fidelity"]["other"]["decision"]} == {"max", "min"}
    measured = CliRunner().invoke(
        app,
        [
            "fidelity",
            *(str(tmp_path / n) for n in ("net.onnx", "fixed.onnx")),
            "--lower",
            "-1",
            "--upper",
            "1",
        ],
    )
    assert measured.exit_code == 0, measured.output
    assert measured.stdout.count("Same largest output") == measured.stdout.count("Same smallest output") == 1


def session_of(asked: Property, keep: PointSet | None = None) -> Session:
    return begin_session(
        NETWORK, asked, Choice("last"), started=0.0, aim=Aim(), gap=0.01, solver="highs", points=None,
        keep=keep, decision="max" if keep is not None else "both", limits=rs.Limits(), seed=0, on_event=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("decision", "kept", "spared"),
    [
        ("both", (0.9, 0.2), "max"), ("both", (0.2, 0.9), "min"), ("both", (0.5, 0.5), "max"),
        ("min", (0.9, 0.2), "min"), ("min", (0.2, 0.9), "max"), ("min", (0.5, 0.5), "min"),
        ("max", (0.5, 0.5), "max"),
    ],
)  # fmt: skip
def test_of_two_ways_to_choose_among_equal_changes_the_one_that_keeps_more_is_taken(
    monkeypatch: pytest.MonkeyPatch, decision: Decision, kept: tuple[float, float], spared: str
) -> None:
    session = session_of(prop(NOT_LARGEST))
    ways = {
        side: tie_weights(session.requirements, session.prop, side, 0.005, 0)  # type: ignore[arg-type]
        for side in ("max", "min")
    }
    assert not np.array_equal(ways["max"], ways["min"])
    shares = iter(kept)
    monkeypatch.setattr(sparing, "_kept", lambda session, weights, decision: next(shares))
    sparing.spare_decisions(session, decision, 0.005)
    np.testing.assert_array_equal(session.weights, ways[spared])


def test_points_to_keep_say_what_counts_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(prop(NOT_LARGEST), keep=PointSet(np.linspace(-1, 1, 5)[:, None], name="kept"))
    monkeypatch.setattr(sparing, "_kept", None)
    sparing.spare_decisions(session, "max", 0.005)
    np.testing.assert_array_equal(
        session.weights, tie_weights(session.requirements, session.prop, "max", 0.005, 0)
    )


@pytest.mark.parametrize("decision", ["both", "min"])
def test_first_changes_are_measured_by_the_decision(decision: Decision) -> None:
    """Their share is that of the networks that the changes make, on samples drawn here."""
    asked = prop(NOT_LARGEST)
    session = session_of(asked)
    points = np.linspace(-1, 1, 2001)[:, None]
    session.requirements.forbid(asked, points[asked.violation(points, NETWORK(points)) > 0.01][:20])
    weights = tie_weights(session.requirements, asked, "max", 0.005, 0)
    told = sparing._kept(session, weights, decision)
    problem, shares = session.problem(0.0, 10.0), []
    for multiple in sparing.MARGINS:
        trial = replace(problem, margin=multiple * MARGIN * problem.scale(), weights=weights)
        delta = least(trial, shared=True).delta
        assert delta is not None
        made = edit_of(NETWORK, session.layer, delta).apply(NETWORK)
        shares.append(1 - moved(NETWORK(points), made(points), decision).mean())
    assert told == pytest.approx(np.mean(shares), abs=0.05)
    assert 0 < told < 1
