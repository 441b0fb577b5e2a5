"""What a gate does where it is on: override entries of a tensor, or correct the tensor by half-spaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repairsolver.results import Array

Floats = NDArray[np.float32] | NDArray[np.float64]
SHOWN_TERMS = 12
"""Terms of a half-space that are printed."""

ROUNDING = 1e-9
"""By how much one half-space moves another one at most, for a unit, where it is meant to leave it alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Override:
    """h'[i] = min(max(slope h[i] + shift, lower), upper) for some entries i; a constant where lower = upper.

    Args:
        index: flat entries of the tensor, [e].
        slope, shift, lower, upper: [e]; limits may be infinite.
        channels: the channel as a part of which each entry is overridden, -1 for a neuron by itself; empty
            for neurons only. Entries of one channel are overridden alike.
    """

    index: NDArray[np.int64]
    slope: Array
    shift: Array
    lower: Array
    upper: Array
    channels: tuple[int, ...] = ()

    def __call__(self, values: Array, points: Array) -> Array:
        """The tensor [b, m] where the gate is on, for inputs [b, n]."""
        changed = values.copy()
        moved = self.slope * values[:, self.index] + self.shift
        changed[:, self.index] = np.clip(moved, self.lower, self.upper)
        return changed

    @property
    def shifts_only(self) -> bool:
        """Whether every entry is moved by a number, and nothing else."""
        free = np.isinf(self.lower) & np.isinf(self.upper)
        return bool((free & (self.slope == 1)).all())

    @property
    def affine(self) -> bool:
        """Whether every entry becomes a constant, or an affine function of itself."""
        free = np.isinf(self.lower) & np.isinf(self.upper)
        return bool((free | (self.lower == self.upper)).all())

    @property
    def count(self) -> int:
        """Neurons and whole channels."""
        return len(self._names())

    def _names(self) -> dict[str, int]:
        """What is overridden, and the place of its first entry."""
        own = self.channels or (-1,) * len(self.index)
        names = [
            f"neuron {i}" if c < 0 else f"channel {c} ({own.count(c)} neurons)"
            for i, c in zip(self.index, own, strict=True)
        ]
        return {name: names.index(name) for name in dict.fromkeys(names)}

    def sentences(self, layer: str) -> list[str]:
        """What happens to each neuron or channel, for people."""
        numbers = np.stack([self.slope, self.shift, self.lower, self.upper], axis=1)
        return [f"{layer}: {name} {_what(*map(float, numbers[k]))}" for name, k in self._names().items()]

    def to_json(self) -> dict[str, Any]:
        """Exact: every number is read back as it was."""
        limits = {"lower": _texts(self.lower), "upper": _texts(self.upper)}
        line = {"slope": self.slope.tolist(), "shift": self.shift.tolist()}
        whole = {"channels": list(self.channels)} if self.channels else {}
        return {"kind": "override", "neurons": self.index.tolist()} | whole | line | limits


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    r"""$y' = y + V^\top \max(d - C y - D x, 0)$: moves y until $C y + D x \ge d$, and no further.

    Args:
        output: C, [r, m], one row for each half-space.
        input: D, [r, n].
        bound: d, [r], with a margin.
        direction: V, [r, m]; how y moves for each half-space: diag(C V^T) = 1, and C V^T >= 0, so that no
            half-space is left for the sake of another.
    """

    output: Array
    input: Array
    bound: Array
    direction: Array

    def __call__(self, values: Array, points: Array) -> Array:
        missing = np.maximum(self.bound - values @ self.output.T - points @ self.input.T, 0.0)
        return np.asarray(values + missing @ self.direction)

    @property
    def coupled(self) -> bool:
        """Whether what is done for one half-space moves another one, by more than rounding."""
        product = self.output @ self.direction.T
        return bool((np.abs(product - np.diag(np.diag(product))) > ROUNDING).any())

    @property
    def count(self) -> int:
        return len(self.bound)

    def sentences(self, layer: str) -> list[str]:
        """Each half-space that the tensor is moved into, and what moves."""
        return [
            f"{layer}: {_terms(direction, 'Y', ' and ')} moved until "
            f"{_sum(output)}{linear_text(inputs, 'X', first=False)} >= {bound:.6g}"
            for output, inputs, bound, direction in zip(
                self.output, self.input, self.bound, self.direction, strict=True
            )
        ]

    def to_json(self) -> dict[str, Any]:
        names = ("output", "input", "bound", "direction")
        return {"kind": "correction"} | {name: getattr(self, name).tolist() for name in names}


