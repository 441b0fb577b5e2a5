"""Verification of networks with gates: case by case, each a network without gates on its part of the inputs.

Counterexamples are replayed from the file with its gates, whichever case they come from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import cast

import numpy as np

from repairsolver.certificate.cases import Case
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.results import Certificate, Interrupted, Limits, OpenBoxes, Verdict, VerifyStatus, counted
from repairsolver.verification.record import property_sha256

Decide = Callable[[Case, Limits], Verdict]


def verify_cases(
    network: Network, prop: Property, parts: Sequence[Case], decide: Decide, limits: Limits
) -> Verdict:
    """Decide every case, each with its share of the time that is left; the first violation ends it."""
    started = time.monotonic()
    verdicts: list[Verdict] = []
    for place, case in enumerate(parts):
        own = limits
        if limits.seconds is not None:
            left = limits.seconds - (time.monotonic() - started)
            own = replace(limits, seconds=max(left / (len(parts) - place), 0.01))
        try:
            verdicts.append(decide(case, own))
        except Interrupted as stopped:
            verdicts.append(cast(Verdict, stopped.result))
            reached = _joined(network, prop, parts, verdicts, time.monotonic() - started)
            raise Interrupted(reached) from None
        if verdicts[-1].status is VerifyStatus.VIOLATED:
            break
    return _joined(network, prop, parts, verdicts, time.monotonic() - started)


def _joined(
    network: Network, prop: Property, parts: Sequence[Case], verdicts: Sequence[Verdict], seconds: float
) -> Verdict:
    """One verdict about the whole property."""
    statuses = [verdict.status for verdict in verdicts]
    last = verdicts[-1]
    if len(verdicts) < len(parts) and VerifyStatus.VIOLATED not in statuses:
        statuses.append(VerifyStatus.TIMEOUT)
    order = (VerifyStatus.VIOLATED, VerifyStatus.TIMEOUT, VerifyStatus.UNKNOWN, VerifyStatus.HOLDS)
    status = next(found for found in order if found in statuses)
    opened = _open(prop, parts, verdicts)
    bounds = [verdict.best_bound for verdict in verdicts if verdict.best_bound is not None]
    reached = bool(bounds) and (opened is None or bool(np.isfinite(opened.bound).all()))
    certificates = [verdict.certificate for verdict in verdicts if verdict.certificate is not None]
    complete = status is VerifyStatus.HOLDS and len(certificates) == len(parts)
    return replace(
        last,
        status=status,
        best_bound=min(bounds) if reached else None,
        proved_volume=_proved(prop, opened),
        methods=(
            counted(len(parts), "case of gates", "cases of gates"),
            *dict.fromkeys(m for v in verdicts for m in v.methods),
        ),
        boxes=sum(verdict.boxes for verdict in verdicts),
        seconds=seconds,
        certificate=joined_certificates(network, prop, certificates) if complete else None,
        open_boxes=None if status is VerifyStatus.VIOLATED else opened,
        notes=tuple(dict.fromkeys(note for verdict in verdicts for note in verdict.notes)),
    )


def _proved(prop: Property, opened: OpenBoxes | None) -> float:
    """The proved share of the queries' volume; of a flat region only inputs that vary count."""
    if opened is None:
        return 1.0
    regions = [region for region in prop.regions for _ in region.unsafe]
    # Parts of a box that differ by the phases of activations are one part here.
    boxes = np.unique(np.column_stack([opened.query, opened.lower, opened.upper]), axis=0)
    query, (lower, upper) = boxes[:, 0].astype(int), np.split(boxes[:, 1:], 2, axis=1)
    low, high = (np.stack([getattr(region, end) for region in regions])[query] for end in ("lower", "upper"))
    free = high > low
    shares = np.where(free, (upper - lower) / np.where(free, high - low, 1.0), 1.0)
    return max(0.0, 1 - float(shares.prod(axis=1).sum()) / len(regions))


def _open(prop: Property, parts: Sequence[Case], verdicts: Sequence[Verdict]) -> OpenBoxes | None:
    """What is open in all cases, with the queries of the whole property; None where nothing is.

    Of a case that was violated, or of which nothing was bounded, that is all of it.
    """
    first = np.cumsum([0, *(len(region.unsafe) for region in prop.regions)])
    found = []
    for case, verdict in zip_longest(parts, verdicts):
        if verdict is not None and verdict.status is VerifyStatus.HOLDS:
            continue
        pairs = list(zip(case.origin, case.prop.regions, strict=True))
        numbers = [first[k] + np.arange(len(region.unsafe)) for k, region in pairs]
        query = np.concatenate(numbers)
        own = None if verdict is None or verdict.status is VerifyStatus.VIOLATED else verdict.open_boxes
        if own is None:
            home = np.repeat(np.arange(len(pairs)), [len(some) for some in numbers])
            lower, upper = (np.stack([getattr(r, end) for _, r in pairs])[home] for end in ("lower", "upper"))
            found.append(OpenBoxes(lower, upper, query, np.full(len(query), -np.inf)))
        else:
            found.append(replace(own, query=query[own.query]))
    if not sum(map(len, found)):
        return None
    columns = ("lower", "upper", "query", "bound")
    return OpenBoxes(*(np.concatenate([getattr(part, name) for part in found]) for name in columns))


def joined_certificates(network: Network, prop: Property, parts: Sequence[Certificate]) -> Certificate:
    """One forest of all trees, level by level, in the order of the parts."""
    rows = max((part.weights.shape[1] for part in parts), default=1)
    levels: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = []
    for part in parts:
        splits = part.axis >= 0
        value = np.zeros(len(part.axis))
        value[splits] = part.value
        weights = np.zeros((len(part.axis), rows), dtype=np.uint8)
        weights[:, : part.weights.shape[1]] = part.weights
        start, size, depth = 0, len(part.axis) - 2 * len(part.value), 0
        while size:
            level = slice(start, start + size)
            if depth == len(levels):
                levels.append([])
            levels[depth].append((part.axis[level], value[level], weights[level]))
            start, size, depth = start + size, 2 * int(splits[level].sum()), depth + 1
    pieces = [piece for level in levels for piece in level]
    axis = np.concatenate([a for a, _, _ in pieces] or [np.zeros(0, np.int16)])
    value = np.concatenate([v for _, v, _ in pieces] or [np.zeros(0)])
    weights = np.concatenate([w for _, _, w in pieces] or [np.zeros((0, rows), np.uint8)])
    return Certificate(
        network.sha256,
        property_sha256(prop),
        axis,
        value[axis >= 0],
        weights,
        parts[0].arithmetic if parts else "real",
        (network.name, prop.name),
    )
