"""Attacks: what is found is a float32 point of the box that onnxruntime shows to violate; nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from random_networks import dense_network, random_network, random_property

from repairsolver.bounds.tensors import tensor_graph
from repairsolver.network import Network, load_network, replay
from repairsolver.property import Conjunction, Property, Region
from repairsolver.verification.attack import Effort, ascend, attack, climb_from, gradient
from repairsolver.verification.attack.ascent import axis_moves
from repairsolver.verification.attack.starts import of_neighbours, unit_samples
from repairsolver.verification.query import queries, slack
from repairsolver.verification.replay import into_box, replayed

SMALL = Effort(samples=128, restarts=8, steps=10, keep=8)


def assert_genuine(network: Network, prop: Property, point: np.ndarray, violation: float) -> None:
    assert np.array_equal(point, point.astype(np.float32).astype(np.float64))
    output = replay(network, point[None])
    assert any(region.contains(point[None])[0] for region in prop.regions)
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


WIDE = 12


def threshold_network(
    signs: np.ndarray, threshold: float, *, telling: bool = False, dead: int = 1
) -> Network:
    """y_0 = relu(signs x - threshold), flat nearly everywhere; if `telling`, also y_1 = signs x.

    Args:
        dead: rectifiers in a row, each saturated where the first is.
    """
    weight = np.stack([signs, signs]).astype(np.float32)
    shift = np.array([-threshold, 100.0], np.float32)
    back = np.array([[1, 0], [0, 1]] if telling else [[1, 0]], np.float32)
    constants = {"w": weight, "b": shift, "v": back, "c": np.array([0, -100][: len(back)], np.float32)}
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["z0"], transB=1)]
    nodes += [helper.make_node("Relu", [f"z{k}"], [f"z{k + 1}"]) for k in range(dead)]
    nodes.append(helper.make_node("Gemm", [f"z{dead}", "v", "c"], ["y"], transB=1))
    graph = helper.make_graph(
        nodes,
        "threshold",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, len(signs)))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, len(back)))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return load_network(model.SerializeToString(), name="threshold")


def above(network: Network, level: float) -> Property:
    """Violated where y_0 >= level, on [-1, 1]^n."""
    n, m = network.input_size, network.output_size
    unsafe = Conjunction(-np.eye(m)[:1], np.zeros((1, n)), np.array([-level]))
    return Property((Region(-np.ones(n), np.ones(n), (unsafe,)),), n, m)


def random_signs(seed: int, size: int = WIDE) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(size) < 0.5, -1.0, 1.0)


@pytest.mark.parametrize("dead", [1, 2])
def test_a_violation_in_a_tiny_corner_behind_dead_neurons_is_found(dead: int) -> None:
    """The violating corner is 0.5^12 / 12! of the box, and everything around it is flat."""
    for seed in range(6):
        network = threshold_network(random_signs(seed), WIDE - 0.5, dead=dead)
        prop = above(network, 0.25)
        found = attack(network, prop, seed=seed, effort=Effort(samples=64, restarts=16, steps=40))
        assert found
        assert_genuine(network, prop, found[0].input, found[0].violation)


def test_the_plain_gradient_is_dead_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the leak is for: without it the same paths stay where they are."""
    network = threshold_network(random_signs(0), WIDE - 0.5)
    graph = tensor_graph(network, torch.float32)
    found = queries(above(network, 0.25), "cpu", torch.float32)
    starts, which = torch.rand(16, WIDE) - 0.5, torch.zeros(16, dtype=torch.long)
    _, leaking = ascend(graph, found, which, starts, 40)
    assert leaking.max() >= 0
    monkeypatch.setattr(gradient, "LEAK", 0.0)
    _, plain = ascend(graph, found, which, starts, 40)
    assert plain.max() < 0


