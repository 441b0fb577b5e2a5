"""Errors of the operating system on stderr: the file, what is wrong with it and what to look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from repairsolver.architecture.reading import load_architecture
from repairsolver.cli.main import app
from repairsolver.errors import ArchitectureError


@pytest.mark.parametrize("name", ["missing.json", "missing.onnx"])
def test_a_missing_architecture_is_an_error_of_ours_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    message = "cannot be read: .*No such file.*; name an existing ONNX or JSON file"
    with pytest.raises(ArchitectureError, match=message):
        load_architecture(path)
    told = CliRunner().invoke(app, ["architecture", str(path)])
    assert told.exit_code == 1
    assert str(path) in told.stderr
    assert "name an existing ONNX or JSON file" in told.stderr


@pytest.mark.parametrize("arguments", [("report",), ("compare", "other.json")])
def test_other_missing_files_are_named_with_the_next_step(arguments: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "missing.json"
    told = CliRunner().invoke(app, [arguments[0], str(path), *arguments[1:]])
    assert told.exit_code == 1
    assert told.stderr == f"error: {path}: no such file or directory; check the path and its rights\n"
