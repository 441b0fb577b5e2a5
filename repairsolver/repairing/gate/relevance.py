"""Which neurons and channels of a layer are worth a place in a program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repairsolver.network.forward import activations
from repairsolver.network.graph import Network, Node
from repairsolver.repairing.gate.behind import derivatives
from repairsolver.repairing.gate.placement import Layer, channels_of, layer_of
from repairsolver.repairing.gate.task import Task
from repairsolver.results import Array

SMALL = 256
"""Layers up to this size have all their neurons as candidates."""

MOST_NEURONS, MOST_CHANNELS = 50, 12
"""Neurons and channels of a larger layer that may be gated: those most responsible for what is wrong."""

MOST_CLAMPED = 8
"""Neurons that may be clamped, too: those that vary most."""

POINTS = 16
"""Violating inputs of each place that responsibility is judged at, and as many others."""


def candidates(core: Network, node: Node, tasks: Sequence[Task]) -> Layer:
    """The part of a layer that a program is about: all of a small one, else what is most responsible."""
    values = activations(core, np.vstack([task.samples for task in tasks]))[node.name]
    if node.size <= SMALL:
        neurons = np.arange(node.size)
        spread = np.argsort(-np.ptp(values, axis=0), kind="stable")[:MOST_CLAMPED]
        return layer_of(core, node, neurons, channels=True, clamped=spread)
    share = np.sum([responsibility(core, node, task) for task in tasks], axis=0)
    neurons = np.argsort(-share, kind="stable")[:MOST_NEURONS]
    spread = neurons[np.argsort(-np.ptp(values[:, neurons], axis=0), kind="stable")[:MOST_CLAMPED]]
    every = channels_of(node)
    order = np.argsort(-share[every].sum(axis=1), kind="stable") if len(every) else np.zeros(0, dtype=int)
    channels = sorted(order[:MOST_CHANNELS].tolist())
    return layer_of(core, node, np.sort(neurons).astype(np.int64), channels=channels, clamped=spread)


def responsibility(core: Network, node: Node, task: Task) -> Array:
    r"""By how much each entry's value moves a half-space: $\max_{p, r} |C_r J_p|_i \, \max_p |h_{pi}|$.

    Derivatives J are taken at violating points, values at kept ones, too; C holds all half-spaces of the
    unsafe set.
    """
    wrong, right = task.violating[:POINTS], task.kept[:POINTS]
    values = activations(core, np.vstack([wrong, right]))
    at = {name: value[: max(len(wrong), 1)] for name, value in values.items()}
    rows = np.vstack([conjunction.output for conjunction in task.region.unsafe])
    slopes = np.abs(rows @ derivatives(core, node, at)).max(axis=(0, 1))
    return np.asarray(slopes * np.abs(values[node.name]).max(axis=0))