def test_directions_of_the_outputs_find_what_the_violation_is_silent_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other output tells the way; half of its directions lead to the violation."""
    monkeypatch.setattr(gradient, "LEAK", 0.0)
    network = threshold_network(random_signs(3), WIDE - 0.5, telling=True)
    graph = tensor_graph(network, torch.float32)
    found = queries(above(network, 0.25), "cpu", torch.float32)
    starts, which = torch.zeros(10, WIDE), torch.zeros(10, dtype=torch.long)
    directions = torch.tensor([[0.0, 1.0]] * 5 + [[0.0, -1.0]] * 5)
    _, diverse = ascend(graph, found, which, starts, 40, directions=directions, patient=True)
    _, plain = ascend(graph, found, which, starts, 40, patient=True)
    assert diverse[:5].max() >= 0
    assert diverse[5:].max() < 0
    assert plain.max() < 0
    assert attack(network, above(network, 0.25), effort=Effort(samples=64, restarts=32, steps=40))


def test_paths_only_climb_and_stay_in_their_box() -> None:
    for seed in range(30):
        network = random_network(seed)
        prop = random_property(seed, network)
        graph, found = tensor_graph(network, torch.float32), queries(prop, "cpu", torch.float32)
        which = torch.arange(len(found)).repeat_interleave(6)
        generator = torch.Generator().manual_seed(seed)
        lower, upper = found.lower[which], found.upper[which]
        starts = lower + (upper - lower) * torch.rand(lower.shape, generator=generator)
        before = slack(found, which, starts, graph.forward(starts))
        climbed, value = ascend(graph, found, which, starts, 8, patient=True)
        moved, height = axis_moves(graph, found, which, climbed, value, 4)
        for points, claimed in ((climbed, value), (moved, height)):
            assert ((points >= lower) & (points <= upper)).all()
            actual = slack(found, which, points, graph.forward(points))
            assert torch.allclose(claimed, actual, atol=1e-4, rtol=1e-4)
        assert (value >= before - 1e-5).all()
        assert (height >= value).all()


def test_moves_along_the_axes_need_no_gradient() -> None:
    """Flat but in a corner, which a long move along one input reaches."""
    network = threshold_network(np.ones(2), 1.9)
    graph = tensor_graph(network, torch.float32)
    found = queries(above(network, 0.05), "cpu", torch.float32)
    start, which = torch.tensor([[0.97, 0.1]]), torch.zeros(1, dtype=torch.long)
    value = slack(found, which, start, graph.forward(start))
    _, height = axis_moves(graph, found, which, start, value, 8)
    assert float(value) < 0
    assert float(height) >= 0


def test_samples_hold_the_centre_and_the_corners() -> None:
    points = unit_samples((2, 400, 3), torch.Generator().manual_seed(0), torch.float32)
    assert ((points >= 0) & (points <= 1)).all()
    assert (points[:, 0] == 0.5).all()
    corners = points[0][((points[0] == 0) | (points[0] == 1)).all(dim=1)]
    assert len(torch.unique(corners, dim=0)) == 8


def test_neighbours_are_the_next_queries_of_the_same_box() -> None:
    network = dense_network(0, (2, 3, 1))
    unsafe = Conjunction(np.ones((1, 1)), np.zeros((1, 2)), np.zeros(1))
    one, other = Region(np.zeros(2), np.ones(2), (unsafe,) * 3), Region(-np.ones(2), np.ones(2), (unsafe,))
    found = queries(Property((one, other), 2, 1), "cpu", torch.float32)
    best = torch.arange(4.0).reshape(4, 1, 1).expand(4, 1, 2)
    assert of_neighbours(found, torch.arange(4), best)[:, 0, 0].tolist() == [1.0, 2.0, 0.0, 3.0]
    assert network.output_size == 1


def test_later_rounds_reach_higher() -> None:
    """More effort never finds less, and the worst point found comes close to the best of many samples."""
    for seed in range(10):
        network = dense_network(seed, (4, 8, 8, 2))
        prop = random_property(seed, network, regions=1)
        region = prop.regions[0]
        points = np.random.default_rng(1).uniform(region.lower, region.upper, (20_000, 4))
        sampled = prop.violation(points, network(points)).max()
        found = attack(network, prop, effort=Effort(512, 32, 30, rounds=3), worst=True)
        if sampled > 1e-4:
            assert found
            assert found[0].violation >= sampled - 1e-3 * max(1.0, abs(sampled))


def test_climbing_from_known_inputs_finds_no_less() -> None:
    climbed = 0
    for seed in range(30):
        softmax = seed % 3 == 0
        network = random_network(seed, softmax=softmax, outputs=3 if softmax else None)
        prop = random_property(seed, network, ordering=softmax)
        first = attack(network, prop, effort=SMALL)
        if not first:
            continue
        again = climb_from(network, prop, np.array([c.input for c in first]), steps=10)
        assert again[0].violation >= first[0].violation
        climbed += again[0].violation > first[0].violation
        for example in again[:3]:
            assert_genuine(network, prop, example.input, example.violation)
    assert climbed > 2


def test_a_network_that_overflows_is_survived() -> None:
    """Infinities and NaN are no violations, and no path is lost to them."""
    signs = np.full(3, 3e38)
    network = threshold_network(np.ones(3), 0.0)
    huge = Region(-signs, signs, above(network, 0.0).regions[0].unsafe)
    for example in attack(network, Property((huge,), 3, 1), effort=SMALL, worst=True):
        assert math.isfinite(example.violation) or example.violation == math.inf
        assert np.isfinite(example.input).all()
