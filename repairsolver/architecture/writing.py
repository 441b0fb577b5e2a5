"""Layer graphs as JSON layer lists, with the arguments in the user's words."""

from __future__ import annotations

from typing import Any

from repairsolver.architecture.diagnosis import Diagnosis
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Layer, Model
from repairsolver.architecture.reading import WRAPPERS
from repairsolver.architecture.repair import ArchitectureRepair


def model_record(model: Model) -> dict[str, Any]:
    """The layer list of a model; `load_architecture` reads it back."""
    wanted = [shape for shape in model.outputs.values() if shape is not None]
    weights = {layer.name: dict(layer.weights) for layer in model.layers if layer.weights}
    return {
        "framework": model.framework,
        "input_shape": {name: list(shape) for name, shape in model.inputs.items()},
        **({"output_shape": list(wanted[0])} if len(model.outputs) == len(wanted) == 1 else {}),
        "layers": [_layer(layer) for layer in _last_output(model)],
        **({"given_weights": weights} if weights else {}),
    }


def _last_output(model: Model) -> list[Layer]:
    """With one output its layer comes last, as in a layer list."""
    ends = [layer for layer in model.layers if len(model.outputs) == 1 and layer.name in model.outputs]
    return [layer for layer in model.layers if layer not in ends] + ends


def _layer(layer: Layer) -> dict[str, Any]:
    stated = layer.stated or layer.args
    args = {name: _argument(layer, name, value) for name, value in stated.items()}
    kind, args = _nested(layer.kind, args)
    return {"name": layer.name, "type": kind, "args": args, "inputs": list(layer.inputs)}


def _nested(kind: str, args: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A layer around a layer, as Keras has it."""
    outer, _, inside = kind.partition("(")
    if not inside:
        return kind, args
    own = {name: value for name, value in args.items() if name in WRAPPERS[outer]}
    rest = {name: value for name, value in args.items() if name not in own}
    inner, arguments = _nested(inside.removesuffix(")"), rest)
    return outer, {**own, "layer": {"type": inner, "args": arguments}}


def _argument(layer: Layer, name: str, value: Any) -> Any:
    """Keras has paddings and croppings in pairs."""
    pairs = ("ZeroPadding" in layer.kind or "Cropping" in layer.kind) and isinstance(value, tuple)
    if pairs and len(value) > 2:
        return [list(value[i : i + 2]) for i in range(0, len(value), 2)]
    return list(value) if isinstance(value, tuple) else value


def diagnosis_record(diagnosis: Diagnosis) -> dict[str, Any]:
    """Faults as plain data."""
    return {
        "valid": diagnosis.valid,
        "faults": [
            {
                "layer": fault.layer,
                "type": fault.kind,
                "rule": fault.rule,
                "text": fault.text,
                "input_shapes": [list(shape) for shape in fault.shapes],
                "framework_message": fault.message,
            }
            for fault in diagnosis.faults
        ],
    }


def repair_record(fix: ArchitectureRepair, *, alternatives: bool) -> dict[str, Any]:
    """A repair as plain data; with all alternatives of equal price if wanted."""
    return {
        "status": fix.status,
        "price": fix.cost,
        "lower_bound": fix.lower_bound,
        "proved": fix.proved,
        "engine": fix.engine,
        "edits": [{**_edit(reason.edit), "without_it": reason.fault} for reason in fix.reasons],
        "diagnosis": diagnosis_record(fix.diagnosis),
        **({"alternatives": [[_edit(e) for e in edits] for edits in fix.equals]} if alternatives else {}),
        **({"alternatives_listed": fix.listed} if fix.listed else {}),
        "model": model_record(fix.model),
    }


_LISTED = {
    "all": "these are all repairs of this price",
    "all kinds": "these are all kinds of repairs of this price; other numbers are possible too",
    "some": "there may be more repairs of this price: the limit or the time was reached",
}


def _edit(edit: Edit) -> dict[str, Any]:
    return {
        "text": str(edit),
        "operation": edit.operation,
        "layer": edit.layer,
        "name": edit.name,
        "value": edit.value,
        "price": edit.cost,
    }


def repair_text(fix: ArchitectureRepair, *, alternatives: bool) -> str:
    """A repair in words for people; the first line is the status."""
    lines: list[str] = [fix.status]
    lines += [f"fault: {fault}" for fault in fix.diagnosis.faults]
    for reason in fix.reasons:
        lines += [f"edit: {reason.edit}", f"  without it: {reason.fault}"]
    if fix.status == "repaired":
        proof = f"no cheaper edits exist ({fix.engine})"
        if not fix.proved:
            proof = f"not proved to be the cheapest; no edits below {fix.lower_bound} suffice"
        lines.append(f"price {fix.cost}: {proof}")
    if alternatives:
        lines += [f"or: {'; '.join(map(str, edits))}" for edits in fix.equals]
        lines += [_LISTED[fix.listed]] if fix.listed else []
    return "\n".join(lines)
