"""Where gates are needed: the part of a property's regions that is not proved, covered by few boxes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from repairsolver.bounds.tensors import tensor_graph
from repairsolver.certificate.cases import cases
from repairsolver.network.float32 import float32_box
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property, Region
from repairsolver.results import Array, Verdict
from repairsolver.verification.engine import MOST_SPLIT_INPUTS, single_threaded
from repairsolver.verification.frontier import Open, State, merge
from repairsolver.verification.query import queries, strip_softmax
from repairsolver.verification.replay import belongs
from repairsolver.verification.searching import BATCH, thread_count
from repairsolver.verification.split import InputSplitting

BOXES = 4
"""Boxes that one region's place may consist of."""

COARSEST, FINEST, FINER = 2.0**-6, 2.0**-24, 2.0**-3
"""Volumes, as shares of a region, at which boxes that are not proved are no longer split; ever finer ones."""

SMALL, WORTH = 0.25, 0.9
"""Once less than this share is open, a finer search goes on only while it leaves less by this factor."""

MOST_OPEN = 4000
"""Boxes that are not proved, beyond which no finer search is begun."""

AROUND = 0.01
"""Half the width of the box around a violating point, as a share of its region's width."""

SLACK = 0.02
"""By how much a covering box is widened on every side, as a share of its width."""

MOST_MERGED = 400
"""Boxes whose pairs are compared; more are merged along the first axes beforehand."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Boxes [k, n] of one region, where gates are to be on.

    Args:
        region: its number in the property.
        lower, upper: corners, as numbers of the network's type, rounded outward.
        others: regions that lie over these boxes, too, so that their demands are met at once.
    """

    region: int
    lower: Array
    upper: Array
    others: tuple[int, ...] = ()

    def demands(self, prop: Property) -> Region:
        """The region, unsafe where it or one of the others is."""
        joined = [prop.regions[k] for k in (self.region, *self.others)]
        return replace(joined[0], unsafe=tuple(c for region in joined for c in region.unsafe))

    def whole(self, prop: Property) -> bool:
        """Whether one of the boxes is its region."""
        region = prop.regions[self.region]
        inside = (self.lower <= region.lower).all(axis=1) & (self.upper >= region.upper).all(axis=1)
        return bool(inside.any())


def whole_regions(prop: Property) -> list[Place]:
    """Every region as it is."""
    boxes = [float32_box(region.lower, region.upper) for region in prop.regions]
    return [Place(i, low[None], high[None]) for i, (low, high) in enumerate(boxes) if prop.regions[i].unsafe]


def covered_share(prop: Property, boxes: Sequence[tuple[Array, Array]]) -> float:
    """At most this share of any region's volume lies in boxes (lower, upper), [n] each."""
    distinct = {low.tobytes() + high.tobytes(): (low, high) for low, high in boxes}.values()
    largest = 0.0
    for region in prop.regions:
        width, share = region.upper - region.lower, 0.0
        for low, high in distinct:
            met = np.minimum(high, region.upper) - np.maximum(low, region.lower)
            if (met >= 0).all():
                share += float(np.prod(met[width > 0] / width[width > 0]))
        largest = max(largest, share)
    return min(largest, 1.0)


def overlaps(prop: Property, places: Sequence[Place]) -> list[Place]:
    """Where further regions lie over places: what is done for one of them must not undo another one."""
    found: dict[tuple[int, ...], list[tuple[Array, Array]]] = {}
    for place in places:
        for low, high in zip(place.lower, place.upper, strict=True):
            for number, region in enumerate(prop.regions):
                ends = np.maximum(low, region.lower), np.minimum(high, region.upper)
                if number == place.region or not region.unsafe or (ends[0] > ends[1]).any():
                    continue
                for over, part in _together(prop.regions, ends):
                    found.setdefault(over, []).append(float32_box(*part))
    ordered = sorted(found.items(), key=lambda item: (len(item[0]), item[0]))
    return [
        Place(over[0], np.array([a for a, _ in boxes]), np.array([b for _, b in boxes]), over[1:])
        for over, boxes in ordered
    ]


