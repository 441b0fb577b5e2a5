"""The part of a property's regions on which a proof left open whether it holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from repairsolver.errors import SamplingError
from repairsolver.property.specification import Property
from repairsolver.results import Array, OpenBoxes, Verdict
from repairsolver.sampling.statement import Part


def open_part(prop: Property, verdict: Verdict) -> Part | None:
    """The open boxes of a verdict; None if nothing was bounded, or all is proved.

    A violation lies in an open box of its query (region and conjunction), so that with an input uniform on
    the regions (chosen by volume) P(violation) is at most the share of the open boxes (see `part_of`) times
    the probability that an input uniform on them (chosen by volume) violates.
    """
    found = verdict.open_boxes
    if found is None or not len(found) or found.lower.shape[1:] != (prop.input_size,):
        return None
    # Parts of a box that differ by the phases of activations are one part here.
    columns = np.column_stack([found.query, found.lower, found.upper])
    index = np.sort(np.unique(columns, axis=0, return_index=True)[1])
    return part_of(
        prop, OpenBoxes(found.lower[index], found.upper[index], found.query[index], found.bound[index])
    )


def part_of(prop: Property, found: OpenBoxes) -> Part:
    r"""Boxes with their share of the volume, as often as regions overlap there.

    An input of several regions is drawn from each of them, and violates what one of them forbids, wherever
    it was drawn. With m regions at most that meet one of the boxes B, and the violations V,

    $$ \sum_r |r \cap V| \le \sum_B \sum_r |r \cap B \cap V| \le m \sum_B |B \cap V| . $$

    Regions in which nothing is unsafe take no part, as nobody samples them.

    Raises:
        SamplingError: the property's regions have no volumes to compare.
    """
    regions = [region for region in prop.regions if region.unsafe]
    pairs = [number for number, region in enumerate(regions) for _ in region.unsafe]
    home = np.array(pairs)[found.query]
    low = np.stack([region.lower for region in regions])
    high = np.stack([region.upper for region in regions])
    weights = _volumes(low, high)
    inside = np.prod(_shares(found, low[home], high[home]), axis=1)
    return Part(found, float(_most_met(found, low, high) * (weights[home] * inside).sum()))


def property_of_part(prop: Property, part: Part) -> Property:
    """The property with the open boxes as its regions: each with all that is unsafe in the region it is
    of."""
    regions = [region for region in prop.regions for _ in region.unsafe]
    boxes = part.boxes
    parts = tuple(
        replace(regions[query], lower=low, upper=high)
        for low, high, query in zip(boxes.lower, boxes.upper, boxes.query, strict=True)
    )
    return Property(parts, prop.input_size, prop.output_size, name=f"{prop.name} on the open part")


def _shares(boxes: OpenBoxes, low: Array, high: Array) -> Array:
    width = high - low
    fixed = width <= 0
    return np.asarray(np.where(fixed, 1.0, (boxes.upper - boxes.lower) / np.where(fixed, 1.0, width)))


def _most_met(boxes: OpenBoxes, low: Array, high: Array) -> int:
    """The largest number of regions that share some volume with one of the boxes."""
    met = np.zeros(len(boxes), dtype=np.int64)
    for start, end in zip(low, high, strict=True):
        within = (boxes.lower < end) & (boxes.upper > start)
        fixed = (start == end) & (boxes.lower <= start) & (boxes.upper >= end)
        met += (within | fixed).all(axis=1)
    return max(1, int(met.max()))


def _volumes(low: Array, high: Array) -> Array:
    width = high - low
    varies = width > 0
    if (varies != varies[0]).any():
        raise SamplingError(
            "regions with different fixed inputs have no volumes to compare: sample each by itself"
        )
    logs = np.log(width[:, varies[0]]).sum(axis=1)
    shares = np.exp(logs - logs.max())
    return np.asarray(shares / shares.sum())
