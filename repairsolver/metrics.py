"""What a repair kept and what it changed: agreement, drawdown, efficacy, output differences, norms.

A decision is the output with the largest (or smallest) score. Outputs that tie exactly are all chosen;
two networks agree on an input iff they choose the same set, and a decision is right iff it is the label
alone. A network with a single output decides nothing: its shares are None, its output difference counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from repairsolver.decision import SIDES, Decision, Side
from repairsolver.errors import NetworkError, PointSetError, PropertyError
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Conv, Dense
from repairsolver.results import Array

if TYPE_CHECKING:
    from repairsolver.property import PointSet
    from repairsolver.property.specification import Property

ONE_REGION = "the property's region"
FIRST_BATCH = 100  # samples compared whatever the time
ENTRIES_PER_BATCH = 20_000_000  # float64 entries of all tensors of one batch, about 160 MB


@dataclass(frozen=True, slots=True)
class Share:
    """How many of a number of inputs: k of n.

    Args:
        hits: k.
        total: n, at least 1.
    """

    hits: int
    total: int

    def __repr__(self) -> str:
        return f"Share({self.hits} of {self.total}: {self.value:.3%})"

    @property
    def value(self) -> float:
        """k / n."""
        return self.hits / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % confidence interval of the share, where the inputs are independent draws.

        [B(0.025; k, n - k + 1), B(0.975; k + 1, n - k)] with B the quantile of the beta distribution.

        Source: Clopper and Pearson, Biometrika 26 (1934), 404-413.
        """
        k, n = self.hits, self.total
        low = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
        high = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
        return low, high


@dataclass(frozen=True, slots=True)
class Norms:
    """Norms of the change of all weights and biases: entries changed, L1, L2, Linf."""

    l0: int
    l1: float
    l2: float
    linf: float


@dataclass(frozen=True, slots=True, eq=False)
class Fidelity:
    """How much of the original network's behaviour a repaired network keeps.

    Args:
        lower, upper: the domain, a box [n]; all samples are uniform in it.
        domain: what the box is, for people.
        decision: whether the largest or the smallest output is the chosen one; of both the one kept less.
        agreement: share of the domain with the same decision; None for a single output.
        region_agreement: the same inside the property's regions; None without regions.
        drawdown: share of the keep points decided rightly before and wrongly now (unlabelled points: share
            with another decision than before; of both decisions the larger share).
        efficacy: share of the points to repair that are right now (unlabelled: that satisfy the property).
        generalisation: the same on points that the repair has not seen.
        mean_difference, max_difference: of the largest output difference |y - y'|_inf over the domain.
        norms: of the change of the weights; None where the graphs differ.
        seed: reproduces the samples.
        other: the same of the other decision, where both count.
    """

    lower: Array
    upper: Array
    domain: str
    decision: Side
    agreement: Share | None
    region_agreement: Share | None
    drawdown: Share | None
    efficacy: Share | None
    generalisation: Share | None
    mean_difference: float
    max_difference: float
    norms: Norms | None
    seed: int
    other: Fidelity | None = None

    def __repr__(self) -> str:
        names = ("agreement", "region_agreement", "drawdown", "efficacy", "generalisation")
        shares = {name: getattr(self, name) for name in names}
        told = [f"{name.replace('_', ' ')} {share.value:.3%}" for name, share in shares.items() if share]
        told.append(f"largest output difference {self.max_difference:.4g}")
        return f"<Fidelity on {self.domain}: {', '.join(told)}>"


