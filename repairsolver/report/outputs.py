"""Where the outputs of a region lie, before and after, and the half-space that they must not reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from repairsolver.metrics import evaluate
from repairsolver.network.graph import Network
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.report.figure import BLUE, VERMILION, figure
from repairsolver.report.plane import WORK, cost, region_of
from repairsolver.results import Array, Counterexample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST, SAMPLES = 300, 3000


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Two coordinates of inputs and outputs, and the half-space a u + b v <= d in them.

    Args:
        matrix: from (x, y), flat, to (u, v): [2, n + m].
        normal: (a, b).
        bound: d.
        labels: of u and v.
    """

    matrix: Array
    normal: Array
    bound: float
    labels: tuple[str, str]

    def __call__(self, inputs: Array, outputs: Array) -> Array:
        """The points, [b, 2]."""
        return np.asarray(np.hstack([inputs, outputs]) @ self.matrix.T)


def outputs_figure(
    original: Network,
    repaired: Network | None,
    prop: Property,
    counterexamples: tuple[Counterexample, ...] = (),
    *,
    seed: int = 0,
) -> Figure | None:
    """Samples of the worst region, projected on the outputs of its tightest half-space.

    Violating samples are crosses, the unsafe side of the half-space is hatched. For a conjunction of
    several half-spaces that side alone is no violation: the crosses tell.

    Returns:
        None for a property without half-spaces.
    """
    region, inputs, drawn = _samples(original, prop, counterexamples, seed)
    before = evaluate(original, inputs)
    conjunction, row = _tightest(region, inputs, before)
    if conjunction is None:
        return None
    shown = projection(conjunction, row, before)
    clouds = [("before: " if repaired is not None else "", inputs, before)]
    if repaired is not None:
        clouds.append(("after: ", inputs, evaluate(repaired, inputs)))
    blank = figure(5.6 * len(clouds), 4.2)
    panels = blank.subplots(1, len(clouds), sharex=True, sharey=True, squeeze=False)[0]
    for panel, (name, x, y) in zip(panels, clouds, strict=True):
        points = shown(x, y)
        wrong = region.violation(x, y) >= 0
        panel.scatter(*points[~wrong].T, s=5, color=BLUE, linewidths=0, alpha=0.5, label="safe")
        panel.scatter(*points[wrong].T, s=16, color=VERMILION, marker="x", linewidths=0.9, label="violates")
        panel.set(title=f"{name}{wrong[:drawn].mean():.2%} of random inputs violate", xlabel=shown.labels[0])
    panels[0].set_ylabel(shown.labels[1])
    for panel in panels:
        _shade(panel, shown)
    handles, names = panels[0].get_legend_handles_labels()
    blank.legend(handles, names, loc="outside lower center", ncols=len(handles), frameon=False)
    return blank


def projection(conjunction: Conjunction, row: int, outputs: Array) -> Projection:
    """The two outputs that a half-space compares; or its own value, and the output that moves most."""
    weights, others, bound = conjunction.output[row], conjunction.input[row], float(conjunction.bound[row])
    n, m = len(others), len(weights)
    involved = np.flatnonzero(weights)
    spread = np.ptp(outputs, axis=0) if len(outputs) else np.zeros(m)
    matrix = np.zeros((2, n + m))
    if not others.any() and 1 <= len(involved) <= 2 and m >= 2:
        rest = [i for i in np.argsort(-spread, kind="stable") if i not in involved]
        first, second = [*involved, *rest][:2]
        matrix[0, n + first] = matrix[1, n + second] = 1.0
        normal = np.array([weights[first], weights[second]])
        return Projection(matrix, normal, bound, (f"output {first}", f"output {second}"))
    matrix[0] = np.concatenate([others, weights])
    most = int(np.argmax(spread)) if m > 1 else 0
    matrix[1, n + most] = 1.0
    return Projection(matrix, np.array([1.0, 0.0]), bound, ("left side of the half-space", f"output {most}"))


def _samples(
    network: Network, prop: Property, counterexamples: tuple[Counterexample, ...], seed: int
) -> tuple[Region, Array, int]:
    """The region of the worst counterexample; uniform inputs, then counterexamples; how many are uniform."""
    region = region_of(prop, counterexamples[0].input if counterexamples else None)
    count = int(np.clip(WORK / cost(network), FEWEST, SAMPLES))
    draws = np.random.default_rng(seed).random((count, network.input_size))
    inputs = region.lower + draws * (region.upper - region.lower)
    known = np.array([c.input for c in counterexamples]).reshape(-1, network.input_size)
    known = known[region.contains(known)]
    together = np.vstack([inputs.astype(network.element).astype(np.float64), known])
    return region, together, count


def _tightest(region: Region, inputs: Array, outputs: Array) -> tuple[Conjunction | None, int]:
    """The conjunction that is violated most, and its row with the least slack there."""
    with_rows = [c for c in region.unsafe if len(c.bound)]
    if not with_rows:
        return None, 0
    worst = max(with_rows, key=lambda c: float(c.violation(inputs, outputs).max()))
    point = int(worst.violation(inputs, outputs).argmax())
    slack = worst.bound - worst.output @ outputs[point] - worst.input @ inputs[point]
    return worst, int(slack.argmin())


def _shade(panel: Axes, shown: Projection) -> None:
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    u, v = np.meshgrid([left, right], [low, high])
    value = shown.normal[0] * u + shown.normal[1] * v - shown.bound
    if value.min() < 0:
        least = 2 * min(float(value.min()), -1.0)
        unsafe = panel.contourf(
            u, v, value, levels=[least, 0.0], colors=["#fdf1e7"], hatches=["//"], zorder=0
        )
        unsafe.set(edgecolor="#eec4a4", linewidth=0)
    if value.min() < 0 < value.max():
        panel.contour(u, v, value, levels=[0.0], colors=[VERMILION], linewidths=1.4)
    panel.set(xlim=(left, right), ylim=(low, high))
