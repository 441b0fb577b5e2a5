"""A package of repairsolver imports only from rows above its own (in functions and for types, too)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "repairsolver"
# A module may import from its own package and from the rows above; "" is repairsolver/__init__.py.
ROWS = [
    ["errors", "targets", "display", "signatures", "decision", "exact_json"],
    ["results", "executors", "interrupts"],
    ["network"],
    ["property"],
    ["bounds", "solvers", "certificate"],
    ["verification"],
    ["sampling"],
    ["metrics"],
    ["repairing", "architecture"],
    ["baselines"],
    ["report"],
    ["verbs"],
    ["experiments", "plot"],
    [""],
    ["demo", "service"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}
MODULES = sorted(ROOT.glob("**/*.py"))


def part_of(path: Path) -> str:
    """The package or top-level module that a file belongs to."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported_parts(path: Path) -> list[tuple[int, str]]:
    """(line, package or top-level module) of every import of repairsolver, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            # The version is a constant of a module that imports nothing by itself.
            if package == "repairsolver" and rest != "__version__":
                part = rest.partition(".")[0]
                found.append((node.lineno, part if part in RANK else ""))
    return found


def test_every_part_has_a_row():
    assert {part_of(path) for path in MODULES} <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_upwards(path):
    own = part_of(path)
    wrong = [
        f"{path.name}:{line} imports repairsolver.{part}"
        for line, part in imported_parts(path)
        if part != own and RANK[part] >= RANK[own]
    ]
    assert not wrong, "\n".join(wrong)


SAMPLE = """
import numpy
from typing import TYPE_CHECKING
from repairsolver import __version__
if TYPE_CHECKING:
    from repairsolver.cli import main
def f():
    from repairsolver import metrics, verify
    import repairsolver.network.graph
"""


def test_the_checker_is_independent():
    """It shares no code with what made the proof, and needs no torch."""
    for path in (ROOT / "certificate").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not [name for name in names if name.split(".")[0] in ("torch", "layerwise")], path.name
        used = {part for _, part in imported_parts(path)}
        assert used <= {
            "certificate",
            "errors",
            "exact_json",
            "network",
            "property",
            "results",
            "signatures",
            "targets",
        }, path.name


def test_a_wrong_import_is_seen(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(SAMPLE)
    assert imported_parts(path) == [(6, "cli"), (8, "metrics"), (8, ""), (9, "network")]
