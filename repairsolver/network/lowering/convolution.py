"""Convolution over one to three spatial axes."""

from __future__ import annotations

import numpy as np

from repairsolver.network.lowering.builder import Call, RefusedError, Value
from repairsolver.network.lowering.window import padding_of, window_of
from repairsolver.network.operators import Conv


def conv(call: Call) -> list[Value]:
    """Cross-correlation with constant filters [o, c / groups, *k] and an optional bias [o]."""
    x, weight = call.tensor(0), call.constant(1)
    filters, groups = weight.floats, call.integer("group", 1)
    if len(x.shape) != filters.ndim or not 3 <= filters.ndim <= 5:
        raise RefusedError(f"its input {list(x.shape)} and filters {list(filters.shape)} do not fit together")
    if x.shape[0] != 1:
        raise RefusedError(f"its input {list(x.shape)} has a fixed batch of {x.shape[0]}, expected 1")
    if x.shape[1] != groups * filters.shape[1] or len(filters) % groups:
        raise RefusedError(
            f"its input has {x.shape[1]} channels, its {groups} groups of filters {list(filters.shape)} need "
            f"{groups * filters.shape[1]}"
        )
    window = window_of(call, filters.shape[2:], x.shape[2:])
    if padding_of(call).startswith("SAME") and max(window.dilations) > 1:
        raise RefusedError("it has dilations beside auto_pad, which onnxruntime does not run; use pads")
    bias = call.constant(2) if call.has(2) else None
    operator = Conv(
        weight=filters,
        bias=np.zeros(len(filters)) if bias is None else bias.floats,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        groups=groups,
        weight_source=weight.source,
        bias_source=None if bias is None else bias.source,
    )
    return [call.emit(operator, [call.shaped(x)], (1, len(filters), *window.target))]


OPERATORS = {"Conv": conv}
