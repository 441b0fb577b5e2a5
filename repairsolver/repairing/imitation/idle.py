r"""Neurons that are never active are given something to do: they tell negatives from the points to keep.

A rectifier that is inactive at all points can take new weights, and pass on nothing, without any change
there; where a layer has none, the one that is missed least is taken, and what it costs is counted.
Gradients do not reach such a neuron, so that retraining never finds this room. Here one neuron in each of
the last hidden layers becomes a *detour*: the first takes \([w^\top h + c]_+\) of the values h before its
layer, the others hand it on, and the last layer adds \(v [w^\top h + c]_+\) to the outputs. v is the mean
difference between the behaviours to imitate and the behaviours of the negatives. With need \(t_i\) the
least multiple of v after which negative i is right, and \(s_j\) the largest one with which the decision at
j stays,

$$ \min_{w, c}\; \frac1k \sum_i [t_i (1 + \mu) + 0.1 - z_i]_+^2
   + \frac1p \sum_j [z_j - (1 - \sigma) s_j + \sigma]_+^2,
   \qquad z = w^\top h + c, $$

which is convex. Points that no multiple can harm take no part. How far all of z is lifted then is decided on
*fresh* negatives, which the fit has not seen: points on lines through two negatives that violate, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from repairsolver.network.forward import activations
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Dense
from repairsolver.repairing.imitation.behaviour import Behaviours, Seen
from repairsolver.repairing.imitation.spare import Hidden, behind, hidden_tail, least_missed
from repairsolver.repairing.imitation.writing import with_layers
from repairsolver.results import Array

MULTIPLES = np.array([0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0])
"""Of v, which are tried for needs and tolerances."""

MARGIN, ROOM = 0.3, 0.3
"""Mu, and sigma as a share."""

POINTS, ENTRIES, STEPS, PULL = 20_000, 2**20, 40, 1e-5
"""Points of either kind and their entries at most, Newton steps, and the weight of the squares of w (for
inputs of unit variance)."""

SHARES = tuple(0.5**k for k in range(12))
"""Of a Newton step, longest first: the first that lowers the cost is gone."""

FRESH, BEYOND = 40_000, 0.3
"""Points tried for fresh negatives, and how far beyond the two negatives, as a share of their distance."""

PADS = np.array([0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.4])
"""How far negatives are lifted beyond their needs, in multiples of v, so that unseen ones are, too."""

SURE, COMPARED = 0.4, 0.8
"""How far fresh negatives are lifted even if it costs as much as ASSURED, and where layers are compared."""

AFFORDED, ASSURED = 3e-4, 5e-4
"""The share of decisions to keep that may be lost for it; a third of it where they are lost already."""

WORSE = 10.0
"""How many points to keep may be lost for a negative."""

USELESS = 0.5
"""Points misjudged, as a share, from which on a detour is left out."""

SPARE = 2e-3
"""The share of decisions that may change for the neurons of a detour: none is made where it is larger."""

GOOD = 3e-4
"""Points misjudged, as a share, at which no later layer is tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Detour:
    """A detector and where it goes.

    Args:
        start: the first of the tail's hidden layers that takes part.
        neurons: the idle neuron of every layer from there on, or the one that is missed least.
        weight, bias: w and c.
        output: v.
        misjudged: negatives that stay wrong and kept points that are lost, as shares, added.
    """

    start: int
    neurons: tuple[int, ...]
    weight: Array
    bias: float
    output: Array
    misjudged: float


