"""Points that the user gives: to be repaired, and to be kept."""

from __future__ import annotations

import numpy as np

from repairsolver.decision import SIDES, Decision, Side, picked
from repairsolver.errors import PointSetError
from repairsolver.network.graph import Network
from repairsolver.network.replay import replay
from repairsolver.property import PointSet
from repairsolver.property.points import check_range
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.requirements import Ids, Requirements
from repairsolver.results import Array


def add_points(
    requirements: Requirements,
    prop: Property,
    points: PointSet | None,
    keep: PointSet | None,
    decision: Decision,
    penalty: float = np.inf,
    prefer: PointSet | None = None,
    prefer_penalty: float = np.inf,
) -> None:
    """Ask for labels (or safety) at the points to repair, and for labels (or the old decision) at `keep`.

    Labels are of the largest output, or with decision "min" of the smallest. With a finite penalty the
    points to keep may be lost. Points of `prefer` should get their
    labels, too, at their price.

    All inputs are rounded to the network's element type first, as the network sees them.

    Raises:
        PointSetError: points do not fit the network, have labels out of range, lie outside every region
            although they have no labels (of `prefer` all need some), or contradict each other.
    """
    network = requirements.network
    labelled: Side = "min" if decision == "min" else "max"
    wanted: list[tuple[PointSet, Array, Ids, Side]] = []
    if points is not None:
        inputs = _fitting(network, points, "repair")
        if points.labels is None:
            _require_inside(prop, inputs, points.name)
            requirements.forbid(prop, inputs)
        else:
            wanted.append((points, inputs, points.labels, labelled))
    if keep is not None:
        inputs = _fitting(network, keep, "keep")
        if keep.labels is not None:
            wanted.append((keep, inputs, keep.labels, labelled))
        else:
            before = picked(replay(network, inputs), decision).T
            wanted += [(keep, inputs, *own) for own in zip(before, SIDES[decision], strict=True)]
    for side in SIDES[decision]:
        _require_consistent([own[:3] for own in wanted if own[3] == side])
    for given, inputs, labels, side in wanted:
        price = penalty if given is keep else np.inf
        role = "keep" if given is keep else "repair"
        requirements.decide(inputs, labels, side, role=role, penalty=price)
    if prefer is not None:
        if prefer.labels is None:
            raise PointSetError(f"{prefer.name}: points to prefer need the labels that they should get")
        inputs = _fitting(network, prefer, "prefer")
        requirements.decide(inputs, prefer.labels, labelled, role="prefer", penalty=prefer_penalty)


def strays_of(prop: Property, points: PointSet | None) -> tuple[str, ...]:
    """A remark on labelled points to repair that lie in no region, as numbers in other units would."""
    if points is None or points.labels is None or not prop.regions:
        return ()
    inside = np.zeros(len(points.inputs), dtype=bool)
    for region in prop.regions:
        inside |= region.contains(points.inputs)
    outside = np.flatnonzero(~inside)
    if not outside.size:
        return ()
    return (
        f"{outside.size} of {len(inside)} points to repair, the first of them {points.name}[{outside[0]}], "
        f"lie in no region of {prop.name}; if that is not meant, check their units.",
    )


def missed_labels(network: Network, keep: PointSet | None, decision: Decision) -> tuple[str, ...]:
    """A remark on points to keep whose label is not the decision: they are not kept but repaired."""
    if keep is None or keep.labels is None:
        return ()
    side: Side = "min" if decision == "min" else "max"
    now = picked(replay(network, _fitting(network, keep, "keep")), side)[:, 0]
    missed = np.flatnonzero(now != keep.labels)
    if not missed.size:
        return ()
    return (
        f"{missed.size} of {len(keep)} points to keep, the first of them {keep.name}[{missed[0]}], have "
        "another label than the network's decision, and a repair is asked to give them theirs, too; leave "
        "them out, or all labels, if decisions are only to stay.",
    )


def _fitting(network: Network, points: PointSet, purpose: str) -> Array:
    if points.inputs.shape[1] != network.input_size:
        raise PointSetError(
            f"{points.name}: points to {purpose} have {points.inputs.shape[1]} entries, but "
            f"{network.name} has {network.input_size} inputs"
        )
    if points.labels is not None:
        wrong = np.flatnonzero((points.labels < 0) | (points.labels >= network.output_size))
        if wrong.size:
            raise PointSetError(
                f"{points.name}: labels of points {wrong[:20].tolist()} lie outside "
                f"0..{network.output_size - 1}: labels count the network's outputs from 0"
            )
    check_range(points, network)
    return points.inputs.astype(network.element).astype(np.float64)


def _require_inside(prop: Property, inputs: Array, name: str) -> None:
    inside = np.zeros(len(inputs), dtype=bool)
    for region in prop.regions:
        inside |= region.contains(inputs)
    if not inside.all():
        raise PointSetError(
            f"{name}: points {np.flatnonzero(~inside)[:20].tolist()} lie in no region of {prop.name}, so "
            "without labels nothing is asked of them: give labels, or leave them out"
        )


def _require_consistent(wanted: list[tuple[PointSet, Array, Ids]]) -> None:
    labels: dict[bytes, tuple[int, str]] = {}
    problems = []
    for given, inputs, decided in wanted:
        for index, (row, label) in enumerate(zip(inputs, decided, strict=True)):
            place = f"{given.name}[{index}] (label {label})"
            first = labels.setdefault((row + 0.0).tobytes(), (int(label), place))
            if first[0] != label:
                problems.append(f"{first[1]} and {place}")
    if problems:
        raise PointSetError(
            "the same input is given with different labels, so no network has both: "
            + "; ".join(problems[:10])
        )
