"""Common properties, built in Python.

Each builder returns a `Property` with the VNN-LIB text that it would be saved as. The unsafe set is
closed: where a property asks for a strict inequality, equality already violates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from repairsolver.errors import PropertyError
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.property.vnnlib_out import write_property
from repairsolver.results import Array
from repairsolver.signatures import typed


@typed
def local_robustness(
    center: ArrayLike,
    radius: ArrayLike,
    label: int,
    outputs: int,
    *,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    decision: Literal["max", "min"] = "max",
    name: str = "local robustness",
) -> Property:
    r"""Every input within the radius of the centre, in the maximum norm, gets the label.

    $$ \|x - c\|_\infty \le r \;\Rightarrow\; y_\text{label} > y_j \quad \forall j \ne \text{label}, $$

    so that a tie is a violation; with `decision="min"`, $y_\text{label} < y_j$. The unsafe set is one
    half-space $y_\text{label} - y_j \le 0$ for each j. The box [center - radius, center + radius]
    is computed in float64 and then clipped to the domain [lower, upper].

    Args:
        center: the input, any shape; flattened in C order to [n].
        radius: not negative; one number, or one for each input.
        label: the class that must be chosen, 0 <= label < outputs.
        outputs: their number m.
        lower, upper: the domain of the inputs, one number or one for each input; None: unbounded.
        decision: whether the largest or the smallest output is the chosen one.
        name: what messages, reports and certificates call the property.

    Raises:
        PropertyError: a label out of range, a negative radius, or a box outside the domain.
        TypeError: an argument of another kind.

    Source: Katz et al. 2017, "Reluplex" (arXiv 1702.01135), local adversarial robustness.
    """
    if decision not in ("max", "min"):
        raise PropertyError(f"{name}: decision is {decision!r}, expected 'max' or 'min'")
    _check_output(label, outputs, name, "label")
    middle = _vector(center, None, f"{name}: center")
    radii = _vector(radius, middle.size, f"{name}: radius")
    if (radii < 0).any():
        raise PropertyError(f"{name}: the radius is {radii.min()}, expected at least 0")
    low, high = middle - radii, middle + radii
    if lower is not None:
        low = np.maximum(low, _vector(lower, middle.size, f"{name}: lower"))
    if upper is not None:
        high = np.minimum(high, _vector(upper, middle.size, f"{name}: upper"))
    sign = 1.0 if decision == "max" else -1.0
    unsafe = [
        _difference(label, other, outputs, middle.size, sign) for other in range(outputs) if other != label
    ]
    return _property(low, high, unsafe, outputs, name)


@typed
def output_order(
    lower: ArrayLike,
    upper: ArrayLike,
    smaller: int,
    larger: int,
    outputs: int,
    *,
    name: str = "output order",
) -> Property:
    r"""Everywhere in the box one output is smaller than another.

    $$ l \le x \le u \;\Rightarrow\; y_\text{smaller} < y_\text{larger}, $$

    violated where $y_\text{larger} - y_\text{smaller} \le 0$, a tie included.

    Args:
        lower, upper: corners of the box, [n] or any shape that flattens to it.
        smaller, larger: two different outputs.
        outputs: number of outputs m.
        name: what messages, reports and certificates call the property.

    Raises:
        PropertyError: an output out of range, twice the same one, or an empty box.
        TypeError: an argument of another kind.
    """
    _check_output(smaller, outputs, name, "smaller")
    _check_output(larger, outputs, name, "larger")
    if smaller == larger:
        raise PropertyError(f"{name}: smaller and larger are both output {smaller}: choose two outputs")
    low, high = _box(lower, upper, name)
    return _property(low, high, [_difference(larger, smaller, outputs, low.size)], outputs, name)


@typed
def output_range(
    lower: ArrayLike,
    upper: ArrayLike,
    output: int,
    outputs: int,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    name: str = "output range",
) -> Property:
    r"""Everywhere in the box an output lies strictly between limits.

    $$ l \le x \le u \;\Rightarrow\; a < y_i < b, $$

    with a `at_least`, b `at_most` and i the output; violated at or beyond either limit: one
    half-space for each.

    Args:
        lower, upper: corners of the box, [n] or any shape that flattens to it.
        output: which output; 0 <= output < outputs.
        outputs: number of outputs m.
        at_least, at_most: the limits, in the units of the output; one of them may be left out.
        name: what messages, reports and certificates call the property.

    Raises:
        PropertyError: an output out of range, no limit, a limit that is not finite, limits that
            leave nothing between them, or an empty box.
        TypeError: an argument of another kind.

    Source: with `at_most`, property 1 of Katz et al. 2017, "Reluplex" (arXiv 1702.01135), appendix.
    """
    _check_output(output, outputs, name, "output")
    limits = [limit for limit in (at_least, at_most) if limit is not None]
    if not limits or not np.isfinite(limits).all() or limits != sorted(set(limits)):
        raise PropertyError(
            f"{name}: got at_least={at_least}, at_most={at_most}; expected finite limits (one at least), "
            "the first below the second"
        )
    low, high = _box(lower, upper, name)
    unsafe = []
    if at_least is not None:
        unsafe.append(_rows([{output: 1.0}], outputs, low.size, at_least))
    if at_most is not None:
        unsafe.append(_rows([{output: -1.0}], outputs, low.size, -at_most))
    return _property(low, high, unsafe, outputs, name)


@typed
def not_maximal(
    lower: ArrayLike, upper: ArrayLike, label: int, outputs: int, *, name: str = "not maximal"
) -> Property:
    r"""Nowhere in the box is an output the largest one.

    $$ l \le x \le u \;\Rightarrow\; \exists j: \; y_\text{label} < y_j, $$

    violated where $y_\text{label} \ge y_j$ for all other j, ties included: one conjunction of m - 1
    half-spaces.

    Args:
        lower, upper: corners of the box, [n] or any shape that flattens to it.
        label: which output; 0 <= label < outputs.
        outputs: number of outputs m, at least 2.
        name: what messages, reports and certificates call the property.

    Raises:
        PropertyError: a label out of range, fewer than two outputs, or an empty box.
        TypeError: an argument of another kind.

    Source: property 2 of Katz et al. 2017, "Reluplex" (arXiv 1702.01135), appendix.
    """
    return _not_extreme(lower, upper, label, outputs, 1.0, name)


@typed
def not_minimal(
    lower: ArrayLike, upper: ArrayLike, label: int, outputs: int, *, name: str = "not minimal"
) -> Property:
    r"""Nowhere in the box is an output the smallest one.

    $$ l \le x \le u \;\Rightarrow\; \exists j: \; y_\text{label} > y_j, $$

    violated where $y_\text{label} \le y_j$ for all other j, ties included: one conjunction of m - 1
    half-spaces.

    Args:
        lower, upper: corners of the box, [n] or any shape that flattens to it.
        label: which output; 0 <= label < outputs.
        outputs: number of outputs m, at least 2.
        name: what messages, reports and certificates call the property.

    Raises:
        PropertyError: a label out of range, fewer than two outputs, or an empty box.
        TypeError: an argument of another kind.

    Source: properties 3 and 4 of Katz et al. 2017, "Reluplex" (arXiv 1702.01135), appendix.
    """
    return _not_extreme(lower, upper, label, outputs, -1.0, name)


def _not_extreme(
    lower: ArrayLike, upper: ArrayLike, label: int, outputs: int, sign: float, name: str
) -> Property:
    _check_output(label, outputs, name, "label")
    low, high = _box(lower, upper, name)
    rows = [{other: sign, label: -sign} for other in range(outputs) if other != label]
    return _property(low, high, [_rows(rows, outputs, low.size)], outputs, name)


def _difference(first: int, second: int, outputs: int, inputs: int, sign: float = 1.0) -> Conjunction:
    """sign * (y[first] - y[second]) <= 0."""
    return _rows([{first: sign, second: -sign}], outputs, inputs)


def _rows(
    coefficients: Sequence[dict[int, float]], outputs: int, inputs: int, bound: float = 0.0
) -> Conjunction:
    matrix = np.zeros((len(coefficients), outputs))
    for index, row in enumerate(coefficients):
        for output, value in row.items():
            matrix[index, output] = value
    rows = len(coefficients)
    return Conjunction(matrix, np.zeros((rows, inputs)), np.full(rows, bound))


def _property(low: Array, high: Array, unsafe: Sequence[Conjunction], outputs: int, name: str) -> Property:
    empty = np.flatnonzero(low > high)
    if empty.size:
        raise PropertyError(
            f"{name}: inputs {empty.tolist()} have a lower bound above the upper bound: "
            f"{low[empty].tolist()} > {high[empty].tolist()}"
        )
    prop = Property((Region(low, high, tuple(unsafe)),), low.size, outputs, name=name)
    return replace(prop, text=write_property(prop))


def _check_output(index: int, outputs: int, name: str, what: str) -> None:
    if outputs < 1 or not 0 <= index < outputs or (what == "label" and outputs < 2):
        raise PropertyError(f"{name}: {what} is {index}, expected an output of {outputs} (numbered from 0)")


def _box(lower: ArrayLike, upper: ArrayLike, name: str) -> tuple[Array, Array]:
    low = _vector(lower, None, f"{name}: lower")
    return low, _vector(upper, low.size, f"{name}: upper")


def _vector(values: ArrayLike, size: int | None, what: str) -> Array:
    """Finite numbers, flattened; a single number stands for all where the size is known."""
    array: NDArray[np.float64] = np.asarray(values, dtype=np.float64).ravel()
    if not array.size:
        raise PropertyError(f"{what} is empty, expected one number for each input")
    if size is not None and array.size == 1:
        array = np.full(size, array[0])
    if size is not None and array.size != size:
        raise PropertyError(f"{what} has {array.size} numbers, expected {size}")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise PropertyError(f"{what} is not finite at {bad.tolist()}")
    return array
