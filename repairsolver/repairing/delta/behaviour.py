r"""The least change of behaviour: how far scores move, not how far weights do.

With \(x_1, ..., x_N\) the points to keep, or else uniform samples, and d the decision at each,

$$ \frac1N \sum_x \sum_{j \ne d(x)} \left| \Delta y_j(x) - \Delta y_{d(x)}(x) \right| $$

is the mean change of the margins to the decision (of the output, where there is only one; where the
largest and the smallest output both count, the sum of both), and it is linear
programming in the change: \(A \delta = u - v\), \(u, v \ge 0\), \(\min \sum (u + v) / N\). Margins
instead of outputs, because a shift of all scores decides nothing differently.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from repairsolver.decision import Decision, picked
from repairsolver.errors import EditError
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Array
from repairsolver.verification.replay import into_box

SAMPLES = 500
"""Uniform samples of the property's regions where there are no points to keep, and the most of these."""

CHUNK = 64
"""Points whose gradients are held at once."""


def behavioural(
    objective: Objective,
    requirements: Requirements,
    prop: Property,
    keep: PointSet | None,
    decision: Decision,
    seed: int,
) -> Objective:
    """The objective with the change of behaviour in place of the norm; the reach stays.

    Args:
        keep: where behaviour counts; without them uniform samples of the property's regions.

    Raises:
        EditError: the scores are not affine in the change, or there is nothing to sample.
    """
    layer, network = requirements.layer, requirements.network
    if not layer.affine:
        raise EditError(
            f"minimise='behaviour' needs scores that are affine in the change, which {layer.name!r} does not "
            "give: choose norm='l2', which takes any layer, or layers='last'"
        )
    inputs = behaviour_inputs(network.element, prop, keep, np.random.default_rng([seed, 2]), SAMPLES)
    if not len(inputs):
        raise EditError("minimise='behaviour' has nothing to measure on: give keep, or regions")
    hidden, scores = layer.points(network, inputs)
    identity = np.eye(scores.shape[1])
    blocks = []
    for best in picked(scores, decision).T:
        for label in np.unique(best):
            readout = np.delete(identity, label, axis=0) - identity[label] if len(identity) > 1 else identity
            at = hidden[best == label]
            for start in range(0, len(at), CHUNK):
                part = layer.gradient(at[start : start + CHUNK], readout)
                blocks.append(sparse.csr_array(part.reshape(-1, layer.size)))
    moves = sparse.csr_array(sparse.vstack(blocks, format="csr") / len(inputs))
    return replace(objective, norm="l1", moves=moves, weights=1.0, name="behaviour")


def behaviour_inputs(
    element: np.dtype[np.floating],
    prop: Property,
    keep: PointSet | None,
    rng: np.random.Generator,
    most: int,
) -> Array:
    """At most so many points to keep, or as many samples of the regions in equal shares, [N, n]."""
    if keep is not None:
        rows = rng.permutation(len(keep.inputs))[:most]
        return keep.inputs[np.sort(rows)].astype(element).astype(np.float64)
    blocks = [np.zeros((0, prop.input_size))]
    for region in prop.regions[:most]:
        count = max(1, most // len(prop.regions))
        points = rng.uniform(region.lower, region.upper, size=(count, prop.input_size))
        blocks.append(into_box(points, region, element))
    return np.concatenate(blocks)
