"""Repairs on disk: the network as ONNX and its change as JSON beside it."""

from __future__ import annotations

from pathlib import Path

from repairsolver.errors import SoundnessError
from repairsolver.network import load_network
from repairsolver.repairing.result import Repair
from repairsolver.results import RepairStatus


def write_repair(fix: Repair, out: Path) -> tuple[Path, ...]:
    """Write a proved repair; the paths written: OUT.onnx and OUT.delta.json, or none.

    A candidate that is not proved is not written, so that nobody takes it for a repair.

    Raises:
        SoundnessError: the file read back is not the network that was proved.
    """
    if fix.status is not RepairStatus.REPAIRED or fix.network is None or fix.edit is None:
        return ()
    out.parent.mkdir(parents=True, exist_ok=True)
    fix.save(out)
    saved = load_network(out)
    if saved.sha256 != fix.network.sha256:
        raise SoundnessError(
            f"{out}: the file has SHA-256 {saved.sha256}, the network that was proved {fix.network.sha256}"
        )
    change = out.with_suffix(".delta.json")
    change.write_text(fix.edit.to_json() + "\n", encoding="utf-8")
    return out, change