def fidelity(
    original: Network,
    repaired: Network,
    lower: Array | None = None,
    upper: Array | None = None,
    *,
    decision: Decision = "max",
    samples: int = 100_000,
    seed: int = 0,
    prop: Property | None = None,
    keep: PointSet | None = None,
    points: PointSet | None = None,
    unseen: PointSet | None = None,
    seconds: float | None = None,
) -> Fidelity:
    """Compare a repaired network with the original, in float64.

    Args:
        lower, upper: the domain, a box [n]; without it the bounding box of the property's regions.
        decision: of "both" the one that agrees less is told; `other` is of the other one.
        samples: uniform draws from the domain, and as many from the regions.
        seconds: time for the samples; fewer are drawn where it does not suffice, but at least 100 of each.
        prop: for the agreement in its regions, and to judge unlabelled points.
        keep, points, unseen: for the drawdown, the efficacy and the generalisation.

    Raises:
        NetworkError: the networks differ in inputs or outputs.
        PropertyError: no domain: neither a box nor a property with regions.
        PointSetError: points do not fit the network, or cannot be judged.
    """
    if decision not in SIDES:
        raise ValueError(f"decision must be one of {', '.join(SIDES)}, got {decision!r}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    sizes = [(net.input_size, net.output_size) for net in (original, repaired)]
    if sizes[0] != sizes[1]:
        raise NetworkError(f"networks with (inputs, outputs) = {sizes[0]} and {sizes[1]} cannot be compared")
    low, high, domain = _domain(original, lower, upper, prop)
    rng = np.random.default_rng(seed)
    sides = SIDES[decision]
    pair = _Pair(original, repaired, sides)
    end = np.inf if seconds is None else time.perf_counter() + seconds
    middle = end if seconds is None else end - seconds / 2
    same, differences = pair.compare(_draw(original, low[None], high[None], samples, rng), middle)
    inside = same if domain == ONE_REGION else None
    if prop is not None and prop.regions and inside is None:
        regions = prop.regions
        corners = np.stack([r.lower for r in regions]), np.stack([r.upper for r in regions])
        inside = pair.compare(_draw(original, corners[0], corners[1], samples, rng), end)[0]
    norms = norms_of_change(original, repaired)
    found = [
        Fidelity(
            lower=low,
            upper=high,
            domain=domain,
            decision=side,
            agreement=same[side],
            region_agreement=None if inside is None else inside[side],
            drawdown=None if keep is None else pair.drawdown(keep, side),
            efficacy=None if points is None else pair.right(points, prop, side),
            generalisation=None if unseen is None else pair.right(unseen, prop, side),
            mean_difference=float(differences.mean()),
            max_difference=float(differences.max()),
            norms=norms,
            seed=seed,
        )
        for side in sides
    ]
    if len(found) == 1:
        return found[0]
    worse, better = sorted(found, key=_kept)
    lost = max((one.drawdown for one in found if one.drawdown), key=lambda share: share.value, default=None)
    return replace(worse, drawdown=lost, other=better)


def _kept(kept: Fidelity) -> tuple[float, float]:
    """How much is kept, in the order of what counts."""
    first, second = (
        1.0 if share is None else share.value for share in (kept.agreement, kept.region_agreement)
    )
    return first, second


def decisions(outputs: Array, decision: Side) -> NDArray[np.bool_]:
    """The chosen outputs of [b, m] scores, as a mask [b, m]; more than one where scores tie exactly."""
    best = outputs.max(axis=1) if decision == "max" else outputs.min(axis=1)
    return np.asarray(outputs == best[:, None])


def evaluate(network: Network, points: Array) -> Array:
    """Outputs [b, m] in float64 of points [b, n], in batches of bounded memory."""
    entries = network.input_size + sum(node.size for node in network.nodes)
    rows = max(1, min(4096, ENTRIES_PER_BATCH // entries))
    parts = [network(points[start : start + rows]) for start in range(0, len(points), rows)]
    return np.concatenate(parts) if parts else np.empty((0, network.output_size))


def norms_of_change(original: Network, repaired: Network) -> Norms | None:
    """Norms of repaired - original over all weights and biases; None where the graphs differ."""
    if [n.name for n in original.affine_layers] != [n.name for n in repaired.affine_layers]:
        return None
    changes: dict[str, Array] = {}
    for old, new in zip(original.affine_layers, repaired.affine_layers, strict=True):
        for (tensor, before), (_, after) in zip(_parameters(old), _parameters(new), strict=True):
            if before.shape != after.shape:
                return None
            changes[tensor] = (after - before).ravel()
    change = np.concatenate(list(changes.values())) if changes else np.zeros(1)
    size = np.abs(change)
    return Norms(
        int(np.count_nonzero(change)), float(size.sum()), float(np.sqrt(size @ size)), float(size.max())
    )


def _parameters(node: Node) -> Iterator[tuple[str, Array]]:
    """Weight and bias with the name of the stored tensor: tensors shared by layers count once."""
    match node.operator:
        case Dense() | Conv() as layer:
            for part in ("weight", "bias"):
                source = getattr(layer, f"{part}_source")
                yield (source.tensor if source else f"{node.name}.{part}"), getattr(layer, part)


def _domain(
    network: Network, lower: Array | None, upper: Array | None, prop: Property | None
) -> tuple[Array, Array, str]:
    if lower is not None and upper is not None:
        low, high, name = np.asarray(lower, dtype=float), np.asarray(upper, dtype=float), "the given box"
    elif lower is not None or upper is not None:
        raise PropertyError("a domain needs both corners: got only one of lower and upper")
    elif prop is not None and prop.regions:
        low = np.min([region.lower for region in prop.regions], axis=0)
        high = np.max([region.upper for region in prop.regions], axis=0)
        name = ONE_REGION if len(prop.regions) == 1 else "the bounding box of the property's regions"
    else:
        raise PropertyError("no domain to sample: give lower and upper, or a property with regions")
    expected = (network.input_size,)
    if low.shape != expected or high.shape != expected:
        raise PropertyError(
            f"domain: expected corners of shape {expected}, got {low.shape} and {high.shape}: give one "
            "number for each input, or one for all"
        )
    _check_corners(network, low, high)
    return low, high, name


def _check_corners(network: Network, low: Array, high: Array) -> None:
    """Refuse a box that is none, or where the network cannot be run: samples there would overflow."""
    most = float(np.finfo(network.element).max)
    inside = (np.abs(low) <= most) & (np.abs(high) <= most)
    wrong = np.flatnonzero(~(inside & (low <= high)))
    if wrong.size:
        i = wrong[0]
        raise PropertyError(
            f"domain: expected lower <= upper, both within {most:.4g}, the largest {network.element} number "
            f"of network {network.name}; got [{low[i]:.6g}, {high[i]:.6g}] for X_{i}"
            f"{f' and {wrong.size - 1} more' if wrong.size > 1 else ''}: correct these corners"
        )


def _draw(network: Network, lower: Array, upper: Array, samples: int, rng: np.random.Generator) -> Array:
    """Uniform points [samples, n] of boxes [k, n], each box equally often, in the network's type."""
    box = rng.integers(len(lower), size=samples)
    points = lower[box] + rng.random((samples, lower.shape[1])) * (upper - lower)[box]
    return points.astype(network.element).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two networks of the same sizes, compared on points."""

    original: Network
    repaired: Network
    sides: tuple[Side, ...]

    def compare(self, points: Array, deadline: float) -> tuple[dict[Side, Share | None], Array]:
        """The share of points with the same decision of each side, and |y - y'|_inf for each, [b].

        Leaves out the last points if they would take longer than the deadline of `time.perf_counter()`.
        """
        differences, done, size = [], 0, FIRST_BATCH
        hits: dict[Side, int] = dict.fromkeys(self.sides, 0)
        while done < len(points):
            started, batch = time.perf_counter(), points[done : done + size]
            before, after = evaluate(self.original, batch), evaluate(self.repaired, batch)
            differences.append(np.abs(after - before).max(axis=1))
            for side in self.sides:
                chosen = decisions(before, side) == decisions(after, side)
                hits[side] += int(chosen.all(axis=1).sum())
            done += len(batch)
            now, size = time.perf_counter(), min(2 * size, 4096)
            if now + (now - started) * size / len(batch) > deadline:
                break
        single = self.original.output_size == 1
        shares = {side: None if single else Share(count, done) for side, count in hits.items()}
        return shares, np.concatenate(differences)

    def drawdown(self, keep: PointSet, side: Side) -> Share | None:
        self._check(keep)
        if self.original.output_size == 1:
            return None
        before = decisions(evaluate(self.original, keep.inputs), side)
        after = decisions(evaluate(self.repaired, keep.inputs), side)
        if keep.labels is None:
            lost = (before != after).any(axis=1)
        else:
            lost = _right(before, keep.labels) & ~_right(after, keep.labels)
        return Share(int(lost.sum()), len(keep.inputs))

    def right(self, points: PointSet, prop: Property | None, side: Side) -> Share:
        self._check(points)
        outputs = evaluate(self.repaired, points.inputs)
        if points.labels is not None:
            right = _right(decisions(outputs, side), points.labels)
        elif prop is not None:
            right = prop.violation(points.inputs, outputs) < 0
        else:
            raise PointSetError(f"{points.name}: no labels and no property to judge the points by")
        return Share(int(right.sum()), len(points.inputs))

    def _check(self, points: PointSet) -> None:
        if points.inputs.ndim != 2 or points.inputs.shape[1] != self.original.input_size:
            raise PointSetError(
                f"{points.name}: expected points with {self.original.input_size} entries each, "
                f"got an array of shape {points.inputs.shape}"
            )
        if not len(points.inputs):
            raise PointSetError(f"{points.name}: holds no points")
        if points.labels is None:
            return
        outside = np.flatnonzero((points.labels < 0) | (points.labels >= self.original.output_size))
        if outside.size:
            raise PointSetError(
                f"{points.name}: labels must be 0 to {self.original.output_size - 1}; "
                f"rows {outside[:10].tolist()} hold {points.labels[outside[:10]].tolist()}"
            )


def _right(chosen: NDArray[np.bool_], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the label alone is chosen, [b]."""
    labelled = np.take_along_axis(chosen, labels[:, None], axis=1)[:, 0]
    return np.asarray(labelled & (chosen.sum(axis=1) == 1))
