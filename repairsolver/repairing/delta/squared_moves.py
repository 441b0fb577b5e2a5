r"""The change of behaviour as a sum of squares, for layers anywhere in a network.

With \(x_1, ..., x_N\) the points to keep, or else samples of the regions, \(\Delta y\) the change of the
scores there and \(\overline{\Delta y}\) its mean over the scores (a shift of all scores decides nothing),

$$ B(\delta)^2 = \frac1N \sum_x \lVert \Delta y(x) - \overline{\Delta y}(x) \rVert^2
   + \sum_u \tau_u \delta_u^2. $$

The ridge \(\tau\) is a small share of the mean curvature of the first term: without it directions that no
sample sees would cost nothing, and points to repair would be met by huge weights in them.

Sources: Hoerl and Kennard, Ridge regression, Technometrics 12, 1970, equation 2.1; Hinton et al.,
Distilling the knowledge in a neural network, 2015, section 2.1 (matching scores by their squares).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from repairsolver.decision import SIDES, SIGN, Decision
from repairsolver.errors import EditError
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.behaviour import behaviour_inputs
from repairsolver.repairing.delta.curvature import centred, curvature
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.layer import Layer
from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.whitened import Coordinates, whitening
from repairsolver.results import Array

SAMPLES = 2000
"""Points at which behaviour is measured, at most."""

RIDGE = 1e-2
"""tau, as a share of the mean curvature of the layer's entries."""

LEAD = 0.1
"""The margin of points to repair, as a share of the median lead of the decisions at its samples."""


@dataclass(frozen=True, slots=True, eq=False)
class SquaredMoves:
    """B, as a function of the change.

    Args:
        layer: whose unknowns change.
        inputs: the samples x, [N, n].
        hidden: what the layer's `effect` needs of them.
        ridge: tau, [unknowns].
        lead: the median lead of the best score over the second at the samples.
        coordinates: in which this is a norm, where there are some.
    """

    layer: Layer
    inputs: Array
    hidden: Array
    ridge: Array
    lead: float
    coordinates: Coordinates | None = None

    @property
    def margin(self) -> float:
        """What points to repair should exceed a border by, unless the caller says otherwise."""
        return LEAD * self.lead

    def moved(self, delta: Array) -> Array:
        """The change of the scores less its mean, [N, m]."""
        return centred(self.layer.effect(self.hidden, delta))

    def value(self, delta: Array) -> float:
        """B."""
        squares = (self.moved(delta) ** 2).sum() / len(self.inputs)
        return float(np.sqrt(squares + self.ridge @ delta**2))


def squared_moves(
    objective: Objective,
    requirements: Requirements,
    prop: Property,
    keep: PointSet | None,
    decision: Decision,
    seed: int,
) -> Objective:
    """The objective B in place of the norm; the reach stays.

    Args:
        keep: where behaviour counts; without them uniform samples of the property's regions.

    Raises:
        EditError: there is nothing to measure on.
    """
    layer, network = requirements.layer, requirements.network
    inputs = behaviour_inputs(network.element, prop, keep, np.random.default_rng([seed, 2]), SAMPLES)
    if not len(inputs):
        raise EditError("minimise='behaviour' has nothing to measure on: give keep, or regions")
    hidden, scores = layer.points(network, inputs)
    lead = min(_lead(SIGN[side] * scores) for side in SIDES[decision])
    bare = HiddenLayers(network, layer.blocks, layer.scores)
    shapes = curvature(bare, np.zeros(layer.size), inputs, None)[0]
    ridge = RIDGE * np.concatenate([np.full(shape.block.size, shape.mean) for shape in shapes])
    ridge = np.maximum(ridge, 1e-12 * (ridge.max() or 1.0))
    coordinates = whitening(layer, shapes[0], hidden, ridge)
    squares = SquaredMoves(layer, inputs, hidden, ridge, lead, coordinates)
    return replace(objective, norm="l2", weights=1.0, name="behaviour-l2", squares=squares)


def _lead(scores: Array) -> float:
    """The median lead of the largest score before the next one."""
    ranked = np.sort(scores, axis=1)
    return float(np.median(ranked[:, -1] - ranked[:, -2])) if scores.shape[1] > 1 else 0.0
