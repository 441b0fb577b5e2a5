"""Repairs on disk: the network as ONNX and its change as JSON beside it."""

from __future__ import annotations

from pathlib import Path

from repairsolver.errors import EditError, SoundnessError
from repairsolver.network import load_network
from repairsolver.repairing.edit_file import check_kind
from repairsolver.repairing.gate.edit import Gates
from repairsolver.repairing.result import Repair
from repairsolver.results import RepairStatus
from repairsolver.targets import file_target


def check_output(out: Path, *inputs: Path, edit: Path | None = None) -> None:
    """Refuse, before the work, a path to which the repaired network could not be written.

    Args:
        inputs: files that must stay: the change beside the repaired network is of the original one.
        edit: where the change goes, if not beside the network.

    Raises:
        EditError: the path does not end in .onnx, or is one of the inputs; or the name of the change ends in
            neither .json nor .npz.
        OSError: it, or the path of its change, is a folder or device, or cannot be written to.
    """
    if out.suffix.lower() != ".onnx":
        raise EditError(f"{out}: the repaired network is written as ONNX; choose a name that ends in .onnx")
    if edit is not None:
        check_kind(edit)
    for target in (file_target(out), file_target(edit or change_of(out))):
        taken = [path for path in inputs if path.exists() and target == path.resolve()]
        if taken:
            raise EditError(f"{out}: would overwrite {taken[0]}, which is an input; choose another name")


def check_removal(out: Path, network: Path) -> None:
    """Refuse a path to which the network without its gates could not be written.

    Raises:
        EditError: it does not end in .onnx, or is the network itself.
        OSError: it is a folder or device, or cannot be written to.
    """
    if out.suffix.lower() != ".onnx":
        raise EditError(f"{out}: the network is written as ONNX; choose a name that ends in .onnx")
    if file_target(out) == network.resolve():
        raise EditError(f"{out}: would overwrite the network with its gates; choose another name")


def change_of(out: Path) -> Path:
    """Where the change of a repaired network is written."""
    return out.with_suffix(".delta.json")


def unproved(out: Path) -> Path:
    """Where a candidate goes that is not proved."""
    return out.with_suffix(".unproved.onnx")


def write_repair(fix: Repair, out: Path, edit: Path | None = None) -> tuple[Path, ...]:
    """Write a repair that is proved, or shown by samples; the paths written: OUT.onnx and its change
    (OUT.delta.json), or none.

    A candidate that is neither goes to OUT.unproved.onnx and OUT.unproved.delta.json instead, so that
    nobody takes it for a repair; except where the method repairs from examples (`Repair.empirical`).

    Raises:
        SoundnessError: the file read back is not the network that was proved.
    """
    if fix.network is None or (fix.edit is None and not fix.empirical):
        return ()
    changed = fix.edit is None or fix.edit.count > 0
    shown = fix.status in (RepairStatus.REPAIRED, RepairStatus.PAC)
    if not shown and fix.empirical and not changed:
        return ()
    if not shown and not fix.empirical:
        out, edit = unproved(out), None
    out.parent.mkdir(parents=True, exist_ok=True)
    fix.save(out)
    saved = load_network(out)
    if saved.sha256 != fix.network.sha256:
        raise SoundnessError(
            f"{out}: the file has SHA-256 {saved.sha256}, the network in memory {fix.network.sha256}"
        )
    if fix.edit is None:  # the graph has changed, too
        return (out,)
    gated = isinstance(fix.edit, Gates)
    change = edit or (out.with_suffix(".gates.json") if gated else change_of(out))
    change.parent.mkdir(parents=True, exist_ok=True)
    fix.edit.save(change)
    return out, change