def _together(
    regions: Sequence[Region], ends: tuple[Array, Array]
) -> Iterator[tuple[tuple[int, ...], tuple[Array, Array]]]:
    """Regions that all share a point of a box (lower, upper), and the part of the box that is theirs.

    Boxes of which every two share a point all share one, so that only regions apart from another one divide
    the box: nothing may be demanded of scores for two regions at once that no input lies in at once.
    """
    parts = {
        k: (np.maximum(r.lower, ends[0]), np.minimum(r.upper, ends[1]))
        for k, r in enumerate(regions)
        if r.unsafe and ((r.lower <= ends[1]) & (r.upper >= ends[0])).all()
    }
    apart = [
        k
        for k, (low, high) in parts.items()
        if any(((low > other[1]) | (high < other[0])).any() for other in parts.values())
    ]
    shared = tuple(k for k in parts if k not in apart)
    if shared:
        yield shared, ends
    for k in apart:
        yield from _together(regions, parts[k])


def places_around(network: Network, prop: Property, points: Array, *, most: int) -> list[Place]:
    """Boxes of every region around its points [k, n], which violate the property there."""
    found = []
    for number, region in enumerate(prop.regions):
        own = points[belongs(points, region, network.element)]
        if len(own) and region.unsafe:
            around = AROUND * (region.upper - region.lower)
            boxes = [
                (np.maximum(x - around, region.lower), np.minimum(x + around, region.upper)) for x in own
            ]
            found.append(_place(number, region, boxes, most))
    return found


def find_places(
    network: Network, prop: Property, *, most: int, seconds: float, memory_gb: float
) -> list[Place] | None:
    """Boxes that cover all inputs where the property is not proved within the time.

    Ever smaller boxes are bounded, until what is not proved hardly becomes smaller. None where too many
    inputs vary for boxes to be split.

    Args:
        most: boxes for each region.
    """
    varying = max((int((r.upper > r.lower).sum()) for r in prop.regions if r.unsafe), default=0)
    if varying > MOST_SPLIT_INPUTS:
        return None
    until = time.monotonic() + seconds
    found: list[list[tuple[Array, Array]]] = [[] for _ in prop.regions]
    parts = cases(network, prop)
    with single_threaded(), torch.inference_mode(False):
        for place, case in enumerate(parts):
            left = (until - time.monotonic()) / (len(parts) - place)
            for number, box in _open_boxes(case.network, case.prop, left, memory_gb):
                found[case.origin[number]].append(box)
    return [_place(number, prop.regions[number], boxes, most) for number, boxes in enumerate(found) if boxes]


def _open_boxes(
    network: Network, prop: Property, seconds: float, memory_gb: float
) -> list[tuple[int, tuple[Array, Array]]]:
    """What stays open of each region."""
    core, prop = strip_softmax(network, prop)
    owner = np.array([i for i, region in enumerate(prop.regions) for _ in region.unsafe])
    graph = tensor_graph(core, torch.float64)
    search = InputSplitting(
        graph, queries(prop, "cpu"), batch=BATCH, threads=thread_count(), memory=memory_gb * 1e9
    )
    until, share, before = time.monotonic() + seconds, COARSEST, np.inf
    while True:
        _advance(search, share, until)
        left = search.remaining()
        if left is None:
            return []
        volume = _volume(search, left)
        over = time.monotonic() > until or len(left) > MOST_OPEN or share * FINER < FINEST
        if over or (volume < SMALL and volume > WORTH * before):
            break
        before, share = volume, share * FINER
        search.state = replace(search.state, stack=(left,), narrow=())
    lower, upper, query = (t.cpu().numpy() for t in (left.lower, left.upper, left.query))
    return [(int(owner[q]), (low, high)) for q, low, high in zip(query, lower, upper, strict=True)]


def _advance(search: InputSplitting, share: float, until: float) -> None:
    """Split until every box is proved or has less than a share of its region's volume."""
    search.state = _set_aside(search, search.state, share)
    while not search.done and time.monotonic() < until:
        search.round(until)
        search.state = _set_aside(search, search.state, share)


def _set_aside(search: InputSplitting, state: State, share: float) -> State:
    if not state.stack:
        return state
    stack = merge(list(state.stack))
    small = _shares(search, stack) < share
    parts = [stack[(~small).nonzero()[:, 0]], stack[small.nonzero()[:, 0]]]
    kept = tuple(part for part in parts[:1] if len(part))
    aside = tuple(part for part in parts[1:] if len(part))
    return replace(state, stack=kept, narrow=(*state.narrow, *aside))


