"""Phase splitting against exact answers and samples; honest when time or memory is short."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from exact_oracle import can_be_violated
from random_networks import dense_network, random_network, random_property, sample
from scipy.optimize import linprog

from repairsolver.bounds.backward import LinearBound
from repairsolver.bounds.constrained import ConstrainedBox, Functionals, find_kinks
from repairsolver.bounds.refreshing import refreshing
from repairsolver.bounds.slopes import tighten_slopes
from repairsolver.bounds.tensors import tensor_graph
from repairsolver.bounds.tighten import root_boxes, tighten
from repairsolver.network import Network
from repairsolver.network.forward import activations
from repairsolver.property import Conjunction, Property, Region
from repairsolver.results import Event, Limits, VerifyStatus
from repairsolver.verification import engine
from repairsolver.verification.attack import Effort
from repairsolver.verification.engine import verify_property
from repairsolver.verification.phases import PhaseSplitting
from repairsolver.verification.query import queries

NO_ATTACK = Effort(samples=1, restarts=2, steps=1)


def search_on(
    network: Network, prop: Property, *, slopes: bool = True, memory: float = 4e9
) -> PhaseSplitting:
    """The search over the first region of a property."""
    graph, fast, found = tensor_graph(network), tensor_graph(network, torch.float32), queries(prop, "cpu")
    boxes = root_boxes(graph, found.lower[:1], found.upper[:1])
    tighten(graph, boxes)
    shares = tighten_slopes(graph, fast, boxes, steps=6) if slopes else {}
    return PhaseSplitting(graph, fast, boxes, found, torch.arange(len(found)), slopes=shares, memory=memory)


def finish(search: PhaseSplitting, rounds: int = 60) -> None:
    search.start()
    for _ in range(rounds):
        if search.done:
            break
        search.round()


def least_margin(weights: list[np.ndarray], biases: list[np.ndarray], lower, upper, row) -> float:
    """min row f(x) over the box by a linear program for every activation pattern of a ReLU chain."""
    best = math.inf
    for pattern in itertools.product((0.0, 1.0), repeat=sum(len(b) for b in biases[:-1])):
        matrix, constant, sides, limits, used = np.eye(len(lower)), np.zeros(len(lower)), [], [], 0
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            matrix, constant = weight @ matrix, weight @ constant + bias
            on = np.array(pattern[used : used + len(bias)])
            used += len(bias)
            sign = 1 - 2 * on
            sides.append(sign[:, None] * matrix)
            limits.append(-sign * constant)
            matrix, constant = on[:, None] * matrix, on * constant
        cost = row @ weights[-1] @ matrix
        answer = linprog(
            cost, np.vstack(sides), np.concatenate(limits), bounds=list(zip(lower, upper, strict=True))
        )
        if answer.status == 0:
            best = min(best, answer.fun + row @ (weights[-1] @ constant + biases[-1]))
    return best


def test_bounds_by_brute_force_over_patterns() -> None:
    """The search proves just below the true minimum, and never above it."""
    rng = np.random.default_rng(4)
    for seed in range(6):
        network = dense_network(seed, [3, 4, 3, 2])
        dense = [node.operator for node in network.affine_layers]
        lower = np.round(rng.normal(size=3) * 8) / 8
        upper = lower + 1.0
        row = np.array([1.0, -1.0])
        truth = least_margin([d.weight for d in dense], [d.bias for d in dense], lower, upper, row)
        for offset in (-0.02, 0.02):
            unsafe = Conjunction(row[None], np.zeros((1, 3)), np.array([truth + offset]))
            prop = Property((Region(lower, upper, (unsafe,)),), 3, 2)
            search = search_on(network, prop)
            finish(search)
            if offset > 0:
                assert search.remaining() is not None
                assert search.best_bound() <= -offset + 1e-9
            verdict = _verify(network, prop)
            expected = VerifyStatus.HOLDS if offset < 0 else VerifyStatus.VIOLATED
            assert verdict.status is expected, (seed, offset)


def _verify(network: Network, prop: Property, **options: object):
    before, engine.MOST_SPLIT_INPUTS = engine.MOST_SPLIT_INPUTS, 0
    try:
        return verify_property(network, prop, effort=NO_ATTACK, **options)
    finally:
        engine.MOST_SPLIT_INPUTS = before


@pytest.mark.parametrize("block", range(2))
def test_verdicts_are_those_of_z3(block: int) -> None:
    """Random networks of all piecewise-linear operators, thresholds near the truth."""
    decided = 0
    for seed in range(40 * block, 40 * block + 40):
        network = random_network(seed, smooth=False)
        prop = random_property(seed, network)
        verdict = _verify(network, prop, limits=Limits(seconds=10))
        truth = can_be_violated(network, prop)
        if truth is None or verdict.status not in (VerifyStatus.HOLDS, VerifyStatus.VIOLATED):
            continue
        decided += 1
        assert truth == (verdict.status is VerifyStatus.VIOLATED), seed
    assert decided > 30


def test_no_sample_contradicts_a_proof() -> None:
    """Smooth activations too, where nothing exact is to be had."""
    rng = np.random.default_rng(5)
    proved = 0
    for seed in range(300, 325):
        network = random_network(seed)
        prop = random_property(seed, network, regions=1)
        search = search_on(network, prop)
        finish(search, 20)
        left = search.remaining()
        open_queries = set() if left is None else set(left.query.tolist())
        region = prop.regions[0]
        points = sample(rng, region.lower, region.upper, 1000)
        outputs = network(points)
        for number, conjunction in enumerate(region.unsafe):
            if number not in open_queries:
                proved += 1
                assert conjunction.violation(points, outputs).max() < 0, (seed, number)
    assert proved > 8


def test_bounds_hold_on_the_part_that_signs_cut_out() -> None:
    """Random slopes and multipliers: the bound holds at every sampled point of the part."""
    rng = np.random.default_rng(6)
    checked = 0
    for seed in range(60):
        network = random_network(seed)
        prop = random_property(seed, network, regions=1)
        search = search_on(network, prop)
        box = search.exact
        if not box.kinks:
            continue
        region, total = prop.regions[0], box.total
        points = sample(rng, region.lower, region.upper, 300)
        taken = activations(network, points)
        names = [network.input_name, *(node.name for node in network.nodes)]
        z = np.concatenate([taken[names[k.source]][:, k.entries.numpy()] for k in box.kinks], axis=1)
        beyond = torch.tensor(z) - search.thresholds
        sign = torch.tensor(rng.integers(-1, 2, size=(1, total)) * (rng.random((1, total)) < 0.4))
        lower, upper = box.ranges()
        lower = torch.where(sign > 0, torch.maximum(lower, search.thresholds), lower)
        upper = torch.where(sign < 0, torch.minimum(upper, search.thresholds), upper)
        if (lower > upper).any():
            continue
        output = torch.tensor(rng.normal(size=(1, 1, network.output_size)))
        none = torch.zeros(1, 1, network.input_size, dtype=torch.float64)
        rows = Functionals(output, none, torch.zeros(1, 1, dtype=torch.float64))
        share, beta = torch.tensor(rng.random((1, total))), torch.tensor(rng.random((1, total)))
        bound = box.bound(box.part(lower, upper), rows, share, sign.double(), beta)
        inside = (sign * beyond >= 0).all(dim=1)
        values = torch.tensor(network(points)) @ output[0, 0]
        lines = torch.tensor(points) @ bound.slope[0, 0] + bound.shift[0, 0]
        spent = (beta * sign * beyond).sum(dim=1)
        assert (lines <= values - spent + 1e-9 * (1 + values.abs() + spent.abs()))[inside].all(), seed
        checked += int(inside.sum())
        first = torch.zeros(1, dtype=torch.int64)
        low, high = refreshing(box, {}, rows=math.inf).refresh(lower, upper, first)
        assert torch.equal(low, lower)
        assert torch.equal(high, upper)
    assert checked > 500


def test_refreshed_bounds_hold_on_the_part() -> None:
    rng = np.random.default_rng(7)
    checked = tighter = 0
    for seed in range(40):
        network = dense_network(seed, [3, 8, 8, 8, 2])
        prop = random_property(seed, network, regions=1)
        search = search_on(network, prop)
        box, total = search.exact, search.exact.total
        if not search.refreshing.slopes:
            continue
        region = prop.regions[0]
        points = sample(rng, region.lower, region.upper, 500)
        taken = activations(network, points)
        names = [network.input_name, *(node.name for node in network.nodes)]
        z = np.concatenate([taken[names[k.source]][:, k.entries.numpy()] for k in box.kinks], axis=1)
        kink = torch.tensor([[0]])
        lower, upper = box.ranges()
        high = torch.minimum(upper, torch.zeros(1, total).index_fill(1, kink[0], 0.0) + torch.inf)
        high[0, 0] = 0.0
        new_low, new_high = search.refreshing.refresh(lower, high, kink[0])
        inside = z[:, 0] <= 0
        assert (z[inside] >= new_low[0].numpy() - 1e-9).all()
        assert (z[inside] <= new_high[0].numpy() + 1e-9).all()
        checked += int(inside.sum())
        tighter += int((new_high - new_low < 0.99 * (high - lower)).sum())
    assert checked > 500
    assert tighter > 10


def test_the_same_twice_and_whatever_the_memory() -> None:
    network = dense_network(21, [5, 10, 10, 10, 3])
    prop = random_property(21, network, regions=1)
    runs = [search_on(network, prop, memory=memory) for memory in (4e9, 4e9, 1e6)]
    for search in runs:
        finish(search, 200)
    first, again, small = runs
    assert small.batch < first.batch
    assert first.examined == again.examined
    assert first.best_bound() == again.best_bound()
    left = [None if s.remaining() is None else set(s.remaining().query.tolist()) for s in runs]
    assert left[0] == left[1] == left[2]


def test_a_deadline_is_kept_and_told() -> None:
    """A property that is hard to prove: time runs out, the bound is the best proved, nothing is claimed."""
    network = dense_network(30, [20, 60, 60, 60, 60, 2])
    lower, upper = -np.ones(20), np.ones(20)
    points = sample(np.random.default_rng(8), lower, upper, 4000)
    worst = float(network(points)[:, 0].min())
    unsafe = Conjunction(np.array([[1.0, 0.0]]), np.zeros((1, 20)), np.array([worst - 3.0]))
    prop = Property((Region(lower, upper, (unsafe,)),), 20, 2)
    events: list[Event] = []
    verdict = verify_property(network, prop, limits=Limits(seconds=2.0), on_event=events.append)
    assert verdict.status is VerifyStatus.TIMEOUT
    assert verdict.seconds < 6.0
    assert verdict.best_bound is not None
    assert verdict.best_bound <= 0
    assert "phase splitting" in verdict.methods
    shares = [event.numbers["proved_volume"] for event in events if event.stage == "phases"]
    bounds = [event.numbers["bound"] for event in events if event.stage == "phases"]
    assert shares == sorted(shares)
    assert bounds == sorted(bounds)
    assert verdict.best_bound == pytest.approx(bounds[-1])


def test_a_bound_that_is_no_number_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network = dense_network(31, [3, 6, 6, 2])
    search = search_on(network, random_property(31, network, regions=1))
    monkeypatch.setattr(LinearBound, "minimum", lambda self, low, high: self.shift * math.nan)
    search.start()
    assert search.open_share() == 1.0
    assert search.best_bound() == -math.inf


def test_kinks_are_those_inside_the_bounds() -> None:
    network = dense_network(32, [2, 5, 1], "Clip")
    graph = tensor_graph(network)
    boxes = root_boxes(graph, -torch.ones(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))
    for k in find_kinks(graph, boxes.known):
        low, high = boxes.known[k.source]
        assert (low[0, k.entries] < k.threshold).all()
        assert (high[0, k.entries] > k.threshold).all()
    assert ConstrainedBox(graph, boxes, find_kinks(graph, boxes.known)).total >= 1


def test_children_start_where_the_parent_stood() -> None:
    """Where a first multiplier gives the touching line back, a child's bound is no worse before any step."""
    checked = 0
    for seed in range(24):
        network = dense_network(seed, [4, 8, 8, 2], "LeakyRelu" if seed % 2 else "Relu")
        search = search_on(network, random_property(seed, network, regions=1), slopes=False)
        search.start()
        while search.stack and search.examined < 150:
            parts = search._take()
            own = search._proved(replace(parts, bound=parts.bound - math.inf))[0].bound.repeat(2)
            children, kink = search._branch(parts)
            bound = search._proved(replace(children, bound=children.bound - math.inf))[0].bound
            given_back = children.beta.gather(1, kink.unsqueeze(1))[:, 0] > 0
            assert (bound >= own - 1e-5 * (1 + own.abs()))[given_back].all(), seed
            checked += int(given_back.sum())
            search._settle(children, 5, math.inf)
    assert checked > 40


@pytest.mark.parametrize("operator", ["Sigmoid", "Tanh"])
def test_smooth_activations_are_split_and_no_sample_contradicts(operator: str) -> None:
    """What is proved lies below every sampled margin; splitting proves what the whole box does not."""
    rng, better, proved = np.random.default_rng(8), 0, 0
    for seed in range(4):
        network = dense_network(seed, [4, 6, 6, 2], operator)
        lower = rng.normal(size=4)
        upper = lower + (4.0 if operator == "Sigmoid" else 1.0)
        points = sample(rng, lower, upper, 4000)
        row = np.array([[1.0, -1.0]])
        least = float((network(points) @ row.T).min())
        for gap in (0.02, 1.0):
            unsafe = Conjunction(row, np.zeros((1, 4)), np.array([least - gap]))
            search = search_on(network, Property((Region(lower, upper, (unsafe,)),), 4, 2))
            search.start()
            first = search.best_bound()
            for _ in range(6):
                if not search.done:
                    search.round()
            assert min(search.best_bound(), search.least_proved) <= gap + 1e-9
            better += first < 0 and search.best_bound() > first + 1e-6
            proved += search.remaining() is None
    assert better, proved
    assert proved, better
