"""`repairsolver solvers`: the table of what is installed, licensed and capable."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from repairsolver.cli.main import app
from repairsolver.solvers import SOLVERS, available_solvers


def test_every_solver_is_listed() -> None:
    done = CliRunner().invoke(app, ["solvers"], catch_exceptions=False)
    assert done.exit_code == 0
    assert all(name in done.stdout for name in SOLVERS)


def test_json_says_which_are_usable() -> None:
    done = CliRunner().invoke(app, ["solvers", "--json"], catch_exceptions=False)
    rows = json.loads(done.stdout)["solvers"]
    usable = tuple(row["name"] for row in rows if row["availability"]["usable"])
    assert usable == available_solvers()
    assert "integers" in next(row for row in rows if row["name"] == "highs")["features"]
