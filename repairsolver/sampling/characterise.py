r"""Which parts of a property's regions are safe, violated or undecided, by PAC models on ever smaller boxes.

Every region is modelled (see `scenario`). A box is

- `safe` if the model with its margin is negative: at most epsilon of its volume violates;
- `violated` if the model is at least 0 somewhere although the margin is taken off, or a sample violates;
- `unclear` otherwise.

Boxes that are not safe are halved at the input that explains most of the error, until there are `leaves`
boxes: a piecewise-affine model. At most 2 `leaves` models are ever made, each with confidence
$1 - \eta / (2\,\mathrm{leaves})$, so that with confidence $1 - \eta$ **all** statements hold at once: of the
volume of all safe boxes together at most a share epsilon violates.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from repairsolver.errors import SamplingError
from repairsolver.network.graph import Network
from repairsolver.property import check_fits
from repairsolver.property.specification import Property
from repairsolver.results import Array, Limits, counted
from repairsolver.sampling.binomial import check_level
from repairsolver.sampling.distributions import Draw, Uniform
from repairsolver.sampling.domain import domain_of
from repairsolver.sampling.evaluation import Evaluator, Judged
from repairsolver.sampling.sampler import source_of
from repairsolver.sampling.scenario import PacModel, fit, fit_size, margins, scaled, scenario_size
from repairsolver.sampling.streams import generator

EXAMPLES = 10
"""Violations that are kept of each box, the worst."""


class PartStatus(StrEnum):
    """What a model says of a box."""

    SAFE = "safe"
    VIOLATED = "violated"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, eq=False)
class ModelledBox:
    """A box of the partition.

    Args:
        region: number of the property's region that it is a part of.
        share: of the volume of all regions.
        highest: an upper bound on the modelled violation, margin included; negative: safe.
        samples, violations: fresh samples that the margin comes from, and how many of them violate.
        examples: inputs that violate, [k, n], each run by itself on the network's own file.
    """

    region: int
    share: float
    status: PartStatus
    model: PacModel
    highest: float
    samples: int
    violations: int
    examples: Array


@dataclass(frozen=True, slots=True, eq=False)
class Characterisation:
    """A partition of a property's regions with a PAC model of each part.

    Args:
        boxes: the parts.
        epsilon, eta: with confidence 1 - eta, at most epsilon of each safe box's volume violates, in all at
            once.
        seed: of the samples.
        seconds: what it took, by the clock.
    """

    boxes: tuple[ModelledBox, ...]
    epsilon: float
    eta: float
    seed: int
    seconds: float

    def share(self, status: PartStatus | str) -> float:
        """Of the volume, what has this status."""
        return sum(box.share for box in self.boxes if box.status == status)

    @property
    def examples(self) -> Array:
        """Violations of all boxes, [k, n]."""
        inputs = len(self.boxes[0].model.lower)
        return np.concatenate([np.zeros((0, inputs)), *(box.examples for box in self.boxes)])

    def __repr__(self) -> str:
        shares = ", ".join(f"{status} {self.share(status):.2%}" for status in PartStatus)
        return (
            f"<Characterisation in {counted(len(self.boxes), 'box', 'boxes')}: {shares} of the volume; with "
            f"confidence "
            f"{1 - self.eta:.6g} at most {self.epsilon:g} of the safe boxes violates>"
        )


@dataclass(slots=True, eq=False)
class _Search:
    """A partition under way."""

    network: Network
    prop: Property
    epsilon: float
    eta: float
    key: int
    shares: Array
    evaluators: dict[int, Evaluator] = field(default_factory=dict)
    made: int = 0

    def box(self, region: int, lower: Array, upper: Array) -> ModelledBox:
        """Fit, measure on fresh samples, judge."""
        unsafe = self.prop.regions[region].unsafe
        rows = sum(len(c.bound) for c in unsafe)
        varying = int((upper > lower).sum())
        points, judged = self._sample(region, lower, upper, fit_size(varying))
        model = fit(lower, upper, unsafe, points.points, margins(unsafe, points.points, judged.outputs))
        count = scenario_size(self.epsilon, self.eta, rows)
        fresh, found = self._sample(region, lower, upper, count)
        error = np.abs(margins(unsafe, fresh.points, found.outputs) - model(fresh.points))
        model = replace(model, margin=error.max(axis=0))
        wrong = np.flatnonzero(found.violated)
        examples = fresh.points[wrong[np.argsort(-found.margin[wrong])][:EXAMPLES]]
        highest = model.highest()
        status = PartStatus.UNCLEAR
        if wrong.size or model.peak()[0] >= 0:
            status = PartStatus.VIOLATED
        elif highest < 0:
            status = PartStatus.SAFE
        whole = self.prop.regions[region]
        width = whole.upper - whole.lower
        part = np.where(width > 0, (upper - lower) / np.where(width > 0, width, 1.0), 1.0)
        share = float(self.shares[region] * part.prod())
        return ModelledBox(region, share, status, model, highest, count, wrong.size, examples)

    def _sample(self, region: int, lower: Array, upper: Array, count: int) -> tuple[Draw, Judged]:
        """Uniform samples of a box, none of them drawn before."""
        whole = self.prop.regions[region]
        prop = replace(self.prop, regions=(replace(whole, lower=lower, upper=upper),))
        domain = domain_of(self.network, prop)
        rng = generator(self.key, self.made)
        self.made += 1
        draw = Uniform().draw(domain, rng, count)
        if region not in self.evaluators:
            self.evaluators[region] = Evaluator(self.network, domain, draw[:64])
        evaluator = self.evaluators[region]
        return draw, evaluator.judge(draw)

    def halves(self, box: ModelledBox) -> Iterator[ModelledBox]:
        """Split where two affine functions explain most."""
        model = box.model
        axis = self._axis(box)
        middle = (model.lower[axis] + model.upper[axis]) / 2
        low, high = model.lower.copy(), model.upper.copy()
        high[axis], low[axis] = middle, middle
        yield self.box(box.region, model.lower, high)
        yield self.box(box.region, low, model.upper)

    def _axis(self, box: ModelledBox) -> int:
        """The input at which halving leaves the least squared error of affine functions on the halves."""
        model, unsafe = box.model, self.prop.regions[box.region].unsafe
        varying = np.flatnonzero(model.upper > model.lower)
        draw, judged = self._sample(box.region, model.lower, model.upper, fit_size(len(varying)))
        u = scaled(draw.points, model.lower, model.upper)
        values = margins(unsafe, draw.points, judged.outputs)
        values = values / np.maximum(values.std(axis=0), 1e-300)
        errors = [
            sum(_error(u[side], values[side]) for side in (u[:, axis] < 0, u[:, axis] >= 0))
            for axis in varying
        ]
        return int(varying[int(np.argmin(errors))])


def _error(u: Array, values: Array) -> float:
    basis = np.column_stack([np.ones(len(u)), u])
    found = np.linalg.lstsq(basis, values, rcond=None)[0]
    return float(((values - basis @ found) ** 2).sum())


def characterise_property(
    network: Network,
    prop: Property,
    *,
    epsilon: float,
    eta: float,
    leaves: int = 32,
    limits: Limits | None = None,
    seed: int = 0,
) -> Characterisation:
    """Part a property's regions into boxes that a PAC model calls safe, violated or unclear.

    Args:
        epsilon, eta: see `Characterisation`.
        leaves: the most boxes; at least as many as there are regions.
        limits: seconds; the partition is then coarser.

    Raises:
        SamplingError: epsilon or eta outside (0, 1); too many inputs; regions without comparable volumes;
            outputs that are NaN.
    """
    started = time.perf_counter()
    check_fits(prop, network)
    check_level("epsilon", epsilon)
    check_level("eta", eta)
    prop = replace(prop, regions=tuple(region for region in prop.regions if region.unsafe))
    domain = domain_of(network, prop)
    if leaves < len(domain):
        raise SamplingError(f"leaves: expected at least {len(domain)}, one for each region, got {leaves}")
    key = source_of(network, prop, domain, Uniform(), seed, "model").key
    search = _Search(network, prop, epsilon, eta / (2 * leaves), key, domain.volumes)
    end = math.inf if limits is None or limits.seconds is None else started + limits.seconds
    boxes = [search.box(n, region.lower, region.upper) for n, region in enumerate(prop.regions)]
    done = [box for box in boxes if not _splits(box)]
    queue = [(-box.share, number, box) for number, box in enumerate(boxes) if _splits(box)]
    heapq.heapify(queue)
    number = len(boxes)
    while queue and len(queue) + len(done) < leaves and time.perf_counter() < end:
        for half in search.halves(heapq.heappop(queue)[2]):
            number += 1
            if _splits(half):
                heapq.heappush(queue, (-half.share, number, half))
            else:
                done.append(half)
    parts = (*done, *(box for _, _, box in sorted(queue)))
    return Characterisation(parts, float(epsilon), float(eta), int(seed), time.perf_counter() - started)


def _splits(box: ModelledBox) -> bool:
    return box.status is not PartStatus.SAFE and bool((box.model.upper > box.model.lower).any())
