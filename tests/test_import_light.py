"""`import repairsolver` and the command line's help load none of the heavy packages."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import subprocess
import sys

import pytest

import repairsolver

HEAVY = ("torch", "gurobipy", "z3", "pulp", "highspy", "onnxruntime", "matplotlib", "scipy")


@pytest.mark.parametrize("module", ["repairsolver", "repairsolver.cli.main"])
def test_nothing_heavy_is_imported(module: str) -> None:
    script = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["repairsolver.network", "repairsolver.property", "repairsolver.metrics"])
def test_no_torch_or_solver_without_an_engine(module: str) -> None:
    heavy = ("torch", "gurobipy", "z3", "pulp", "highspy", "matplotlib")
    script = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", repairsolver.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(repairsolver, name) is not None
    assert name in dir(repairsolver)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'verfiy'"):
        _ = repairsolver.verfiy


def test_version_is_the_package_version() -> None:
    assert repairsolver.__version__ == importlib.metadata.version("repairsolver")


def test_python_starts_with_the_root_on_its_path() -> None:
    root = str(importlib.resources.files("repairsolver").joinpath(".."))
    done = subprocess.run([sys.executable, "-c", "pass"], env={"PYTHONPATH": root}, check=False)
    assert done.returncode == 0
