"""Repaired models as files: ONNX for what was ONNX, a JSON layer list for the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from repairsolver.architecture.writing import model_record
from repairsolver.targets import file_target, replacing

if TYPE_CHECKING:
    from repairsolver.architecture.repair import ArchitectureRepair


def save_repair(fix: ArchitectureRepair, path: str | Path) -> tuple[str, ...]:
    """Write the repaired model; the file appears complete or not at all. Returns what became of weights."""
    target, notes = file_target(path), tuple[str, ...]()
    if fix.model.framework == "onnx":
        from repairsolver.architecture.onnx_graph.writing import write_onnx

        proto, refits = write_onnx(fix.given or fix.model, fix.edits)
        data, notes = proto.SerializeToString(), tuple(map(str, refits))
    else:
        data = (json.dumps(model_record(fix.model), indent=2) + "\n").encode()
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as stream:
        stream.write(data)
    return notes
