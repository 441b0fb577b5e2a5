"""From ONNX operators to the union of `operators`: one table, one module per family.

A new operator is one function `(call) -> outputs` in its family's module and one entry in that
module's `OPERATORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from repairsolver.network.lowering import (
    affine,
    arithmetic,
    arrangement,
    condition,
    convolution,
    elementwise,
    gathering,
    pooling,
    reduction,
    resizing,
    transposed,
)
from repairsolver.network.lowering.builder import Call, Result

LOWERINGS: dict[str, Callable[[Call], Sequence[Result]]] = {
    **affine.OPERATORS,
    **arithmetic.OPERATORS,
    **convolution.OPERATORS,
    **transposed.OPERATORS,
    **resizing.OPERATORS,
    **pooling.OPERATORS,
    **reduction.OPERATORS,
    **elementwise.OPERATORS,
    **arrangement.OPERATORS,
    **gathering.OPERATORS,
    **condition.OPERATORS,
}

SUPPORTED = tuple(sorted({*LOWERINGS, *condition.CONDITIONAL, "Constant", "If"}))