def woken(
    network: Network,
    core: Network,
    behaviours: Behaviours,
    targets: Array,
    seen: Seen,
    free: Set[str],
    seed: int,
) -> Network:
    """The network with its best detour; the network itself where there is none, or where it only harms.

    Args:
        core: the network without a final softmax.
        targets: behaviours to imitate, [k, m].
        seen: the values of all tensors at negatives and at points to keep.
        free: the layers that may change as a whole.
    """
    tail = hidden_tail(network, core)
    tail = tail[next((i for i in range(len(tail)) if _free(tail[i:], free)), len(tail)) :]
    if not tail or core.output.name not in free:
        return network
    before, kept = seen
    shift = (targets - before[core.output.name]).mean(axis=0)
    spares = least_missed(behaviours, tail, before, kept)
    fresh = between(core, behaviours, np.random.default_rng([seed, 14]))
    others = activations(core, fresh.negatives)
    best: Detour | None = None
    for start, hidden in enumerate(tail):
        chain = [spare for spare in spares[start:] if spare is not None]
        loss = sum(spare.lost for spare in chain)
        if len(chain) < len(tail) - start or loss > (SPARE if best is None else best.misjudged):
            continue
        neurons = tuple(spare.neuron for spare in chain)
        wrong, right = (_outputs(tail[start:], values, neurons) for values in seen)
        need, tolerance, lost = _needs(behaviours, wrong, right, kept[core.output.name], shift)
        source = hidden.dense.inputs[0]
        more = _needed(fresh, _outputs(tail[start:], others, neurons), shift)
        fit = _fitted(
            (before[source], need), (kept[source], tolerance), (others[source], more),
            len(behaviours.positives), np.random.default_rng([seed, 8, start]),
        )  # fmt: skip
        if best is None or fit[2] + lost < best.misjudged:
            best = Detour(start, neurons, *fit[:2], shift, fit[2] + lost)
        if best.misjudged <= GOOD:
            break
    return network if best is None or best.misjudged >= USELESS else _written(network, core, tail, best)


def _outputs(tail: Sequence[Hidden], values: Mapping[str, Array], neurons: Sequence[int]) -> Array:
    """Outputs without the neurons of a detour: computed anew at the points where one of them is active."""
    first, last = values[tail[0].relu.name], values[tail[-1].user.name]
    active = [values[h.relu.name][:, neuron] > 0 for h, neuron in zip(tail, neurons, strict=True)]
    at = np.flatnonzero(np.any(active, axis=0))
    if not at.size:
        return last
    outputs = last.copy()
    outputs[at] = behind(tail, first[at], neurons)
    return outputs


def _free(tail: list[Hidden], free: Set[str]) -> bool:
    return all(hidden.dense.name in free for hidden in tail)


def _needs(
    behaviours: Behaviours, wrong: Array, kept: Array, original: Array, shift: Array
) -> tuple[Array, Array, float]:
    """Which multiple of v every negative needs (infinite: none helps), and every kept point tolerates.

    Points whose decision is lost before, for the neurons given up, tolerate anything; their share comes last.
    """
    need = _needed(behaviours, wrong, shift)
    decided = behaviours.decided(original)
    same = np.stack([(behaviours.decided(kept + m * shift) == decided).all(axis=1) for m in MULTIPLES])
    held = np.cumprod(same, axis=0).sum(axis=0) - 1
    free = (held == len(MULTIPLES) - 1) | ~same[0]
    return need, np.where(free, np.inf, MULTIPLES[held]), float((~same[0]).mean())


def _needed(behaviours: Behaviours, wrong: Array, shift: Array) -> Array:
    right = np.stack([behaviours.lack(wrong + m * shift) < 0 for m in MULTIPLES])
    return np.where(right.any(axis=0), MULTIPLES[right.argmax(axis=0)], np.inf)


