"""Files edited by hand: JSON nested without end, metadata that are none, digits of other scripts."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto
from onnx_models import one_node

import repairsolver as rs
from repairsolver.errors import EditError, ExperimentError, NetworkError, PropertyError
from repairsolver.experiments.folder import Folder
from repairsolver.network import load_network
from repairsolver.network.gated.record import GATES
from repairsolver.network.nnet import LIMITS

DEEP = "[" * 100_000
CONTROLLER = Path(str(files("repairsolver.demo") / "controller.onnx"))


@pytest.mark.parametrize("text", [DEEP, '{"a":' + DEEP, '"repairsolver-gates"' + DEEP, "[]", "{}"])
def test_changes(text: str, tmp_path: Path) -> None:
    path = tmp_path / "change.json"
    path.write_text(text)
    with pytest.raises(EditError, match=r"change\.json: not (a change|gates) in the format"):
        rs.apply_edit(load_network(CONTROLLER), path)


def test_the_account_of_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(DEEP)
    with pytest.raises(ExperimentError, match="not JSON"):
        Folder(tmp_path).told()


def described(**metadata: str) -> rs.Network:
    """y = 2 x for two inputs, with metadata."""
    model: ModelProto = one_node("Mul", (1, 2), "x", np.full(2, 2.0, np.float32))
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return load_network(model.SerializeToString())


def test_records_of_gates_are_no_gates() -> None:
    network = described(**{GATES: DEEP})
    with pytest.raises(EditError, match="no gates of repairsolver are recognised"):
        rs.remove_gates(network)


@pytest.mark.parametrize("text", [DEEP, "x", '["a", "b"]', "[1]", "[[1, 2], [3, 4]]", '{"a": 1}', "null"])
def test_limits_of_an_nnet_file(text: str) -> None:
    network = described(**dict.fromkeys(LIMITS, text))
    prop = rs.output_range([0, 0], [1, 1], 0, 2, at_most=1.0)
    with pytest.raises(NetworkError, match="nnet_least_inputs"):
        rs.verify(network, prop)


@pytest.mark.parametrize("number", ["١٠٠", "１", "1²", "0x10", "1_000", "1D3", "∞"])
def test_numbers_have_ascii_digits(number: str) -> None:
    declared = "(declare-const X_0 Real) (declare-const Y_0 Real) (assert (and (>= X_0 0) (<= X_0 1)))"
    with pytest.raises(PropertyError, match="expected a number or a declared variable"):
        rs.parse_property(f"{declared} (assert (<= Y_0 {number}))")
