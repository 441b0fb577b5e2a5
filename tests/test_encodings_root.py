"""`encodings` is a source root and must never be a package: Python owns that import name."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "encodings" / "layerwise").glob("**/*.py"))


def test_python_starts_with_the_repository_root_on_its_path():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "import encodings.utf_8, sys; print(encodings.__file__)"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not Path(result.stdout.strip()).is_relative_to(ROOT / "encodings")


def test_encodings_holds_no_init_file():
    assert not (ROOT / "encodings" / "__init__.py").exists()


def test_layerwise_imports_without_repairsolver():
    """A finder that refuses repairsolver stands in for a machine that lacks it."""
    code = (
        "import sys, importlib, pkgutil\n"
        "sys.modules['repairsolver'] = None\n"
        "import layerwise\n"
        "for m in pkgutil.iter_modules(layerwise.__path__): importlib.import_module('layerwise.' + m.name)\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "encodings")}
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_layerwise_imports_nothing_of_repairsolver(path):
    """Not even inside functions or for type checking only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.split(".")[0] == "repairsolver"], f"line {node.lineno}"
