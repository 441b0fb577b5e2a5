"""Whether a repair is the accepted one of a real bug."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from repairsolver.architecture.edits import Edit

Accepted = Mapping[str, Any]


def same_repair(edits: Iterable[Edit], accepted: Iterable[Accepted], *, values: bool) -> bool:
    """Whether the edits are the accepted ones; without `values` the numbers may differ."""
    ours = sorted(_own(edit, values) for edit in edits if edit.operation != "weights" or edit.cost)
    return ours == sorted(_listed(edit, values) for edit in accepted)


def _own(edit: Edit, values: bool) -> str:
    if edit.operation == "insert":
        kind = {"View": "Reshape"}.get(edit.name, edit.name)
        place = "end" if edit.slot < 0 else edit.layer
        return f"insert {kind} {place} {_plain(edit.value) if values else ''}"
    if edit.operation == "remove":
        return f"remove {edit.layer}"
    if edit.operation in ("swap", "rewire"):
        return f"{edit.operation} {edit.layer} {edit.name} {edit.value if values else ''}"
    if edit.operation == "weights":
        return f"weights {edit.layer}"
    if edit.operation == "input":
        return f"input {_plain(edit.value) if values else ''}"
    if edit.operation == "layout":
        return f"set data_format {edit.value if values else ''}"
    return f"set {edit.layer} {edit.name} {_plain(edit.value) if values else ''}"


def _listed(edit: Accepted, values: bool) -> str:
    operation = edit["op"]
    if operation.startswith("insert"):
        new = edit["new"]
        kind = {"View": "Reshape"}.get(new["type"], new["type"])
        place = "end" if operation == "insert_after" else edit.get("dst", edit.get("layer"))
        return f"insert {kind} {place} {_plain(new['args']) if values else ''}"
    if operation in ("permute_weight", "set_weight_shape", "drop_weight"):
        return f"weights {edit['layer']}"
    if operation in ("set_input_shape", "set_declared"):
        return f"input {_plain(edit['value']) if values else ''}"
    if operation == "set" and edit["arg"] == "data_format":
        return f"set data_format {edit['value'] if values else ''}"
    if operation == "set":
        return f"set {edit['layer']} {edit['arg']} {_plain(edit['value']) if values else ''}"
    return f"{operation} {edit.get('layer', '')}"


def _plain(value: Any) -> str:
    """Numbers flat, a uniform vector as its one number; defaults and names of arguments do not count."""
    if isinstance(value, Mapping):
        kept = {k: v for k, v in value.items() if k not in ("padding",) or not isinstance(v, str)}
        return " ".join(f"{_plain(v)}" for _, v in sorted(kept.items()))
    flat = _flat(value)
    return str(flat[:1] if len({*map(str, flat)}) == 1 else flat)


def _flat(value: Any) -> list[Any]:
    return [x for part in value for x in _flat(part)] if isinstance(value, list | tuple) else [value]
