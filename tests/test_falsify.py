"""Falsification: worst violations against brute force, bounds against exact arithmetic, different inputs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from exact_oracle import can_be_violated
from random_networks import dense_network, random_network, random_property
from scipy.optimize import linprog
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import SoundnessError
from repairsolver.network.operators import Dense
from repairsolver.property import Conjunction, Property, Region
from repairsolver.report import records, sentences
from repairsolver.verification.diverse import _farthest, diverse
from repairsolver.verification.falsify import falsify_property
from repairsolver.verification.worst import Worst, _check, beyond

DEMO = Path(rs.__file__).parent / "demo"
NET, PROP = str(DEMO / "controller.onnx"), str(DEMO / "head_on.vnnlib")


def genuine(network: rs.Network, prop: Property, example: rs.Counterexample) -> bool:
    """In a box, of float32 numbers, and a violation on onnxruntime by what is said."""
    point = example.input[None]
    assert np.array_equal(point, point.astype(np.float32))
    output = rs.replay(network, point)
    assert np.array_equal(output[0], example.output)
    assert prop.violation(point, output)[0] == pytest.approx(example.violation, rel=1e-12, abs=1e-12)
    return example.violation >= 0


def largest(network: rs.Network, prop: Property) -> float:
    """The largest violation by one linear program for every activation pattern of one hidden layer."""
    dense = [node.operator for node in network.nodes if isinstance(node.operator, Dense)]
    (w, b), (v, c) = ((d.weight, d.bias) for d in dense)
    best = -np.inf
    for region in prop.regions:
        for unsafe in region.unsafe:
            for pattern in itertools.product([0.0, 1.0], repeat=len(b)):
                best = max(best, _in_pattern(region, unsafe, w, b, v, c, np.array(pattern)))
    return best


def _in_pattern(region, unsafe, w, b, v, c, pattern) -> float:  # type: ignore[no-untyped-def]
    sign = 2 * pattern - 1
    slope, shift = v @ (pattern[:, None] * w), v @ (pattern * b) + c
    # Rows over (x, t): the pattern's signs, and t <= d - C y - D x.
    signs = np.hstack([-sign[:, None] * w, np.zeros((len(b), 1))])
    rows = np.hstack([unsafe.output @ slope + unsafe.input, np.ones((len(unsafe.bound), 1))])
    bounds = [*zip(region.lower, region.upper, strict=True), (None, None)]
    answer = linprog(
        np.append(np.zeros(len(region.lower)), -1.0),
        np.vstack([signs, rows]),
        np.concatenate([sign * b, unsafe.bound - unsafe.output @ shift]),
        bounds=bounds,
    )
    return -answer.fun if answer.status == 0 else -np.inf


def test_the_worst_violation_is_that_of_brute_force_over_patterns() -> None:
    closed = 0
    for seed in range(16):
        network = dense_network(seed, (2 + seed % 2, 4, 2))
        prop = random_property(seed, network)
        exact = largest(network, prop)
        found = falsify_property(network, prop, worst=True, seed=seed)
        if exact < -1e-6:
            assert found.status is rs.VerifyStatus.UNKNOWN
            assert found.counterexamples == ()
            assert found.upper_bound is None
        elif exact > 1e-6:
            assert found.counterexample is not None
            assert found.upper_bound is not None
            assert found.upper_bound >= exact - 1e-7
            assert found.counterexample.violation <= exact + 1e-5
            assert genuine(network, prop, found.counterexample)
            if found.proved_worst:
                assert found.counterexample.violation >= exact - found.tolerance - 1e-6
                closed += 1
    assert closed > 6


def test_no_input_violates_by_more_than_the_bound_in_exact_arithmetic() -> None:
    """Networks of every piecewise linear operator, against z3 over the rationals."""
    bounded = 0
    for seed in range(10):
        network = random_network(seed, smooth=False, steps=2)
        prop = random_property(seed, network)
        found = falsify_property(network, prop, worst=True, seed=seed, limits=rs.Limits(seconds=2.0))
        if found.upper_bound is None:
            continue
        bounded += 1
        assert can_be_violated(network, prop, relaxed=-(found.upper_bound + 1e-9)) is not True
        assert can_be_violated(network, prop, relaxed=-(found.counterexample.violation - 1e-4)) is not False
    assert bounded > 2


def test_a_bound_that_is_cut_short_holds_and_is_not_called_worst() -> None:
    """Little time: the gap is reported, and no sample violates by more than the bound."""
    for seed in range(4):
        network = dense_network(seed, (6, 24, 24, 3))
        prop = random_property(seed, network, regions=1, width=2.0)
        found = falsify_property(network, prop, worst=True, limits=rs.Limits(seconds=1.0))
        if found.upper_bound is None:
            continue
        assert found.gap is not None
        assert found.proved_worst == (found.gap <= found.tolerance)
        region = prop.regions[0]
        points = np.random.default_rng(0).uniform(region.lower, region.upper, (20_000, 6))
        assert prop.violation(points, network(points)).max() <= found.upper_bound


def test_behind_a_softmax_only_the_simplex_bounds() -> None:
    seen = 0
    for seed in range(7):
        network = random_network(seed, softmax=True, outputs=3)
        prop = random_property(seed, network, ordering=True)
        found = falsify_property(network, prop, worst=True)
        if found.counterexample is None:
            continue
        seen += 1
        assert found.upper_bound == 1.0
        assert found.counterexample.violation <= 1.0
        assert genuine(network, prop, found.counterexample)
    assert seen > 1


def disjuncts() -> tuple[rs.Network, Property]:
    """Two boxes, each with three conjunctions that small shares of it violate."""
    network = dense_network(11, (3, 12, 3))
    regions = []
    for shift in (-1.0, 1.0):
        lower, upper = np.full(3, shift - 0.6), np.full(3, shift + 0.6)
        points = np.random.default_rng(0).uniform(lower, upper, (4000, 3))
        bounds = np.quantile(network(points), 0.01, axis=0)
        unsafe = tuple(
            Conjunction(np.eye(3)[k : k + 1], np.zeros((1, 3)), bounds[k : k + 1]) for k in range(3)
        )
        regions.append(Region(lower, upper, unsafe))
    return network, Property(tuple(regions), 3, 3)


def test_different_inputs_cover_all_that_is_violated() -> None:
    network, prop = disjuncts()
    found = falsify_property(network, prop, count=24)
    assert len(found.counterexamples) == 24
    assert len({c.input.astype(np.float32).tobytes() for c in found.counterexamples}) == 24
    assert all(genuine(network, prop, c) for c in found.counterexamples)
    x = np.array([c.input for c in found.counterexamples])
    y = np.array([c.output for c in found.counterexamples])
    for region in prop.regions:
        for unsafe in region.unsafe:
            assert (region.contains(x) & (unsafe.violation(x, y) >= 0)).any()
    values = [c.violation for c in found.counterexamples]
    assert values == sorted(values, reverse=True)


def test_different_inputs_lie_farther_apart_than_the_worst_ones() -> None:
    network, prop = disjuncts()
    pool = falsify_property(network, prop, count=200).counterexamples
    chosen = diverse(network, prop, pool, 12)

    def least_distance(points: tuple[rs.Counterexample, ...]) -> float:
        x = np.array([c.input for c in points])
        return float(min(np.linalg.norm(a - b) for a, b in itertools.combinations(x, 2)))

    assert least_distance(chosen) > 2 * least_distance(pool[:12])
    assert chosen[0].violation == max(c.violation for c in pool)


def test_farthest_points_by_hand() -> None:
    places = np.array([[0.0], [1.0], [0.1], [0.55], [0.5]])
    covered = np.array([[True, False], [True, False], [True, True], [True, False], [True, False]])
    # The worst, the one that covers the second column, then the farthest from both, and so on.
    assert _farthest(places, covered, 4) == [0, 2, 1, 3]
    assert _farthest(places, covered, 9) == [0, 2, 1, 3, 4]


def test_a_point_is_all_there_is() -> None:
    """A box of one point has one counterexample, however many are asked for."""
    network = dense_network(1, (2, 4, 1))
    unsafe = Conjunction(np.ones((1, 1)), np.zeros((1, 2)), np.array([1e6]))
    prop = Property((Region(np.ones(2), np.ones(2), (unsafe,)),), 2, 1)
    found = falsify_property(network, prop, count=5, worst=True)
    assert len(found.counterexamples) == 1
    assert found.asked == 5
    assert found.proved_worst
    assert "asked for 5" in sentences.explain_falsification(found)


def test_equality_violates_by_zero() -> None:
    """Not by -0: the right-hand side minus an output of equal size, in float64."""
    found = rs.Falsification(rs.VerifyStatus.VIOLATED, (rs.Counterexample(np.zeros(1), np.zeros(1), -0.0),))
    told = sentences.explain_falsification(found, worst=True)
    assert ": 1 input, replayed by onnxruntime on the network's own file, by 0 in the weakest" in told
    assert told.endswith("No bound on the violation was proved: a worse input may exist.")


def test_an_input_without_a_float32_value_is_no_obstacle() -> None:
    """0.1 is no float32 number: the nearest one is outside the box, and climbing goes on from it."""
    network = dense_network(3, (2, 6, 1))
    values = network(np.array([[0.1, t] for t in np.linspace(-1, 1, 20_001)]))
    unsafe = Conjunction(np.ones((1, 1)), np.zeros((1, 2)), np.array([np.median(values)]))
    prop = Property((Region(np.array([0.1, -1.0]), np.array([0.1, 1.0]), (unsafe,)),), 2, 1)
    found = falsify_property(network, prop, worst=True, count=4)
    assert len(found.counterexamples) == 4
    assert found.proved_worst
    assert found.counterexample is not None
    assert found.counterexample.violation == pytest.approx(np.median(values) - values.min(), rel=1e-3)


def test_nothing_is_found_where_nothing_is() -> None:
    network = dense_network(2, (2, 4, 1))
    unsafe = Conjunction(np.ones((1, 1)), np.zeros((1, 2)), np.array([-1e6]))
    prop = Property((Region(np.zeros(2), np.ones(2), (unsafe,)),), 2, 1)
    for found in (
        falsify_property(network, prop, worst=True, count=3),
        falsify_property(network, Property((), 2, 1), limits=rs.Limits(seconds=5.0)),
    ):
        assert found.status is rs.VerifyStatus.UNKNOWN
        assert found.counterexample is None
        assert found.gap is None
        assert not found.proved_worst
        assert "proves nothing" in sentences.explain_falsification(found)
        assert "unknown" in repr(found)


def test_the_seed_decides() -> None:
    for seed in range(5, 8):
        network = random_network(seed, smooth=False)
        prop = random_property(seed, network)
        first, again = (falsify_property(network, prop, count=5, worst=True, seed=7) for _ in range(2))
        assert first.upper_bound == again.upper_bound
        assert [c.input.tolist() for c in first.counterexamples] == [
            c.input.tolist() for c in again.counterexamples
        ]


def test_violations_beyond_a_level_are_those_that_are_larger() -> None:
    for seed in range(10):
        network = random_network(seed)
        prop = random_property(seed, network)
        region = prop.regions[0]
        points = np.random.default_rng(0).uniform(region.lower, region.upper, (100, network.input_size))
        values = prop.violation(points, network(points))
        lowered = beyond(prop, 0.125).violation(points, network(points))
        assert np.allclose(lowered, values - 0.125, atol=1e-12)


def test_a_bound_that_a_replay_contradicts_is_an_alarm() -> None:
    example = rs.Counterexample(np.zeros(1), np.ones(1), 0.5)
    _check(Worst(example, 0.5 - 1e-6, ()))
    with pytest.raises(SoundnessError, match="proved to be the most"):
        _check(Worst(example, 0.4, ()))


def test_python_refuses_a_count_that_is_none() -> None:
    for count in (0, -1, 1.5):
        with pytest.raises((TypeError, ValueError), match="count must be"):
            rs.falsify(NET, PROP, count=count)  # type: ignore[arg-type]


def test_the_command_prints_sat_the_inputs_and_the_bound() -> None:
    done = CliRunner().invoke(app, ["falsify", NET, PROP, "--worst", "--count", "3", "--quiet"])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "sat"
    assert done.stdout.count("(X_0 ") == 3
    assert "no input violates by more than" in done.stdout


def test_the_command_prints_json() -> None:
    done = CliRunner().invoke(app, ["falsify", NET, PROP, "--count", "2", "--json", "--quiet"])
    record = json.loads(done.stdout)
    assert record["result"] == "sat"
    assert len(record["counterexamples"]) == 2
    assert record["upper_bound"] is None
    assert record["proved_worst"] is False


def test_the_command_prints_unknown(tmp_path: Path) -> None:
    harmless = Path(PROP).read_text().replace("(<= Y_0 Y_1)", "(<= Y_0 -1000.0)")
    (tmp_path / "never.vnnlib").write_text(harmless)
    done = CliRunner().invoke(app, ["falsify", NET, str(tmp_path / "never.vnnlib"), "--quiet"])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "unknown"


def test_a_record_has_plain_numbers_only() -> None:
    found = rs.falsify(NET, PROP, worst=True)
    network = rs.load_network(NET)
    text = records.dump(records.falsification_record(found, network, rs.load_property(PROP, network=network)))
    assert json.loads(text)["gap"] == found.gap
