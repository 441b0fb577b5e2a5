"""What results say about themselves in one line."""

from __future__ import annotations

import numpy as np
import pytest

import repairsolver as rs
from repairsolver.results import counted

FOUND = rs.Counterexample(np.zeros(2), np.zeros(2), 0.25)


@pytest.mark.parametrize(("number", "expected"), [(0, "0 boxes"), (1, "1 box"), (12, "12 boxes")])
def test_numbers_have_their_noun(number: int, expected: str) -> None:
    assert counted(number, "box", "boxes") == expected


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (
            rs.Verdict(rs.VerifyStatus.VIOLATED, FOUND, (FOUND,), methods=("attack",), seconds=0.54),
            "<Verdict violated: by 0.25 in the weakest constraint; 1 counterexample; tried attack; 0 boxes, "
            "0.5 s>",
        ),
        (
            rs.Verdict(rs.VerifyStatus.HOLDS, methods=("attack", "input splitting"), boxes=89),
            "<Verdict holds: proved for every input of the property; tried attack, input splitting; "
            "89 boxes, 0.0 s>",
        ),
        (
            rs.Verdict(rs.VerifyStatus.TIMEOUT, proved_volume=0.375),
            "<Verdict timeout: proved on 37.50% of the input volume; tried nothing; 0 boxes, 0.0 s>",
        ),
    ],
)
def test_verdict_in_one_line(verdict: rs.Verdict, expected: str) -> None:
    assert repr(verdict) == expected


def test_property_and_points_in_one_line() -> None:
    prop = rs.not_maximal([0.0, 0.0], [1.0, 1.0], label=1, outputs=3, name="left")
    assert repr(prop) == "<Property left: 2 -> 3; 1 region, 1 unsafe conjunction>"
    points = rs.PointSet(np.zeros((3, 2)), np.zeros(3), name="keep.csv")
    assert repr(points) == "<PointSet keep.csv: 3 points of 2 numbers, labelled>"


def test_an_event_prints_as_one_line_of_progress() -> None:
    assert (
        str(rs.Event("split", "3 boxes examined", 1.25, {"boxes": 3}))
        == "[    1.25 s] split: 3 boxes examined"
    )
