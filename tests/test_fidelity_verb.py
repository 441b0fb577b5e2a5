"""`rs.fidelity` and `repairsolver fidelity`: files or objects, a domain or a property, points; the words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import repairsolver as rs
from repairsolver.cli.main import app


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Output 0 is the larger one where x_0 > 0, or where x_0 > 0.5."""
    paths = tmp_path / "before.onnx", tmp_path / "after.onnx"
    for path, border in zip(paths, (0.0, 0.5), strict=True):
        layer = torch.nn.Linear(2, 2)
        layer.load_state_dict(
            {"weight": torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "bias": torch.tensor([0.0, border])}
        )
        rs.save_network(rs.load_network(layer, input_shape=(2,)), path)
    return paths


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["fidelity", *map(str, arguments)])


def test_files_and_one_number_for_all_inputs(pair: tuple[Path, Path]) -> None:
    kept = rs.fidelity(*pair, -1.0, 1.0, samples=20_000)
    assert kept.agreement is not None
    low, high = kept.agreement.interval
    assert low < 0.75 < high
    objects = rs.fidelity(*map(rs.load_network, pair), [-1, -1], [1, 1], samples=20_000)
    assert objects.agreement == kept.agreement


def test_several_properties_are_one_domain(pair: tuple[Path, Path]) -> None:
    props = [rs.not_maximal([a, -1], [a + 0.5, 1], 1, 2) for a in (0.0, 0.5)]
    kept = rs.fidelity(*pair, property=props, samples=20_000)
    assert kept.agreement is not None
    low, high = kept.agreement.interval
    assert low < 0.5 < high
    np.testing.assert_array_equal(kept.lower, [0, -1])
    np.testing.assert_array_equal(kept.upper, [1, 1])


def test_command_line_with_points(pair: tuple[Path, Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", inputs=[[0.2, 0.0], [0.7, 0.0], [-0.5, 0.0]], labels=[0, 0, 1])
    options = ("--lower", "-1", "--upper", "1,1", "--keep", tmp_path / "data.npz", "--samples", 1000)
    done = invoke(*pair, *options)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "measured"
    assert done.stdout.splitlines()[1] == "Decision: the largest output (--decision to change)."
    explicit = invoke(*pair, *options, "--decision", "max").stdout.splitlines()
    assert explicit == [line for line in done.stdout.splitlines() if not line.startswith("Decision")]
    assert "Points to keep that were right and are wrong now: 1 of 3." in done.stdout
    record = json.loads(invoke(*pair, *options, "--json").stdout)
    assert (record["result"], record["drawdown"]["hits"], record["norms"]["l0"]) == ("measured", 1, 1)


def test_what_is_missing_is_said(pair: tuple[Path, Path]) -> None:
    done = invoke(*pair)
    assert done.exit_code == 1
    assert "no domain to sample" in done.stderr
    wrong = invoke(*pair, "--lower", "low", "--upper", "1")
    assert wrong.exit_code == 2
    assert "expected numbers" in wrong.stderr
    three = invoke(*pair, "--lower", "0,0,0", "--upper", "1,1,1")
    assert three.exit_code == 1
    assert "expected corners of shape (2,)" in three.stderr


def test_a_domain_where_the_network_cannot_be_run_is_refused(pair: tuple[Path, Path]) -> None:
    """Its samples would overflow to infinity, and NaN outputs of both networks count as the same decision."""
    told = invoke(*pair, "--lower", "-1e39", "--upper", "1,1")
    assert told.exit_code == 1
    assert "expected lower <= upper, both within 3.403e+38" in told.stderr
    assert "got [-1e+39, 1] for X_0 and 1 more: correct these corners" in told.stderr
    swapped = invoke(*pair, "--lower", "0,1", "--upper", "1,0")
    assert "got [1, 0] for X_1: correct these corners" in swapped.stderr
