r"""What a repaired layer must achieve at finitely many points, as rows that are affine in the change.

At a point with layer input h, a half-space row c with original slack s = c y + d' x - d is *broken* by

$$ s + c\, T J(h)\, \delta \;\ge\; need, \qquad need = floor + margin. $$

The margin is asked of counterexamples and of points to repair. The floor covers what rounding to the
file's element type can undo; both are 0 where a lower bound on all repairs is computed. In a group of
kind `any` one row per point suffices (a conjunction of the property: a disjunction of broken rows); in a
group of kind `every` all rows are needed (a decision: the label beats every other output).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from repairsolver.decision import OUTPUT, SIGN, Side
from repairsolver.errors import EditError
from repairsolver.network.graph import Network
from repairsolver.network.replay import replay
from repairsolver.property.specification import Property, place_name
from repairsolver.repairing.delta.layer import Layer
from repairsolver.results import Array
from repairsolver.verification.replay import into_box

Ids = NDArray[np.int64]

TOGETHER = 1000
"""Inputs that a network is evaluated at at once."""

FLOOR_RISE = 8.0
"""By how much floors rise where rounding undid what the program gave: a large change rounds more coarsely."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The requirements of one kind at many points.

    Args:
        name: for messages, e.g. "region 1, conjunction 2", counted from 1.
        readout: C, [r, m], over the scores; small whole numbers where it compares outputs.
        every: whether all rows are needed, or one.
        strict: whether the margin is asked for.
        inputs: [b, n].
        hidden: h, [b, k].
        shift: d' x - d, [b, r].
        slack: s, [b, r], of the original network.
        rounding: how much the file's element type may move a row, [b].
        floor: [b].
        penalty: for each unit by which a point falls short; infinite where it must not.
        beats: label and sign, where the rows compare the label with every other output in turn: then
            products with C, of which there may be a thousand of a thousand rows, are differences.
    """

    name: str
    readout: NDArray[Any]
    every: bool
    strict: bool
    inputs: Array
    hidden: Array
    shift: Array
    slack: Array
    rounding: Array
    floor: Array
    penalty: float = np.inf
    beats: tuple[int, int] | None = None

    @property
    def plain(self) -> bool:
        """Whether no choice has to be made."""
        return self.every or self.slack.shape[1] == 1

    @property
    def preferred(self) -> bool:
        """Whether points should be right, margin included, at a price."""
        return self.strict and bool(np.isfinite(self.penalty))

    @property
    def kept(self) -> bool:
        """Whether points keep what they have, without margin."""
        return self.every and not self.strict

    def need(self, margin: float) -> Array:
        """What the rows must reach, [b]; with margin 0 only the sign counts."""
        return np.asarray(self.floor + margin * self.strict if margin > 0 else np.zeros(len(self.floor)))

    def reached(self, rows: Array) -> Array:
        """What decides at each point: the worst row if every one is needed, else the best; [b]."""
        return np.asarray(rows.min(axis=1) if self.every else rows.max(axis=1))

    def rows(self, scores: Array) -> Array:
        """C y for scores y [b, m], [b, r]."""
        return _rows(scores, self.readout, self.beats)

    def pressed(self, multipliers: Array) -> Array:
        """Multipliers [b, r] times C, [b, m]."""
        if self.beats is None:
            return np.asarray(multipliers @ self.readout)
        label, sign = self.beats
        return sign * np.insert(-multipliers, label, multipliers.sum(axis=1), axis=1)

    def part(self, points: Ids) -> Group:
        """The same requirements at some of the points."""
        names = ("inputs", "hidden", "shift", "slack", "rounding", "floor")
        return replace(self, **{name: getattr(self, name)[points] for name in names})

    def joined(self, other: Group) -> Group:
        return replace(
            self,
            inputs=np.concatenate([self.inputs, other.inputs]),
            hidden=np.concatenate([self.hidden, other.hidden]),
            shift=np.concatenate([self.shift, other.shift]),
            slack=np.concatenate([self.slack, other.slack]),
            rounding=np.concatenate([self.rounding, other.rounding]),
            floor=np.concatenate([self.floor, other.floor]),
        )


@dataclass(slots=True, eq=False)
class Requirements:
    """All that was collected so far, by group; grows round by round."""

    network: Network
    layer: Layer
    groups: dict[str, Group] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of points, times the groups they are in."""
        return sum(len(group.slack) for group in self.groups.values())

    def inputs(self) -> Array:
        """All inputs with requirements, [b, n]; those in several groups come several times."""
        none = np.zeros((0, self.network.input_size))
        return np.concatenate([none, *(group.inputs for group in self.groups.values())])

    def values(self, group: Group, delta: Array) -> Array:
        """What the rows reach under a change, [b, r]."""
        return group.slack + group.rows(self.layer.effect(group.hidden, delta))

    def all_values(self, delta: Array) -> dict[str, Array]:
        """`values` of every group by name, with the layer's effect computed once."""
        groups = self.groups
        if not groups:
            return {}
        moved = self.layer.effect(np.concatenate([g.hidden for g in groups.values()]), delta)
        ends = np.cumsum([len(g.slack) for g in groups.values()])
        parts = np.split(moved, ends[:-1])
        return {
            name: group.slack + group.rows(part)
            for (name, group), part in zip(groups.items(), parts, strict=True)
        }

    def gradient(self, group: Group, point: int, row: int) -> Array:
        """How one row depends on the change, [unknowns]."""
        hidden = group.hidden[point : point + 1]
        return np.asarray(self.layer.gradient(hidden, group.readout[row : row + 1])[0, 0])

    def forbid(self, prop: Property, inputs: Array) -> int:
        """Ask that the property is not violated at these inputs [b, n]; returns how many were new.

        An input counts for a region that contains it, or whose nearest input of the network's element
        type it is (where the region fixes an input at a number that the type does not have).

        Raises:
            EditError: a conjunction has no rows, so that no repair exists.
        """
        before = len(self)
        for i, region in enumerate(prop.regions):
            held = (into_box(inputs, region, self.network.element) == inputs).all(axis=1)
            inside = inputs[held | region.contains(inputs)]
            for j, conjunction in enumerate(region.unsafe):
                name = place_name(i, j)
                if not len(conjunction.bound):
                    raise EditError(
                        f"{prop.name}: {name} has no half-spaces, so every point of the region violates "
                        "it and no repair exists: state at least one"
                    )
                shift = inside @ conjunction.input.T - conjunction.bound
                self._add(name, conjunction.output, inside, shift, every=False, strict=True)
        return len(self) - before

    def decide(self, inputs: Array, labels: Ids, side: Side, *, role: str, penalty: float = np.inf) -> None:
        """Ask that the largest (or smallest) output at these inputs [b, n] is the label [b].

        Points to keep get no margin, and no floor above what the original network has. With a finite
        penalty points may be lost, at that price for each unit by which the worst row falls short.

        Args:
            role: "repair", "prefer" or "keep".
        """
        identity = np.eye(self.network.output_size, dtype=np.int8)  # there may be a thousand labels
        sign = np.int8(SIGN[side])
        measured = self._measured(inputs)
        for label in np.unique(labels):
            readout = sign * (identity[label] - np.delete(identity, label, axis=0))
            chosen = np.flatnonzero(labels == label)
            shift = np.zeros((len(chosen), len(readout)))
            beats = (int(label), int(sign))
            name, known = f"{role} {label}", self.groups.get(f"{role} {label}")
            if known is not None and known.beats != beats:
                name = f"{name} of {OUTPUT[side]}"
            self._add(
                name, readout, inputs[chosen], shift,
                every=True, strict=role != "keep", penalty=penalty, beats=beats,
                measured=_Measured(*(part[chosen] for part in measured)),
            )  # fmt: skip

    def _add(
        self,
        name: str,
        readout: NDArray[Any],
        inputs: Array,
        shift: Array,
        *,
        every: bool,
        strict: bool,
        penalty: float = np.inf,
        beats: tuple[int, int] | None = None,
        measured: _Measured | None = None,
    ) -> None:
        group = self.groups.get(name)
        if group is not None and len(inputs):
            known = {row.tobytes() for row in group.inputs}
            fresh = np.array([row.tobytes() not in known for row in inputs])
            inputs, shift = inputs[fresh], shift[fresh]
            measured = measured and _Measured(*(part[fresh] for part in measured))
        if not len(inputs):
            return
        hidden, scores, sizes = measured or self._measured(inputs)
        slack = _rows(scores, readout, beats) + shift
        rounding = _rounding(sizes, self._precision, readout, beats)
        floor = rounding if strict else np.minimum(rounding, np.maximum(slack.min(axis=1), 0.0))
        new = Group(
            name, readout, every, strict, inputs, hidden, shift, slack, rounding, floor, penalty, beats
        )
        self.groups[name] = new if group is None else group.joined(new)

    def _measured(self, inputs: Array) -> _Measured:
        """What the rows at these inputs [b, n] need to know of them."""
        parts = []
        for start in range(0, max(len(inputs), 1), TOGETHER):
            hidden, scores = self.layer.points(self.network, inputs[start : start + TOGETHER])
            parts.append(_Measured(hidden, scores, self.layer.magnitude(hidden)))
        return _Measured(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    @property
    def _precision(self) -> float:
        """The spacing of stored numbers at 1."""
        return float(np.finfo(self.layer.parameters[0].stored.dtype).eps)

    def missed(self, candidate: Network) -> dict[str, Ids]:
        """At which points of which groups the candidate's replayed outputs fail; soft points may."""
        found = {}
        for name, group in self.groups.items():
            if np.isfinite(group.penalty):
                continue
            rows = replay(candidate, group.inputs) @ group.readout.T + group.shift
            failed = np.flatnonzero(group.reached(rows) <= 0)
            if failed.size:
                found[name] = failed
        return found

    def raise_floors(self, missed: dict[str, Ids]) -> None:
        """Ask for more at points where rounding undid what the program gave."""
        for name, points in missed.items():
            group = self.groups[name]
            floor = group.floor.copy()
            floor[points] = FLOOR_RISE * np.maximum(floor[points], group.rounding[points])
            self.groups[name] = replace(group, floor=floor)


class _Measured(NamedTuple):
    """Of inputs [b, n]: h [b, k], the scores y [b, m], and the sizes of the terms in them [b, m]."""

    hidden: Array
    scores: Array
    sizes: Array


def _rows(scores: Array, readout: NDArray[Any], beats: tuple[int, int] | None) -> Array:
    """See `Group.rows`."""
    if beats is None:
        return np.asarray(scores @ readout.T)
    label, sign = beats
    return sign * (scores[:, [label]] - np.delete(scores, label, axis=1))


def _rounding(sizes: Array, eps: float, readout: NDArray[Any], beats: tuple[int, int] | None) -> Array:
    """Twice what half a unit in the last place of every stored parameter can move a row, [b].

    |dz| <= eps/2 (|W| |h| + |b|), pushed through |T| and |C|; evaluation in that type errs as much
    again.
    """
    if beats is None:
        return np.asarray(eps * (sizes @ np.abs(readout).T).max(axis=1))
    label = beats[0]
    return np.asarray(eps * (sizes[:, label] + np.delete(sizes, label, axis=1).max(axis=1)))


def only_compares(prop: Property) -> bool:
    """Whether every row compares two outputs and nothing else: a (y_i - y_j) <= 0."""
    for conjunction in (c for region in prop.regions for c in region.unsafe):
        pairs = (conjunction.output != 0).sum(axis=1) == 2
        if not pairs.all() or conjunction.output.sum(axis=1).any():
            return False
        if conjunction.input.any() or conjunction.bound.any():
            return False
    return True
