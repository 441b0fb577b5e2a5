"""Programs of other tools: against the papers' programs written out in full, and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from delta_networks import dense_network
from scipy.optimize import linprog

from benchmarks.mnist_points import peer_program
from benchmarks.mnist_points.peer_points import Points
from benchmarks.mnist_points.peer_program import BOUND, MARGIN, METHODS, Method, repaired
from benchmarks.mnist_points.peers import Peers
from repairsolver.network import replay

SIZES = (3, 6, 5, 4)


@pytest.fixture(autouse=True)
def tight(monkeypatch):
    monkeypatch.setattr(peer_program, "GAP", 1e-8)


def instance(seed: int, k: int) -> tuple[Peers, Points, np.ndarray]:
    peers = Peers(dense_network(seed, SIZES))
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(5, 3)).astype(np.float32).astype(np.float64)
    labels = rng.integers(0, SIZES[-1], 5)
    return peers, Points(peers.weights, peers.biases, k, inputs, labels), inputs


def in_full(peers: Peers, points: Points, k: int, method: Method) -> float | None:
    """The optimum of the whole program: its rows come from moving one parameter at a time."""
    shape, widths = peers.weights[k].shape, points.widths if method.biases else []
    size = int(np.prod(shape)) + sum(widths)

    def moved(step: np.ndarray) -> list[np.ndarray]:
        weight, rest = step[: np.prod(shape)].reshape(shape), step[np.prod(shape) :]
        return points.moved(weight, tuple(np.split(rest, np.cumsum(widths)[:-1])) if method.biases else ())

    each = [moved(unit) for unit in np.eye(size)]
    layers = [np.stack([one[i] for one in each], axis=-1) for i in range(len(points.pre))]
    rows, need = [], []
    for i, label in enumerate(points.labels):
        for other in set(range(SIZES[-1])) - {int(label)}:
            rows.append(layers[-1][i, label] - layers[-1][i, other])
            need.append(MARGIN - points.pre[-1][i, label] + points.pre[-1][i, other])
    if method.patterns:
        for pre, on, part in zip(points.pre[:-1], points.on, layers, strict=False):
            sign = np.where(on, 1.0, -1.0)
            rows.extend((sign[..., None] * part).reshape(-1, size))
            need.extend((-sign * pre).ravel())
    every = np.vstack([np.eye(size), layers[-1].reshape(-1, size)])
    count = len(every)
    blocks = [
        np.hstack([-np.array(rows), np.zeros((len(rows), count + 1))]),
        np.hstack([every, -np.eye(count), np.zeros((count, 1))]),
        np.hstack([-every, -np.eye(count), np.zeros((count, 1))]),
        np.hstack([np.zeros((count, size)), np.eye(count), -np.ones((count, 1))]),
    ]
    cost = np.concatenate([np.zeros(size), np.full(count, 1 / count), [1.0]])
    bounds = [(-BOUND, BOUND)] * size + [(0, None)] * (count + 1)
    right = np.concatenate([-np.array(need), np.zeros(3 * count)])
    found = linprog(cost, A_ub=np.vstack(blocks), b_ub=right, bounds=bounds, method="highs")
    return float(found.fun) if found.status == 0 else None


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("tool", METHODS)
def test_the_optimum_is_that_of_the_whole_program(tool, k):
    solved = 0
    for seed in range(6):
        peers, points, _ = instance(seed, k)
        change, best = repaired(points, METHODS[tool], 60.0), in_full(peers, points, k, METHODS[tool])
        assert (change.status == "optimal") == (best is not None)
        if best is not None:
            assert change.objective == pytest.approx(best, abs=1e-6)
            solved += 1
    assert solved


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("tool", METHODS)
def test_what_decides_is_repaired(tool, k):
    seen = 0
    for seed in range(6):
        peers, points, inputs = instance(seed, k)
        method = METHODS[tool]
        change = repaired(points, method, 60.0)
        decide = peers.decide(k, change, ordinary=method.patterns)
        if decide is not None:
            assert np.array_equal(decide(inputs), points.labels)
            seen += not np.array_equal(points.pre[-1].argmax(axis=1), points.labels)
    assert seen


def test_an_ordinary_network_keeps_the_patterns_of_the_points():
    peers, points, inputs = instance(0, 0)
    change = repaired(points, METHODS["APRNN"], 60.0)
    written = Peers(peers.written(0, change))
    after = Points(written.weights, written.biases, 0, inputs, points.labels)
    for before, now in zip(points.pre[:-1], after.pre, strict=False):
        assert np.all(np.where(before >= 0, now, -now) > -1e-4)
    assert np.allclose(replay(peers.written(0, change), inputs), after.pre[-1], atol=1e-4)


def test_without_a_change_a_decoupled_network_is_the_network():
    peers, _, inputs = instance(1, 1)
    same = peers.decoupled(1, np.zeros_like(peers.weights[1]), inputs)
    assert np.array_equal(same, peers.network(inputs).argmax(axis=1))


def test_time_runs_out():
    _, points, _ = instance(0, 0)
    assert repaired(points, METHODS["PRDNN"], -1.0).status == "timeout"
