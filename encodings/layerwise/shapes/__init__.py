"""Layer validity as integer constraints: ranks, sizes, arguments and weights of each layer type.

One rule per layer type, written once: on Python integers it checks and computes shapes, on z3 terms the same
lines are constraints.
"""

from __future__ import annotations

from layerwise.shapes import convolution, features, onnx_operators, onnx_windows, pooling, structure, wrappers
from layerwise.shapes.rule import Argument, Outcome, RankMismatch, Requirement, Rule

FRAMEWORKS = ("keras", "torch", "onnx")
_FAMILIES = (convolution, pooling, features, structure)

# A layer of which nothing is known but that it keeps the shape, as its user says.
_OPAQUE = Rule("Opaque", structure.same, (Argument("kind", "flag", ""),))

_KERAS = [rule for family in _FAMILIES for rule in family.keras()]

RULES: dict[str, dict[str, Rule]] = {
    "keras": {rule.kind: rule for rule in [*_KERAS, *wrappers.wrapped(_KERAS)]} | {"Opaque": _OPAQUE},
    "torch": {rule.kind: rule for family in _FAMILIES for rule in family.torch()} | {"Opaque": _OPAQUE},
    "onnx": {rule.kind: rule for family in (onnx_windows, onnx_operators) for rule in family.onnx()}
    | {"Opaque": _OPAQUE},
}
"""Framework, then layer type, to its rule."""

__all__ = ["FRAMEWORKS", "RULES", "Argument", "Outcome", "RankMismatch", "Requirement", "Rule"]