def _fitted(
    negatives: tuple[Array, Array],
    positives: tuple[Array, Array],
    fresh: tuple[Array, Array],
    count: int,
    rng: np.random.Generator,
) -> tuple[Array, float, float]:
    """w, c, and the share of points that they misjudge.

    Args:
        negatives, fresh: the values of negatives and their needs.
        positives: those of the points to keep, and their tolerances.
        count: how many of these are positives; a pad may not cost more of them than it may of all, either.
    """
    (wrong, need), (kept, tolerance) = negatives, positives
    helped, risky = np.flatnonzero(np.isfinite(need)), np.flatnonzero(np.isfinite(tolerance))
    if not len(helped):
        return np.zeros(wrong.shape[1]), 0.0, np.inf
    most = min(POINTS, max(1000, ENTRIES // wrong.shape[1]))
    first, second = rng.permutation(helped)[:most], rng.permutation(risky)[:most]
    a, b, needs, tolerances = wrong[first], kept[second], need[first], tolerance[second]
    both = np.concatenate([a, b])
    middle, size = both.mean(axis=0), both.std(axis=0)
    size[size < 1e-9 * max(1.0, float(size.max()))] = 1.0
    a, b = (a - middle) / size, (b - middle) / size

    found = _separated(a, (1 + MARGIN) * needs + 0.1, b, (1 - ROOM) * tolerances - ROOM)
    weight = found[:-1] / size
    bias = float(found[-1] - weight @ middle)
    value, least = kept @ weight + bias, float((wrong[helped] @ weight + bias - need[helped]).min())
    unseen = max(0.0, least - _least(fresh[0] @ weight + bias, fresh[1]))
    pads = np.unique(np.concatenate([PADS, unseen + PADS]))
    wrongly = [np.maximum(value + pad - least, 0.0) > tolerance for pad in pads]
    lost, own = (np.array([w[part].sum() / max(len(w[part]), 1) for w in wrongly])
                 for part in (slice(None), slice(count)))  # fmt: skip
    most = max(lost[0] + AFFORDED / 3, AFFORDED)
    limit = np.where(pads <= unseen + SURE, max(most, ASSURED), most)
    shift = float(pads[(lost <= limit) & (own <= max(own[0], AFFORDED / 3))].max()) - least
    stay = float((np.maximum(value, 0.0) > tolerance).mean())
    short = float((wrong @ weight + bias < need).mean())
    if lost[0] > stay + WORSE * short:  # outliers among the negatives, for which too much would be lost
        return weight, bias, short + stay
    return weight, bias + shift, float(np.isinf(need).mean() + lost[pads <= unseen + COMPARED][-1])


def _least(values: Array, need: Array) -> float:
    """By how much values exceed needs at least, where these are finite; infinite where none is."""
    return float((values - need).min(initial=np.inf, where=np.isfinite(need)))


def between(core: Network, behaviours: Behaviours, rng: np.random.Generator) -> Behaviours:
    """Violating points on lines through two negatives in their place; none where these have labels."""
    points = behaviours.negatives
    if behaviours.labels is not None:
        return replace(behaviours, negatives=points[:0], labels=None)
    first, second = rng.integers(len(points), size=(2, FRESH))
    share = rng.uniform(-BEYOND, 1 + BEYOND, size=(FRESH, 1))
    drawn = points[first] + share * (points[second] - points[first])
    drawn = drawn.astype(core.element).astype(np.float64)
    return replace(behaviours, negatives=drawn[behaviours.prop.violation(drawn, core(drawn)) >= 0])


def _separated(above: Array, least: Array, below: Array, most: Array) -> Array:
    """w and c of the module's formula, by Newton steps on the rows that are missed."""
    sizes = np.sqrt(len(above)), np.sqrt(max(len(below), 1))
    rows = np.concatenate([-above / sizes[0], below / sizes[1]])
    ones = np.concatenate([np.full(len(above), -1 / sizes[0]), np.full(len(below), 1 / sizes[1])])
    rows = np.column_stack([rows, ones])
    shift = np.concatenate([least / sizes[0], -most / sizes[1]])
    pull = np.append(np.full(above.shape[1], PULL), 1e-9)

    def value(unknowns: Array) -> float:
        return float(np.square(np.maximum(rows @ unknowns + shift, 0.0)).sum() + pull @ np.square(unknowns))

    found = np.zeros(rows.shape[1])
    cost = value(found)
    for _ in range(STEPS):
        missed = rows @ found + shift
        active = missed > 0
        slope = rows[active].T @ missed[active] + pull * found
        step = np.linalg.solve(rows[active].T @ rows[active] + np.diag(pull), -slope)
        share = next((s for s in SHARES if value(found + s * step) < cost), None)
        if share is None:
            break
        before, found = cost, found + share * step
        cost = value(found)
        if before - cost < 1e-9 * before:
            break
    return found


def _written(network: Network, core: Network, tail: list[Hidden], detour: Detour) -> Network:
    """The network with the detour in its file."""
    layers = [h.dense for h in tail[detour.start :]]
    arrays = {node.name: _arrays(node) for node in (*layers, core.output)}
    for place, (node, neuron) in enumerate(zip(layers, detour.neurons, strict=True)):
        weight, bias = arrays[node.name]
        weight[neuron] = detour.weight if place == 0 else 0.0
        bias[neuron] = detour.bias if place == 0 else 0.0
        if place:
            weight[neuron, detour.neurons[place - 1]] = 1.0
        following = layers[place + 1] if place + 1 < len(layers) else core.output
        arrays[following.name][0][:, neuron] = 0.0
    arrays[core.output.name][0][:, detour.neurons[-1]] = detour.output
    return with_layers(network, arrays)


def _arrays(node: Node) -> tuple[Array, Array]:
    assert isinstance(node.operator, Dense)
    return node.operator.weight.copy(), node.operator.bias.copy()
