"""Attacks: what is found is a float32 point of the box that onnxruntime shows to violate; nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import dense_network, random_network, random_property

from repairsolver.network import Network, replay
from repairsolver.property import Conjunction, Property, Region
from repairsolver.verification.attack import Effort, attack
from repairsolver.verification.replay import into_box, replayed

SMALL = Effort(samples=128, restarts=8, steps=10, keep=8)


def assert_genuine(network: Network, prop: Property, point: np.ndarray, violation: float) -> None:
    assert np.array_equal(point, point.astype(np.float32).astype(np.float64))
    output = replay(network, point[None])
    assert prop.violation(point[None], output)[0] >= 0
    assert prop.violation(point[None], output)[0] == pytest.approx(violation, abs=1e-5)


def test_every_find_violates_on_onnxruntime() -> None:
    hits = 0
    for seed in range(60):
        softmax = seed % 3 == 0
        network = random_network(seed, softmax=softmax, outputs=3 if softmax else None)
        prop = random_property(seed, network, ordering=softmax)
        found = attack(network, prop, seed=seed, effort=SMALL)
        hits += bool(found)
        assert list(found) == sorted(found, key=lambda c: -c.violation)
        for example in found[:5]:
            assert_genuine(network, prop, example.input, example.violation)
    assert hits > 25


def test_violations_of_half_the_box_are_always_found() -> None:
    for seed in range(20):
        network = dense_network(seed, (3, 6, 2))
        region = random_property(seed, network, regions=1).regions[0]
        points = region.lower + (region.upper - region.lower) * np.random.default_rng(0).random((500, 3))
        row = np.array([[1.0, 0.0]])
        bound = np.array([np.median(network(points)[:, 0])])
        unsafe = Conjunction(row, np.zeros((1, 3)), bound)
        prop = Property((Region(region.lower, region.upper, (unsafe,)),), 3, 2)
        assert attack(network, prop, effort=SMALL)


def test_ascent_finds_what_sampling_misses() -> None:
    """The least value over a box of many inputs is at a corner that no sample comes near."""
    found = 0
    for seed in range(6):
        network = dense_network(seed, (30, 10, 1))
        row, lower, upper = np.ones((1, 1)), -np.ones(30), np.ones(30)
        points = np.random.default_rng(0).uniform(-1, 1, (20_000, 30))
        values = network(points)
        bound = values.min() - 0.3 * values.std()
        prop = Property(
            (Region(lower, upper, (Conjunction(row, np.zeros((1, 30)), np.array([bound])),)),), 30, 1
        )
        found += bool(attack(network, prop, effort=Effort(samples=256, restarts=32, steps=40)))
    assert found >= 5


def test_nothing_is_found_where_nothing_is() -> None:
    for seed in range(15):
        network = random_network(seed)
        prop = random_property(seed, network, regions=1)
        far = tuple(
            Conjunction(c.output, c.input, np.full_like(c.bound, -1e6)) for c in prop.regions[0].unsafe
        )
        nothing = Property(
            (Region(prop.regions[0].lower, prop.regions[0].upper, far),), prop.input_size, prop.output_size
        )
        assert attack(network, nothing, effort=SMALL, worst=True) == ()
    assert attack(network, Property((), prop.input_size, prop.output_size)) == ()


def test_the_seed_decides() -> None:
    for seed in range(8):
        network = random_network(seed)
        prop = random_property(seed, network)
        first, again = (attack(network, prop, seed=5, effort=SMALL) for _ in range(2))
        assert len(first) == len(again)
        for a, b in zip(first, again, strict=True):
            assert np.array_equal(a.input, b.input)
            assert a.violation == b.violation


def test_into_box_gives_float32_points_within() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        n = int(rng.integers(1, 6))
        lower = rng.normal(size=n) * 10.0 ** rng.integers(-6, 6)
        upper = lower + rng.random(n) * 10.0 ** rng.integers(-12, 3)
        region = Region(lower, upper, ())
        points = into_box(lower + (upper - lower) * rng.random((5, n)), region, np.dtype(np.float32))
        assert np.array_equal(points, points.astype(np.float32))
        inside = (points >= lower) & (points <= upper)
        nearest = ((lower + upper) / 2).astype(np.float32)
        up, down = np.nextafter(nearest, np.float32(np.inf)), np.nextafter(nearest, np.float32(-np.inf))
        held = (nearest >= lower) & (nearest <= upper)
        held |= ((up >= lower) & (up <= upper)) | ((down >= lower) & (down <= upper))
        # Where the interval holds a float32 value, it is kept; else the value nearest to its middle.
        assert inside[:, held].all()
        assert (points[:, ~held] == nearest[~held]).all()


def test_an_input_fixed_at_a_number_that_float32_lacks() -> None:
    """0.1 is no float32 number: the nearest one is what the file can be given."""
    network = dense_network(1, (2, 4, 1))
    lower, upper = np.array([0.1, -1.0]), np.array([0.1, 1.0])
    unsafe = Conjunction(np.ones((1, 1)), np.zeros((1, 2)), np.array([1e6]))
    region = Region(lower, upper, (unsafe,))
    found = attack(network, Property((region,), 2, 1), effort=SMALL)
    assert found
    assert found[0].input[0] == np.float64(np.float32(0.1))
    assert -1 <= found[0].input[1] <= 1


def test_replayed_points_that_do_not_violate_are_dropped() -> None:
    network = dense_network(2, (1, 3, 1))
    points = np.linspace(-1, 1, 41)[:, None]
    values = replay(network, points.astype(np.float32).astype(np.float64))
    bound = np.median(values)
    region = Region(
        -np.ones(1), np.ones(1), (Conjunction(np.ones((1, 1)), np.zeros((1, 1)), np.array([bound])),)
    )
    found = replayed(network, [(region, points)])
    assert len(found) == int((values <= bound).sum())
    assert replayed(network, [(region, np.zeros((0, 1)))]) == []
