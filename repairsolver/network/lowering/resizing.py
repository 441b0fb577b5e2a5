"""Resizing: the nearest entry is a selection, linear interpolation one matrix for each axis that changes.

Coordinates are computed in float32 in the order of onnxruntime, as which entry is the nearest one may
depend on their rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from repairsolver.network.lowering.builder import (
    Call,
    RefusedError,
    Tensor,
    Value,
    affordable,
    axis_of,
    positions,
)
from repairsolver.network.operators import Dense
from repairsolver.results import Array

Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stretch:
    """One axis: its entries before and after, and the factor between them."""

    before: int
    after: int
    factor: np.float32


def half_pixel(x: Singles, axis: Stretch) -> Singles:
    return (x + np.float32(0.5)) / axis.factor - np.float32(0.5)


def pytorch_half_pixel(x: Singles, axis: Stretch) -> Singles:
    return half_pixel(x, axis) if axis.after > 1 else np.zeros_like(x)


def asymmetric(x: Singles, axis: Stretch) -> Singles:
    return x / axis.factor


def align_corners(x: Singles, axis: Stretch) -> Singles:
    if axis.after == 1:
        return np.zeros_like(x)
    return x * np.float32(axis.before - 1) / np.float32(axis.after - 1)


COORDINATES: dict[str, Callable[[Singles, Stretch], Singles]] = {
    "half_pixel": half_pixel,
    "pytorch_half_pixel": pytorch_half_pixel,
    "asymmetric": asymmetric,
    "align_corners": align_corners,
}
NEAREST: dict[str, Callable[[Singles], Singles]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def resize(call: Call) -> list[Value]:
    """Nearest or linear; factors from opset 10, sizes from 11, axes from 18."""
    x = call.tensor(0)
    if call.integer("antialias", 0) or call.integer("exclude_outside", 0):
        raise RefusedError("it has antialias or exclude_outside, which is not read")
    if call.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise RefusedError("its keep_aspect_ratio_policy is not 'stretch'")
    rule = call.text("coordinate_transformation_mode", "half_pixel" if call.opset > 10 else "asymmetric")
    nearest = call.text("nearest_mode", "round_prefer_floor" if call.opset > 10 else "floor")
    if rule not in COORDINATES or nearest not in NEAREST:
        raise RefusedError(
            f"its coordinates {rule!r} or nearest_mode {nearest!r} are not read; known are "
            f"{', '.join(COORDINATES)} and {', '.join(NEAREST)}"
        )
    return resized(call, x, stretches(call, x), rule, nearest)


def upsample(call: Call) -> list[Value]:
    """The operator before Resize: coordinates without an offset, and the entry at or before them."""
    x = call.tensor(0)
    factors = factors_of(call, 1) if call.opset > 8 else singles(call.attributes.get("scales", ()))
    return resized(call, x, stretched(x, range(len(x.shape)), factors), "asymmetric", "floor")


def singles(numbers: ArrayLike) -> Singles:
    return np.asarray(numbers, dtype=np.float32)


def factors_of(call: Call, position: int) -> Singles:
    """The factors given as an input; none where it is left out or empty."""
    return singles(call.constant(position).floats.reshape(-1) if call.has(position) else ())


def stretches(call: Call, x: Tensor) -> dict[int, Stretch]:
    """The axes that a Resize node names, by factors or by their new lengths."""
    rank = len(x.shape)
    axes = [axis_of(a, rank) for a in call.integers("axes") or range(rank)]
    factors = factors_of(call, 2 if call.opset > 10 else 1)
    if factors.size:
        return stretched(x, axes, factors)
    sizes = (call.integers("sizes", 3) if call.opset > 10 else None) or ()
    if len(sizes) != len(axes) or min(sizes) < 1:
        raise RefusedError(f"its sizes {list(sizes)} do not fit the axes {axes} of {list(x.shape)}")
    return {
        axis: Stretch(x.shape[axis], size, np.float32(size) / np.float32(x.shape[axis]))
        for axis, size in zip(axes, sizes, strict=True)
    }


def stretched(x: Tensor, axes: range | list[int], factors: Singles) -> dict[int, Stretch]:
    """Axes by factors; a result has floor(factor * length) entries."""
    if len(factors) != len(axes) or not ((factors > 0) & (factors < 2**27)).all():
        raise RefusedError(
            f"its scales {factors.tolist()} do not fit the axes {list(axes)} of {list(x.shape)}"
        )
    return {
        axis: Stretch(x.shape[axis], int(np.float32(x.shape[axis]) * factor), factor)
        for axis, factor in zip(axes, factors, strict=True)
    }


def resized(call: Call, x: Tensor, axes: dict[int, Stretch], rule: str, nearest: str) -> list[Value]:
    mode = call.text("mode", "nearest")
    shape = affordable(tuple(axes[i].after if i in axes else d for i, d in enumerate(x.shape)))
    if shape == x.shape:  # onnxruntime copies entries then, though a factor may not be 1
        return [x]
    changing = {i: axis for i, axis in axes.items() if axis.factor != 1}
    if call.opset < 11 and any(axis.factor < 1 for axis in changing.values()):
        raise RefusedError("it makes an axis shorter, which is not read before opset 11")
    if min(shape) < 1:
        raise RefusedError(f"its result of shape {list(shape)} is empty")
    points = {i: COORDINATES[rule](np.arange(a.after, dtype=np.float32), a) for i, a in changing.items()}
    if mode == "nearest":
        index = positions(x)
        for i, axis in changing.items():
            place = np.clip(NEAREST[nearest](points[i]), 0, axis.before - 1).astype(np.int64)
            index = np.take(index, place, i)
        return [call.select(x, index)]
    if mode != "linear":
        raise RefusedError(f"its mode {mode!r} is not nearest or linear")
    for i, axis in changing.items():
        x = along(call, x, i, interpolation(points[i], axis))
    return [x]


def interpolation(points: Singles, axis: Stretch) -> Array:
    """Rows of weights of the two entries around each point; a point beyond the ends takes the end."""
    held = np.clip(points, 0, axis.before - 1)
    low = np.floor(held).astype(np.int64)
    high = np.minimum(low + 1, axis.before - 1)
    share = (held - low.astype(np.float32)).astype(np.float64)
    matrix = np.zeros((axis.after, axis.before))
    rows = np.arange(axis.after)
    np.add.at(matrix, (rows, low), 1.0 - share)
    np.add.at(matrix, (rows, high), share)
    return matrix


def along(call: Call, x: Tensor, axis: int, matrix: Array) -> Tensor:
    """A matrix applied along one axis: the axis moved to the end, and back."""
    moved = call.select(x, np.moveaxis(positions(x), axis, -1), suffix=f"/last{axis}")
    operator = Dense(matrix, np.zeros(len(matrix)))
    product = call.emit(operator, [moved], (*moved.shape[:-1], len(matrix)), f"/axis{axis}")
    return call.select(product, np.moveaxis(positions(product), -1, axis), suffix=f"/back{axis}")


OPERATORS = {"Resize": resize, "Upsample": upsample}