def _shares(search: InputSplitting, part: Open) -> torch.Tensor:
    """Of each box: its volume as a share of its region's; flat inputs do not count."""
    asked = search.queries
    width = (asked.upper - asked.lower)[part.query]
    ratio = torch.where(width > 0, (part.upper - part.lower) / width.clamp(min=1e-300), 1.0)
    return ratio.prod(dim=1)


def _volume(search: InputSplitting, part: Open) -> float:
    return float(_shares(search, part).sum())


def _place(
    number: int, region: Region, boxes: list[tuple[Array, Array]], most: int, slack: float = SLACK
) -> Place:
    """Few boxes that cover many, widened a little, within the region, and rounded outward."""
    lower, upper = (np.array(side) for side in zip(*boxes, strict=True))
    lower, upper = cover(lower, upper, region.upper - region.lower, most)
    wider = slack * (upper - lower)
    # A fixed input that is no number of the network's type was seen beside its interval.
    low = np.clip(lower - wider, region.lower, region.upper)
    high = np.clip(upper + wider, region.lower, region.upper)
    ends = [float32_box(a, b) for a, b in zip(low, high, strict=True)]
    return Place(number, np.array([a for a, _ in ends]), np.array([b for _, b in ends]))


def cover(lower: Array, upper: Array, width: Array, most: int) -> tuple[Array, Array]:
    """At most so many boxes that cover all given ones; those pairs are merged whose hull adds least volume.

    Among the numbers of boxes the one with the least squared number times volume is taken: every further box
    is compared at run time.
    """
    free = width > 0
    scale = np.where(free, width, 1.0)
    low, high = lower / scale, upper / scale
    while len(low) > MOST_MERGED:
        low, high = _halved(low, high, free)
    best, best_cost = (low, high), np.inf
    while True:
        if len(low) <= most:
            cost = len(low) ** 2 * float((high - low)[:, free].prod(axis=1).sum())
            if cost < best_cost * (1 - 1e-9):
                best, best_cost = (low, high), cost
        if len(low) == 1:
            break
        low, high = _merged(low, high, free)
    return best[0] * scale, best[1] * scale


def _merged(low: Array, high: Array, free: np.ndarray) -> tuple[Array, Array]:
    """The pair merged whose common hull has the least volume beyond theirs."""
    own = (high - low)[:, free].prod(axis=1)
    hull = np.maximum(high[:, None], high) - np.minimum(low[:, None], low)
    more = hull[:, :, free].prod(axis=2) - own[:, None] - own
    np.fill_diagonal(more, np.inf)
    i, j = np.unravel_index(int(more.argmin()), more.shape)
    kept = np.delete(np.arange(len(low)), [i, j])
    pair = np.minimum(low[i], low[j]), np.maximum(high[i], high[j])
    return np.vstack([low[kept], pair[0]]), np.vstack([high[kept], pair[1]])


def _halved(low: Array, high: Array, free: np.ndarray) -> tuple[Array, Array]:
    """Neighbours merged in pairs, in the order of their centres along the axis on which they spread most."""
    centre = low + high
    axis = int(np.where(free, np.ptp(centre, axis=0), -1.0).argmax())
    order = centre[:, axis].argsort(kind="stable")
    starts = np.arange(0, len(order), 2)
    return np.minimum.reduceat(low[order], starts), np.maximum.reduceat(high[order], starts)


def extended(
    network: Network, prop: Property, places: Sequence[Place], verdict: Verdict, most: int, slack: float
) -> list[Place]:
    """The places with what a verdict left open or violated added to them, and widened by a share."""
    found = {place.region: list(zip(place.lower, place.upper, strict=True)) for place in places}
    owner = np.array([i for i, region in enumerate(prop.regions) for _ in region.unsafe])
    left = verdict.open_boxes
    if left is not None:
        for query, low, high in zip(left.query, left.lower, left.upper, strict=True):
            found.setdefault(int(owner[query]), []).append((low, high))
    points = np.array([c.input for c in verdict.counterexamples])
    for place in places_around(network, prop, points, most=most) if len(points) else []:
        found.setdefault(place.region, []).extend(zip(place.lower, place.upper, strict=True))
    return [
        _place(number, prop.regions[number], boxes, most, slack) for number, boxes in found.items() if boxes
    ]
