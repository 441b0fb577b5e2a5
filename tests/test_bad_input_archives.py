"""Archives (.npz) with entries that cannot be opened are refused by whoever reads them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import repairsolver as rs
from repairsolver.errors import EditError, PointSetError, RepairSolverError, TreeError

DEMO = files("repairsolver.demo")
NETWORK = rs.load_network(DEMO / "controller.onnx")
PROPERTY = rs.load_property(DEMO / "head_on.vnnlib", network=NETWORK)
READERS: dict[type[RepairSolverError], Callable[[Path], object]] = {
    TreeError: lambda path: rs.verify(NETWORK, PROPERTY, tree=path),
    PointSetError: rs.load_points,
    EditError: lambda path: rs.apply_edit(NETWORK, path),
}


@pytest.mark.parametrize("flag", [0x01, 0x20, 0x40], ids=["encrypted", "patched", "strongly encrypted"])
@pytest.mark.parametrize("error", READERS, ids=lambda error: error.__name__)
def test_entries_that_cannot_be_opened(error: type[RepairSolverError], flag: int, tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    np.savez(path, head=np.zeros(1))
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x03\x04") + 6] |= flag
    content[content.find(b"PK\x01\x02") + 8] |= flag
    path.write_bytes(content)
    with pytest.raises(error, match=r"file\.npz"):
        READERS[error](path)
