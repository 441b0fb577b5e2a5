"""Negatives, positives and points of the domain: what is to change, and what is to stay.

Negatives are inputs that violate the property (or whose decision is not their label), positives inputs that
do not, points of the domain inputs of which only the decision counts. They come from files, or are drawn
from the property's regions, where an attack adds counterexamples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from repairsolver.decision import Decision, picked
from repairsolver.errors import PointSetError
from repairsolver.network.forward import activations
from repairsolver.network.graph import Network
from repairsolver.network.replay import replay
from repairsolver.property import PointSet
from repairsolver.property.points import check_range
from repairsolver.property.specification import Property, Region
from repairsolver.repairing.imitation.options import Imitation
from repairsolver.results import Array
from repairsolver.verification.attack import Effort, attack
from repairsolver.verification.replay import into_box

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
Seen = tuple[dict[str, Array], dict[str, Array]]
"""The values of all tensors, by name: at negatives, and at points to keep."""

ATTACK = Effort(samples=2048, restarts=64, steps=40, keep=64)
ATTACK_SECONDS = 2.0
CHUNK, REPLAYED = 20_000, 1000
"""Points of the domain that are computed at once, and those that are run one by one, too."""

WIDEST = 32.0
"""How many times as wide as a region the boxes around it are at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Behaviours:
    """The points of a repair, in the network's element type.

    Args:
        negatives: [k, n].
        labels: the decisions that negatives must get, [k]; None: they must satisfy the property.
        positives, domain: [p, n] and [d, n].
        decision: "max", "min" or "both"; with labels not both.
    """

    prop: Property
    negatives: Array
    labels: Ids | None
    positives: Array
    domain: Array
    decision: Decision

    @property
    def kept(self) -> Array:
        """Positives and points of the domain, [p + d, n]."""
        return np.concatenate([self.positives, self.domain])

    def decided(self, outputs: Array) -> Ids:
        """The decisions of outputs [b, m], one column for each that counts, [b, 1 or 2]."""
        return picked(outputs, self.decision)

    def lack(self, outputs: Array) -> Array:
        """By how much negatives with these outputs [k, m] miss what they must: right where below 0, [k]."""
        if self.labels is None:
            return self.prop.violation(self.negatives, outputs)
        sign = -1.0 if self.decision == "min" else 1.0
        own = np.take_along_axis(outputs, self.labels[:, None], axis=1)
        others = sign * (outputs - own)
        np.put_along_axis(others, self.labels[:, None], -np.inf, axis=1)
        return np.asarray(others.max(axis=1))

    def with_negatives(self, inputs: Array) -> Behaviours:
        """With counterexamples [b, n] of the property in addition.

        Raises:
            PointSetError: the negatives have labels, which counterexamples lack.
        """
        if self.labels is not None:
            raise PointSetError("labelled points and counterexamples of a property cannot be mixed")
        return replace(self, negatives=np.concatenate([self.negatives, inputs]))


def collect(
    network: Network,
    prop: Property,
    points: PointSet | None,
    keep: PointSet | None,
    how: Imitation,
    *,
    decision: Decision,
    seed: int,
) -> Behaviours:
    """The points of a repair; `negatives` may be empty only where none were given and none were found.

    Raises:
        PointSetError: points do not fit the network, none of them violates, there are no positives, a point
            to keep violates the property, or the network's outputs are not finite.
    """
    rng = np.random.default_rng([seed, 6])
    regions = prop.regions if points is None or keep is None else ()
    sampled = np.concatenate(
        [np.zeros((0, network.input_size)), *_samples(network, regions, how.samples, rng)]
    )
    wrong = prop.violation(sampled, outputs_of(network, sampled, "samples of the property")) >= 0
    if points is None:
        found = attack(network, prop, seed=seed, seconds=ATTACK_SECONDS, effort=ATTACK, worst=True)
        hits = np.array([c.input for c in found]).reshape(-1, network.input_size)
        negatives, labels = np.unique(np.concatenate([sampled[wrong], hits]), axis=0), None
    else:
        negatives, labels = _negatives(network, prop, points, decision)
        if labels is None and how.more and how.variant == "retrain":
            negatives = np.concatenate([negatives, _more(network, prop, how.samples, seed)])
    positives = sampled[~wrong] if keep is None else _positives(network, prop, keep, decision)
    if len(negatives) and not len(positives):
        why = f"all {len(sampled)} samples of the regions violate {prop.name}"
        if keep is not None:
            why = f"of the {len(keep)} points to keep none has its label"
        elif not regions:
            why = f"{prop.name} has no regions to sample"
        raise PointSetError(
            f"there is no positive behaviour to imitate: {why}: give points that behave well (keep or "
            "positives)"
        )
    domain = _domain(network, prop, how, rng)
    _check_finite(network, domain)
    return Behaviours(prop, negatives, labels, positives, domain, decision)


