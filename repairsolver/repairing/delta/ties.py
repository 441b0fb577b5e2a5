r"""Which of several least changes to prefer: the one that moves decided scores least.

The least norm is rarely unique: lifting one score of a row and lowering the other costs the same, but
lowering the score of the usual decision changes decisions elsewhere. Each unknown u gets the weight

$$ w_u = 1 + \tau\, \frac{\iota_u}{\max \iota}, \qquad
   \iota_u = \operatorname{mean}_x \left| \frac{\partial\, y_{decided(x)}}{\partial u} \right|, $$

over uniform samples x of the property's regions and the points to keep. With weights of at most
\(1 + \tau\) the least weighted norm belongs to a change whose norm is at most \(1 + \tau\) times the
least; \(\tau\) is half of the gap asked for. Lower bounds are computed without weights.
"""

from __future__ import annotations

import numpy as np

from repairsolver.decision import Side, picked
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Array
from repairsolver.verification.replay import into_box

SAMPLES = 500
"""Per region."""

CHUNK = 64
"""Gradients held at once."""


def tie_weights(requirements: Requirements, prop: Property, side: Side, tolerance: float, seed: int) -> Array:
    """The weights w, [unknowns], between 1 and 1 + tolerance.

    Args:
        side: whether the largest or the smallest output is the decision.
        tolerance: tau, at least 0.
    """
    layer, network = requirements.layer, requirements.network
    rng = np.random.default_rng(seed)
    blocks = [group.inputs for name, group in requirements.groups.items() if group.every]
    for region in prop.regions:
        points = rng.uniform(region.lower, region.upper, size=(SAMPLES, network.input_size))
        blocks.append(into_box(points, region, network.element))
    inputs = np.concatenate([np.zeros((0, network.input_size)), *blocks])
    if network.output_size < 2 or not len(inputs):
        return np.ones(layer.size)
    hidden, scores = layer.points(network, inputs)
    decided = picked(scores, side)[:, 0]
    total = np.zeros(layer.size)
    for label in np.unique(decided):
        readout = np.eye(network.output_size)[label][None]
        chosen = hidden[decided == label]
        for start in range(0, len(chosen), CHUNK):
            total += np.abs(layer.gradient(chosen[start : start + CHUNK], readout)).sum(axis=(0, 1))
    largest = float(total.max())
    return np.ones(layer.size) + (tolerance * total / largest if largest > 0 else 0.0)
