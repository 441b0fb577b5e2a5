"""Training on preferred points, and mending: what is held out, what is chosen, what limits it."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from delta_networks import dense_network
from test_delta_distillation import lesson, problem, unseen
from test_delta_squared_moves import bare, samples

import repairsolver as rs
from repairsolver.repairing.delta import distilled as distilling
from repairsolver.repairing.delta.distilled import FOLDS, distilled, held_out, many_preferred
from repairsolver.repairing.delta.points import add_points

NETWORK = dense_network(4, (2, 10, 8, 3))


def test_versions_of_kept_points_are_held_out_with_them() -> None:
    """Three versions of every kept point, listed version after version, with the network's own decisions."""
    given = problem(NETWORK, "layer1")
    kept = samples(NETWORK)
    decisions = NETWORK(kept.inputs).argmax(axis=1)
    versions = [kept.inputs + 0.01 * k for k in (1, 2, 3)]
    prefer = rs.PointSet(
        np.concatenate(versions).astype(np.float32).astype(np.float64), np.tile(decisions, 3)
    )
    given.requirements.groups.clear()
    nowhere = rs.Property((), 2, 3)
    add_points(given.requirements, nowhere, unseen(NETWORK, 0, 4), kept, "max", 0.1, prefer, 0.1)
    made = lesson(given)
    held = held_out(made)
    assert not held[made.repaired].any()
    groups = given.requirements.groups.values()
    for group in (g for g in groups if g.preferred):
        mine = next(g for g in groups if g.kept and g.beats == group.beats)
        own = held[made.places[mine.name]]
        assert own.sum() == len(own) // FOLDS
        assert (held[made.places[group.name]] == np.tile(own, 3)).all()


def test_every_fifth_point_is_held_out_where_there_are_no_versions() -> None:
    made = lesson(problem(NETWORK, "layer1"))
    held = held_out(made)
    assert 0 < held.sum() < len(held) / 3
    assert not held[made.repaired].any()


@pytest.mark.parametrize("name", ["layer0", "layer1", "layer2"])
def test_it_repairs_and_teaches(name: str) -> None:
    """Every point to repair is right; of preferred ones that it has not seen, more than before."""
    given = problem(NETWORK, name, points=unseen(NETWORK, 0, 4))
    found = distilled(given, bare(given), shared=True)
    assert found is not None
    assert found.delta is not None
    after = bare(given).edited(found.delta)
    points, others = unseen(NETWORK, 0, 4), unseen(NETWORK, 2, 300)
    assert (after(points.inputs).argmax(axis=1) == points.labels).all()
    assert float((after(others.inputs).argmax(axis=1) == others.labels).mean()) > 0.5
    assert found.bound == 0
    assert found.cost == pytest.approx(given.cost(found.delta))


def test_the_change_with_the_least_sum_at_held_out_points_is_taken() -> None:
    given = problem(NETWORK, "layer1", points=unseen(NETWORK, 0, 4))
    made = lesson(given)
    held = np.flatnonzero(held_out(made))
    scores = {}
    for damping in distilling.DAMPINGS:
        found = distilling._stepped(made, held, damping, 0.5)
        scores[damping] = found.score
        judged = np.concatenate([made.repaired, held])
        moved = made.moved(found.delta, judged)
        assert found.score == (made.wrong(moved, judged), pytest.approx(made.loss(moved, judged)))
    assert len(set(scores.values())) > 1
    assert distilling._learnt(made).score == min(scores.values())


def test_steps_end_without_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilling, "PATIENCE", 50)
    monkeypatch.setattr(distilling, "RATE", 1e-12)  # nothing moves: the first look is not bettered by much
    monkeypatch.setattr(distilling.Distillation, "loss", lambda self, moved, rows: 1.0)
    made = lesson(problem(NETWORK, "layer1"))
    found = distilling._stepped(made, np.flatnonzero(held_out(made)), 1.0, 1.0)
    assert found.steps == distilling.CHECK + 50


def test_it_ends_in_time() -> None:
    given = replace(problem(NETWORK, "layer1"), deadline=time.perf_counter())
    assert distilling._learnt(lesson(given)).steps == 0


def test_few_preferred_points_are_left_to_models(monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem(NETWORK, "layer1")
    assert not many_preferred(given)
    monkeypatch.setattr(distilling, "MANY", 14)
    assert many_preferred(given)
