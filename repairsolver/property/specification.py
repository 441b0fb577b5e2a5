"""Properties: for which inputs and outputs a network is wrong.

A property describes its *violation*, as VNN-LIB does. In every region (a box) there are one or more
unsafe conjunctions of half-spaces over outputs and inputs; an input x with output y violates the
property iff in some region that contains x every row of some conjunction holds:

    C y + D x <= d.

A row may be strict: it asks for <. Proofs, bounds and repairs treat the closure, which is sound; only the
measured `violation`, by which counterexamples are judged, tells both apart.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from repairsolver.errors import PropertyError
from repairsolver.results import Array, counted
from repairsolver.signatures import refuse_misfit

JUST_MISSED = float(np.nextafter(0.0, -1.0))
"""What a strict row is missed by where it holds with equality."""


def place_name(region: int, conjunction: int | None = None) -> str:
    """What messages call a region of a property, or a conjunction of it: numbers from 1, indices from 0."""
    name = f"region {region + 1}"
    return name if conjunction is None else f"{name}, conjunction {conjunction + 1}"


def _frozen(values: NDArray[np.floating], owner: str, name: str) -> Array:
    refuse_misfit(owner, name, "ArrayLike", values)
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Conjunction:
    """The half-spaces C y + D x <= d (or < d) that must all hold for a violation.

    Args:
        output: C, [r, m].
        input: D, [r, n]; zero for rows about outputs alone.
        bound: d, [r].
        strict: numbers of the rows that ask for < instead of <=.

    All numbers are finite. Without rows (r = 0) the conjunction always holds.

    Raises:
        PropertyError: shapes that do not fit together, numbers that are not finite, or a strict row that
            there is not.
    """

    output: Array
    input: Array
    bound: Array
    strict: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name in ("output", "input", "bound"):
            object.__setattr__(self, name, _frozen(getattr(self, name), "Conjunction", name))
        rows = self.bound.size
        if self.output.ndim != 2 or self.input.ndim != 2 or self.bound.ndim != 1:
            raise PropertyError("a conjunction needs matrices C [r, m], D [r, n] and a vector d [r]")
        if len(self.output) != rows or len(self.input) != rows:
            raise PropertyError(
                f"rows differ: C has {len(self.output)}, D has {len(self.input)}, d has {rows}"
            )
        for name in ("output", "input", "bound"):
            if not np.isfinite(getattr(self, name)).all():
                raise PropertyError(f"a conjunction has NaN or infinite numbers in its {name} array")
        if unknown := sorted(self.strict - set(range(rows))):
            raise PropertyError(f"rows {unknown} are to be strict, but there are rows 0 to {rows - 1} only")

    def violation(self, inputs: Array, outputs: Array) -> Array:
        """min over rows of d - C y - D x, [b]; at least 0 iff the conjunction holds.

        Equality in a strict row counts as the negative number nearest to 0.
        """
        slack = self.bound - outputs @ self.output.T - inputs @ self.input.T
        if self.strict:
            rows = sorted(self.strict)
            slack[:, rows] = np.where(slack[:, rows] == 0, JUST_MISSED, slack[:, rows])
        return np.asarray(slack.min(axis=1)) if len(self.bound) else np.full(len(inputs), np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A box [lower, upper] in the input space, and the ways to be wrong in it.

    Args:
        lower, upper: [n], finite; lower <= upper.
        unsafe: the property is violated where any of these conjunctions holds.

    Raises:
        PropertyError: corners of different shape, not finite, or lower above upper.
    """

    lower: Array
    upper: Array
    unsafe: tuple[Conjunction, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "lower", _frozen(self.lower, "Region", "lower"))
        object.__setattr__(self, "upper", _frozen(self.upper, "Region", "upper"))
        refuse_misfit("Region", "unsafe", "tuple[Conjunction, ...]", self.unsafe)
        if self.lower.shape != self.upper.shape or self.lower.ndim != 1:
            raise PropertyError(f"box corners differ in shape: {self.lower.shape}, {self.upper.shape}")
        if not (np.isfinite(self.lower).all() and np.isfinite(self.upper).all()):
            loose = np.flatnonzero(~(np.isfinite(self.lower) & np.isfinite(self.upper)))
            raise PropertyError(f"inputs {loose.tolist()} have no finite bounds: add both to the property")
        empty = np.flatnonzero(self.lower > self.upper)
        if empty.size:
            raise PropertyError(f"inputs {empty.tolist()} have a lower bound above the upper bound")

    def contains(self, inputs: Array) -> NDArray[np.bool_]:
        """Which of the inputs [b, n] lie in the box, [b]."""
        return np.asarray(((inputs >= self.lower) & (inputs <= self.upper)).all(axis=1))

    def violation(self, inputs: Array, outputs: Array) -> Array:
        """max over conjunctions of their violation, [b]; -inf outside the box."""
        worst = np.full(len(inputs), -np.inf)
        for conjunction in self.unsafe:
            worst = np.maximum(worst, conjunction.violation(inputs, outputs))
        return np.where(self.contains(inputs), worst, -np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Property:
    """A union of regions with their unsafe conjunctions.

    Args:
        regions: may be empty (then the property holds vacuously).
        input_size, output_size: n and m.
        text: the VNN-LIB text the property was read from (or written as); hashed for certificates.
        name: for messages.
        network: the name that the text declares its network by; VNN-LIB 1.0 declares none.

    Raises:
        PropertyError: a region of another size, or a size below 1.
    """

    regions: tuple[Region, ...]
    input_size: int
    output_size: int
    text: str = field(default="", repr=False)
    name: str = "property"
    network: str = ""

    def __post_init__(self) -> None:
        refuse_misfit("Property", "regions", "tuple[Region, ...]", self.regions)
        for name in ("input_size", "output_size"):
            refuse_misfit("Property", name, "int", getattr(self, name))
            if (size := getattr(self, name)) < 1:
                raise PropertyError(f"{self.name}: {name} is {size}, expected at least 1")
        for region in self.regions:
            if region.lower.size != self.input_size:
                raise PropertyError(
                    f"{self.name}: a region's box has {region.lower.size} inputs, expected {self.input_size}"
                )
            for conjunction in region.unsafe:
                got = (region.lower.size, conjunction.input.shape[1], conjunction.output.shape[1])
                if got != (self.input_size, self.input_size, self.output_size):
                    raise PropertyError(
                        f"{self.name}: a region has (inputs of box, inputs, outputs) = {got}, expected "
                        f"({self.input_size}, {self.input_size}, {self.output_size})"
                    )

    def __repr__(self) -> str:
        conjunctions = sum(len(region.unsafe) for region in self.regions)
        return (
            f"<Property {self.name}: {self.input_size} -> {self.output_size}; "
            f"{counted(len(self.regions), 'region')}, {counted(conjunctions, 'unsafe conjunction')}>"
        )

    @property
    def sha256(self) -> str:
        """SHA-256 of the property's text, UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def violation(self, inputs: NDArray[np.floating], outputs: NDArray[np.floating]) -> Array:
        """By how much each of the points [b, n] with outputs [b, m] violates the property, [b].

        The maximum over regions and conjunctions of min over rows of d - C y - D x: at least 0 where
        the property is violated (and only there), -inf outside every region.

        Raises:
            PropertyError: arrays of other shapes.
        """
        x = np.asarray(inputs, dtype=np.float64)
        y = np.asarray(outputs, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.input_size or y.shape != (len(x), self.output_size):
            raise PropertyError(
                f"{self.name}: inputs {x.shape} and outputs {y.shape}, expected [b, {self.input_size}] and "
                f"[b, {self.output_size}]"
            )
        worst = np.full(len(x), -np.inf)
        for region in self.regions:
            worst = np.maximum(worst, region.violation(x, y))
        return worst