Change = Override | Correction


@dataclass(frozen=True, slots=True, eq=False)
class NewGate:
    """A gate to be put into a file.

    Args:
        tensor: the name of the ONNX tensor that is gated.
        layer: what people call it.
        lower, upper: corners [k, n] of the boxes where it is on, as numbers of the network's type.
        change: what it does there.
    """

    tensor: str
    layer: str
    lower: Array
    upper: Array
    change: Change

    def fires(self, points: Array) -> NDArray[np.bool_]:
        """Where it is on, among inputs [b, n]: [b]."""
        found = np.zeros(len(points), dtype=np.bool_)
        for low, high in zip(self.lower, self.upper, strict=True):
            found |= ((points >= low) & (points <= high)).all(axis=1)
        return found

    def to_json(self) -> dict[str, Any]:
        corners = {"lower": _nested(self.lower), "upper": _nested(self.upper)}
        return {"tensor": self.tensor, "layer": self.layer} | corners | {"change": self.change.to_json()}


def gate_from_json(content: Mapping[str, Any]) -> NewGate:
    """The gate that `to_json` wrote; KeyError, TypeError or ValueError for anything else."""
    what = content["change"]
    change: Change
    if what["kind"] == "override":
        index = np.array(what["neurons"], dtype=np.int64)
        slope, shift, low, high = (_array(what[name]) for name in ("slope", "shift", "lower", "upper"))
        channels = tuple(map(int, what.get("channels", ())))
        change = Override(index, slope, shift, low, high, channels)
    elif what["kind"] == "correction":
        change = Correction(*(_array(what[name]) for name in ("output", "input", "bound", "direction")))
    else:
        raise ValueError(f"a change of kind {what['kind']!r}")
    corners = _array(content["lower"]), _array(content["upper"])
    return NewGate(str(content["tensor"]), str(content["layer"]), *corners, change)


def _array(values: Any) -> Array:
    """Numbers of any nesting; infinite ones are texts."""
    return np.asarray(np.vectorize(float, otypes=[np.float64])(np.array(values, dtype=object)))


def _texts(values: Array) -> list[float | str]:
    """JSON has no infinite numbers."""
    return [float(v) if np.isfinite(v) else str(v) for v in values]


def _nested(corners: Array) -> list[list[float | str]]:
    return [_texts(row) for row in corners]


def _what(slope: float, shift: float, lower: float, upper: float) -> str:
    if lower == upper:
        return f"is {lower:.6g}"
    if slope != 1:
        shift_text = f" {'-' if shift < 0 else '+'} {abs(shift):.6g}" if shift else ""
        return ", ".join([f"is {slope:.6g} of itself{shift_text}", *_limits(lower, upper)])
    moved = [f"moved by {shift:+.6g}"] * (shift != 0)
    return ", ".join([*moved, *_limits(lower, upper)]) or "unchanged"


def _limits(lower: float, upper: float) -> list[str]:
    return [f"at least {lower:.6g}"] * (lower > -np.inf) + [f"at most {upper:.6g}"] * (upper < np.inf)


def _sum(values: Array) -> str:
    count = int(np.count_nonzero(values))
    return linear_text(values, "Y") if count <= SHOWN_TERMS else f"a weighted sum of {count} entries"


def _terms(values: Array, name: str, between: str) -> str:
    return between.join(f"{name}_{i}" for i in np.flatnonzero(values))


def linear_text(values: Array, name: str, *, first: bool = True) -> str:
    """`2 Y_0 - Y_1`; with a sign in front where something stands before."""
    text = ""
    for i in np.flatnonzero(values):
        sign = "-" if values[i] < 0 else "+"
        size = "" if abs(values[i]) == 1 else f"{abs(values[i]):.6g} "
        lead = ("-" if sign == "-" else "") if first and not text else f" {sign} "
        text += f"{lead}{size}{name}_{i}"
    return text
