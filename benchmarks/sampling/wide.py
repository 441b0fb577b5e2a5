"""Violations of networks with 784 inputs whose probability is known in closed form.

| event | inputs | probability |
|---|---|---|
| half-space | uniform on the unit cube, sum at least t | Irwin-Hall, in rational arithmetic |
| l1 ball | uniform, sum of abs(x - 1/2) at most t | Irwin-Hall, too: these are uniform on [0, 1/2] |
| linf ball | uniform, every abs(x - 1/2) at most r | (2 r)^n |
| slanted half-space | normal, w x at least t with random w | Phi |
| two half-spaces | normal, abs(w x) at least t | 2 Phi: two places, and particles must reach both |

Normal inputs have 1/20 of the interval as standard deviation: what the truncation cuts off is below 1e-20.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import comb, factorial

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import binomtest

from repairsolver.network import Network, load_network
from repairsolver.property import Conjunction, Property, Region
from repairsolver.results import Array
from repairsolver.sampling.distributions import TruncatedNormal, Uniform
from repairsolver.sampling.splitting import estimate_rare_event

INPUTS, SCALE = 784, 0.05
PARTICLES, REPETITIONS = 500, 20
WIDE = (
    "event", "distribution", "inputs", "probability", "estimate", "ratio", "standard_error", "deviations",
    "inside", "levels", "particles", "repetitions", "moves", "evaluations", "plain_samples", "seconds",
    "cpu_seconds",
)  # fmt: skip
Row = dict[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """A network and a property on the unit cube, violated with a known probability."""

    network: Network
    prop: Property
    distribution: Uniform | TruncatedNormal
    exact: float


def irwin_hall(count: int, most: Fraction) -> float:
    """P(sum of that many uniform numbers <= most)."""
    terms = ((-1) ** k * comb(count, k) * (most - k) ** count for k in range(min(count, int(most // 1)) + 1))
    return float(sum(terms, Fraction(0)) / factorial(count))


def half_space(inputs: int, probability: float) -> Event:
    """The sum of uniform inputs is large; the nearest probability at a threshold in quarters."""
    reach = float(ndtri(1 - probability)) * (inputs / 12) ** 0.5
    below = Fraction(round(4 * (inputs / 2 - reach)), 4)
    exact = irwin_hall(inputs, below)
    return Event(_weighted(np.ones(inputs)), _at_least(inputs, float(inputs - below)), Uniform(), exact)


def l1_ball(inputs: int, probability: float) -> Event:
    """The l1 distance of uniform inputs from the middle is small."""
    reach = float(ndtri(1 - probability)) * (inputs / 12) ** 0.5
    below = Fraction(round(4 * (inputs / 2 - reach)), 4)
    network = _hinges(inputs, 0.5, 0.5)
    return Event(network, _at_least(inputs, -float(below) / 2), Uniform(), irwin_hall(inputs, below))


def linf_ball(inputs: int, probability: float) -> Event:
    """Every uniform input is near the middle: no hinge is active."""
    radius = 0.5 * probability ** (1 / inputs)
    network = _hinges(inputs, 0.5 - radius, 0.5 + radius)
    return Event(network, _at_least(inputs, 0.0), Uniform(), (2 * radius) ** inputs)


def slanted(inputs: int, probability: float, *, sides: int = 1) -> Event:
    """A weighted sum of normal inputs is far from its mean, to one side or to both."""
    weight = np.random.default_rng(inputs).standard_normal(inputs)
    middle, spread = float(weight.sum() / 2), SCALE * float(np.linalg.norm(weight))
    reach = float(ndtri(1 - probability / sides))
    thresholds = [middle + reach * spread, middle - reach * spread][:sides]
    rows = [Conjunction(np.array([[-s]]), np.zeros((1, inputs)), np.array([-s * t]))
            for s, t in zip((1.0, -1.0), thresholds, strict=False)]  # fmt: skip
    prop = _property(inputs, tuple(rows))
    return Event(_weighted(weight), prop, TruncatedNormal(SCALE), sides * float(ndtr(-reach)))


CASES: dict[str, tuple[Callable[[int, float], Event], tuple[int, ...]]] = {
    "half-space": (half_space, (-3, -6, -9)),
    "l1 ball": (l1_ball, (-3, -6)),
    "linf ball": (linf_ball, (-3, -6)),
    "slanted half-space": (slanted, (-3, -6, -9)),
    "two half-spaces": (lambda inputs, p: slanted(inputs, p, sides=2), (-3, -6)),
}


def wide(seed: int, done: Callable[..., bool]) -> Iterator[Row]:
    """Each event at each probability."""
    for name, (make, exponents) in CASES.items():
        for exponent in exponents:
            event = make(INPUTS, 10.0**exponent)
            if done(event=name, probability=repr(event.exact)):
                continue
            cpu = time.process_time()
            found = estimate_rare_event(
                event.network, event.prop, distribution=event.distribution, particles=PARTICLES,
                repetitions=REPETITIONS, seed=seed,
            )  # fmt: skip
            error = found.standard_error
            yield {
                "event": name, "distribution": found.distribution["name"], "inputs": INPUTS,
                "probability": event.exact, "estimate": found.probability,
                "ratio": found.probability / event.exact, "standard_error": error,
                "deviations": (found.probability - event.exact) / error,
                "inside": found.interval[0] <= event.exact <= found.interval[1],
                "levels": len(found.levels), "particles": PARTICLES, "repetitions": len(found.estimates),
                "moves": 10, "evaluations": found.evaluations,
                "plain_samples": event.exact * (1 - event.exact) / error**2, "seconds": found.seconds,
                "cpu_seconds": time.process_time() - cpu,
            }  # fmt: skip


COVERAGE = (
    "event", "inputs", "probability", "particles", "repetitions", "runs", "inside", "inside_low",
    "inside_high", "student_inside", "too_low", "too_high", "mean_ratio", "mean_ratio_error", "cpu_seconds",
)  # fmt: skip
SETTINGS, RUNS = ((500, 10), (500, 20)), 100


def coverage(seed: int, done: Callable[..., bool]) -> Iterator[Row]:
    """Of many runs with other seeds, the share whose interval holds the exact probability.

    Of half-spaces under normal inputs only the direction of w matters, in which the chain moves as it does
    with one input: three inputs show what 784 do, in a hundredth of the time.
    """
    for (name, sides), exponent, (particles, repetitions) in product(
        (("slanted half-space", 1), ("two half-spaces", 2)), (-3, -6, -9), SETTINGS
    ):
        event = slanted(3, 10.0**exponent, sides=sides)
        names = {"event": name, "probability": repr(event.exact), "repetitions": repetitions}
        if done(**names):
            continue
        cpu = time.process_time()
        found = [
            estimate_rare_event(
                event.network, event.prop, distribution=event.distribution, particles=particles,
                repetitions=repetitions, seed=1000 * seed + number,
            )
            for number in range(RUNS)
        ]  # fmt: skip
        low, high = np.array([run.interval for run in found]).T
        mean = np.array([run.probability for run in found])
        reach = stdtrit(repetitions - 1, 0.975) * np.array([run.standard_error for run in found])
        inside = int(((low <= event.exact) & (event.exact <= high)).sum())
        interval = binomtest(inside, RUNS).proportion_ci()
        yield {
            "event": name, "inputs": 3, "probability": event.exact, "particles": particles,
            "repetitions": repetitions, "runs": RUNS, "inside": inside / RUNS, "inside_low": interval.low,
            "inside_high": interval.high, "student_inside": float((abs(mean - event.exact) <= reach).mean()),
            "too_low": float((high < event.exact).mean()), "too_high": float((low > event.exact).mean()),
            "mean_ratio": float(mean.mean() / event.exact),
            "mean_ratio_error": float(mean.std(ddof=1) / event.exact / RUNS**0.5),
            "cpu_seconds": time.process_time() - cpu,
        }  # fmt: skip


def _at_least(inputs: int, threshold: float) -> Property:
    row = Conjunction(np.array([[-1.0]]), np.zeros((1, inputs)), np.array([-threshold]))
    return _property(inputs, (row,))


def _property(inputs: int, unsafe: tuple[Conjunction, ...]) -> Property:
    return Property((Region(np.zeros(inputs), np.ones(inputs), unsafe),), inputs, 1, name="wide")


def _weighted(weight: Array) -> Network:
    """y = w x, in float64."""
    nodes = [helper.make_node("MatMul", ["x", "W"], ["y"], name="sum")]
    return _network(len(weight), nodes, {"W": weight[:, None]})


def _hinges(inputs: int, low: float, high: float) -> Network:
    """y = -sum of [x - high]_+ + [low - x]_+, in float64."""
    nodes = [
        helper.make_node("Sub", ["x", "high"], ["above"], name="above"),
        helper.make_node("Sub", ["low", "x"], ["below"], name="below"),
        helper.make_node("Relu", ["above"], ["over"], name="over"),
        helper.make_node("Relu", ["below"], ["under"], name="under"),
        helper.make_node("Add", ["over", "under"], ["both"], name="both"),
        helper.make_node("MatMul", ["both", "W"], ["y"], name="sum"),
    ]
    arrays = {"W": -np.ones((inputs, 1)), "low": np.full(inputs, low), "high": np.full(inputs, high)}
    return _network(inputs, nodes, arrays)


def _network(inputs: int, nodes: list[NodeProto], arrays: dict[str, Array]) -> Network:
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, (1, inputs))],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, (1, 1))],
        [numpy_helper.from_array(np.asarray(array, np.float64), name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return load_network(model.SerializeToString(), name=f"wide, {inputs} inputs")
