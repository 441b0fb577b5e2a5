"""The inputs that a network can be given in a property's regions, and what is wrong there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from repairsolver.errors import SamplingError
from repairsolver.network.graph import Network
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.results import Array, counted
from repairsolver.verification.replay import element_box

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Domain:
    """The regions of a property as boxes of the network's element type.

    A number of the property that the element type lacks is met by the nearest one inside the interval; where
    there is none inside, by the one nearest to its middle, as in every replay.

    Args:
        lower, upper: corners, [k, n], numbers of the element type, held as float64.
        group: which of `unsafe` counts in each region, [k].
        unsafe: the different sets of conjunctions.

    Raises:
        SamplingError: there is no region, or a region in which nothing is unsafe.
    """

    lower: Array
    upper: Array
    group: NDArray[np.int64]
    unsafe: tuple[tuple[Conjunction, ...], ...]
    element: np.dtype[np.float32] | np.dtype[np.float64]
    regions: tuple[Region, ...]

    def __len__(self) -> int:
        return len(self.lower)

    @cached_property
    def corners(self) -> tuple[Array, Array]:
        """The corners as the property has them, [k, n]."""
        low = np.stack([region.lower for region in self.regions])
        return low, np.stack([region.upper for region in self.regions])

    @cached_property
    def volumes(self) -> Array:
        """The share of each region in the sum of all volumes, [k]; fixed inputs are left out.

        Raises:
            SamplingError: regions have different fixed inputs, so that their volumes cannot be compared.
        """
        if len(self) == 1:
            return np.ones(1)
        low, high = self.corners
        width = high - low
        varies = width > 0
        if (varies != varies[0]).any():
            odd = int(np.flatnonzero((varies != varies[0]).any(axis=1))[0])
            raise SamplingError(
                f"regions 1 and {odd + 1} of {counted(len(self), 'region')} have different fixed inputs, so "
                "that one has no volume beside the other: give the distribution weights, one for each region"
            )
        logs = np.log(width[:, varies[0]]).sum(axis=1)
        shares = np.exp(logs - logs.max())
        return np.asarray(shares / shares.sum())

    def members(self, points: Array) -> Mask:
        """Which points [b, n] lie in a region of each group: [groups, b]."""
        found = np.zeros((len(self.unsafe), len(points)), dtype=np.bool_)
        for low, high, group in zip(self.lower, self.upper, self.group, strict=True):
            found[group] |= ((points >= low) & (points <= high)).all(axis=1)
        return found

    def clipped(self, points: Array, region: NDArray[np.int64]) -> Array:
        """Points [b, n] rounded to the element type, within their regions [b]."""
        rounded = points.astype(self.element).astype(np.float64)
        if len(self) == 1:
            return np.clip(rounded, self.lower[0], self.upper[0])
        return np.clip(rounded, self.lower[region], self.upper[region])


def domain_of(network: Network, prop: Property) -> Domain:
    """The domain of a property for a network."""
    if not any(region.unsafe for region in prop.regions):
        raise SamplingError(
            f"{prop.name}: it has no region in which anything is unsafe: it holds, and there is nothing to "
            f"sample"
        )
    regions = tuple(region for region in prop.regions if region.unsafe)
    low = np.stack([region.lower for region in regions])
    high = np.stack([region.upper for region in regions])
    ends = element_box(low, high, network.element)
    known: dict[int, int] = {}  # open boxes of one region share their conjunctions: no need to compare
    keys: dict[bytes, int] = {}
    unsafe: list[tuple[Conjunction, ...]] = []
    group = []
    for region in regions:
        if id(region.unsafe) not in known:
            content = _content(region.unsafe)
            if content not in keys:
                keys[content] = len(unsafe)
                unsafe.append(region.unsafe)
            known[id(region.unsafe)] = keys[content]
        group.append(known[id(region.unsafe)])
    return Domain(
        np.asarray(ends[0], dtype=np.float64),
        np.asarray(ends[1], dtype=np.float64),
        np.array(group),
        tuple(unsafe),
        network.element,
        regions,
    )


def _content(unsafe: Sequence[Conjunction]) -> bytes:
    strict = [np.isin(np.arange(len(c.bound)), list(c.strict)) for c in unsafe]
    parts = [
        a.tobytes()
        for c, marks in zip(unsafe, strict, strict=True)
        for a in (np.int64(len(c.bound)), c.output, c.input, c.bound, marks)
    ]
    return b"".join(parts)