def _more(network: Network, prop: Property, count: int, seed: int) -> Array:
    """Samples of the regions that violate the property, [k, n]: points given stand for more than themselves.

    Those that violate in our forward pass are run one by one.
    """
    if not prop.regions:
        return np.zeros((0, network.input_size))
    drawn = np.concatenate(_samples(network, prop.regions, count, np.random.default_rng([seed, 13])))
    parts = np.array_split(drawn, 1 + len(drawn) // CHUNK)
    wrong = np.concatenate([part[prop.violation(part, network(part)) >= 0] for part in parts])
    return wrong[prop.violation(wrong, outputs_of(network, wrong, "samples of the property")) >= 0]


def unseen(network: Network, prop: Property, count: int, seed: int) -> PointSet | None:
    """Fresh samples of the regions that violate the property, for a test alone; None if there are none."""
    if not prop.regions:
        return None
    rng = np.random.default_rng([seed, 7])
    fresh = np.concatenate(_samples(network, prop.regions, count, rng))
    wrong = prop.violation(fresh, replay(network, fresh)) >= 0
    return PointSet(fresh[wrong], name="fresh counterexamples") if wrong.any() else None


def outputs_of(network: Network, inputs: Array, what: str) -> Array:
    """What onnxruntime answers, [b, m].

    Raises:
        PointSetError: NaN or infinite outputs, listed by point.
    """
    outputs = replay(network, inputs)
    _refuse(network, np.asarray(~np.isfinite(outputs).all(axis=1)), what)
    return outputs


def _refuse(network: Network, wrong: Mask, what: str) -> None:
    if wrong.any():
        bad = np.flatnonzero(wrong)
        raise PointSetError(
            f"{network.name}: outputs at {what} {bad[:20].tolist()} are NaN or infinite, so that they "
            "can be compared with nothing: leave these points out, or mend the weights"
        )


def values_at(core: Network, behaviours: Behaviours) -> Seen:
    """By our forward pass; without a final softmax if the core has none."""
    return activations(core, behaviours.negatives), activations(core, behaviours.kept)


def _check_finite(network: Network, domain: Array) -> None:
    """That outputs in the domain are finite numbers: some by onnxruntime, all by our forward pass.

    Raises:
        PointSetError: NaN, or more than the element type holds, listed by point.
    """
    if not len(domain):
        return
    outputs_of(network, domain[:REPLAYED], "points of the domain")
    most = float(np.finfo(network.element).max)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = np.array_split(domain, 1 + len(domain) // CHUNK)
        outputs = np.concatenate([network(part) for part in parts])
        _refuse(network, ~(np.abs(outputs) <= most).all(axis=1), "points of the domain")


def fitting(network: Network, points: PointSet, purpose: str) -> Array:
    """Points in the network's element type, [b, n].

    Raises:
        PointSetError: they have another number of entries, or labels that are no outputs.
    """
    if points.inputs.shape[1] != network.input_size:
        raise PointSetError(
            f"{points.name}: points to {purpose} have {points.inputs.shape[1]} entries, but {network.name} "
            f"has {network.input_size} inputs"
        )
    if points.labels is not None and int(points.labels.max()) >= network.output_size:
        raise PointSetError(
            f"{points.name}: the largest label is {points.labels.max()}, but {network.name} has outputs 0 "
            f"to {network.output_size - 1}"
        )
    check_range(points, network)
    return np.asarray(points.inputs.astype(network.element).astype(np.float64))


def _samples(
    network: Network, regions: tuple[Region, ...], count: int, rng: np.random.Generator
) -> list[Array]:
    """Uniform points of the regions, in equal shares."""
    share = max(1, count // max(1, len(regions)))
    return [
        into_box(rng.uniform(r.lower, r.upper, size=(share, r.lower.size)), r, network.element)
        for r in regions
    ]


def _negatives(
    network: Network, prop: Property, points: PointSet, decision: Decision
) -> tuple[Array, Ids | None]:
    inputs = fitting(network, points, "repair")
    given = Behaviours(prop, inputs, points.labels, inputs[:0], inputs[:0], decision)
    wrong = given.lack(outputs_of(network, inputs, f"{points.name}, points")) >= 0
    if not wrong.any():
        what = "has another decision than its label"
        if points.labels is None:
            outside = len(inputs) - int(_within(prop, inputs).sum())
            what = f"violates {prop.name}" + (f" ({outside} lie outside its regions)" if outside else "")
        raise PointSetError(
            f"{points.name}: none of {len(inputs)} points {what}, so that there is nothing to repair: leave "
            "the points out, and the regions are sampled and attacked (or see `repairsolver falsify`)"
        )
    return inputs[wrong], None if points.labels is None else points.labels[wrong]


def _within(prop: Property, inputs: Array) -> Mask:
    """Which points lie in one of the property's regions."""
    found = np.zeros(len(inputs), dtype=np.bool_)
    for region in prop.regions:
        found |= region.contains(inputs)
    return found


def _positives(network: Network, prop: Property, keep: PointSet, decision: Decision) -> Array:
    """Points to keep; of labelled ones those that the network decides rightly."""
    inputs = fitting(network, keep, "keep")
    outputs = outputs_of(network, inputs, f"{keep.name}, points")
    wrong = np.flatnonzero(prop.violation(inputs, outputs) >= 0)
    if wrong.size:
        raise PointSetError(
            f"{keep.name}: points {wrong[:20].tolist()} violate {prop.name} ({wrong.size} in all), so that "
            "they are no behaviour to imitate: leave them out"
        )
    if keep.labels is None:
        return inputs
    choice = picked(outputs, decision)[:, 0]
    return np.asarray(inputs[choice == keep.labels])


def _domain(network: Network, prop: Property, how: Imitation, rng: np.random.Generator) -> Array:
    if isinstance(how.domain, PointSet):
        return fitting(network, how.domain, "keep in the domain")
    size = (how.samples, network.input_size)
    if how.domain is not None:
        lower, upper = (np.asarray(corner, dtype=np.float64) for corner in how.domain)
        if lower.shape != size[1:] or upper.shape != size[1:] or not (lower <= upper).all():
            raise PointSetError(
                f"the domain has corners of shapes {lower.shape} and {upper.shape}, expected {size[1:]} "
                "each, lower <= upper"
            )
        return np.asarray(rng.uniform(lower, upper, size=size).astype(network.element), dtype=np.float64)
    if not prop.regions:
        return np.zeros((0, network.input_size))
    which = rng.integers(len(prop.regions), size=how.samples)
    lower, upper = (np.stack([getattr(r, c) for r in prop.regions])[which] for c in ("lower", "upper"))
    width = np.exp(rng.uniform(0, np.log(WIDEST), size=(how.samples, 1)))
    around = (lower + upper) / 2 + width * (upper - lower) * rng.uniform(-0.5, 0.5, size=size)
    return np.asarray(around.astype(network.element), dtype=np.float64)
