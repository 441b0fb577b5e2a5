"""The documentation: its examples run and print what it shows, and its generated pages are complete."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from repairsolver.cli.main import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def hook(name: str) -> ModuleType:
    """A module of `docs/_hooks`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


examples, command_line, measurements = hook("examples"), hook("command_line"), hook("measurements")


def python_of(path: Path) -> list[Any]:
    return [e for e in examples.examples(path.read_text(encoding="utf-8")) if e.kind == "python"]


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if python_of(p)], ids=lambda p: p.stem)
def test_python_prints_what_is_shown(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for example in python_of(path):
        printed = examples.run_python(example.code, namespace)
        if example.shown is not None:
            renew = f"{path.name} is out of date: read the change, then python docs/_hooks/examples.py {path}"
            assert examples.masked(printed) == examples.masked(example.shown), renew


def test_every_output_was_filled_in():
    for path in DOCUMENTS:
        for example in examples.examples(path.read_text(encoding="utf-8")):
            silent = example.kind == "console" and (">" in example.code or example.code.startswith("export"))
            assert example.shown != "" or silent, (path, example.code)


def test_commands_shown_exist():
    """Every command and option that a document shows is one of the program's."""
    reference = command_line.reference()
    commands = set(re.findall(r"^## (\w+)$", reference, re.MULTILINE))
    options = {name: set(re.findall(r"`(--?[\w-]+)`", part)) for name, part in sections(reference).items()}
    found = 0
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for command, rest in re.findall(r"^(?:\$ )?repairsolver (\w+)(.*)$", text, re.MULTILINE):
            assert command in commands, (path, command)
            used = re.findall(r"(?<=\s)--?[a-z][\w-]*", rest.split("#")[0])
            assert set(used) <= options[command] | {"--help"}, (path, command, used)
            found += 1
    assert found >= 8


def sections(reference: str) -> dict[str, str]:
    parts = re.split(r"^## (\w+)$", reference, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_reference_has_every_command_and_option_of_the_help():
    reference = sections(command_line.reference())
    for command, text in reference.items():
        done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert done.exit_code == 0
        shown = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", done.output)) - {"--help"}
        assert set(re.findall(r"`(--[\w-]+)`", text)) == shown, command


def test_measurements_come_from_the_files(tmp_path):
    results = tmp_path / "family" / "results"
    results.mkdir(parents=True)
    (tmp_path / "family" / "README.md").write_text("# A family\n\nWhat it is.\n")
    (results / "run.csv").write_text("case,cost,seed,date,machine,versions\na,0.123456789,0,2026-01-01,M,V\n")
    text = measurements.measurements(tmp_path)
    assert "## A family" in text
    assert "| a | 0.123457 |" in text
    assert "- machine: M" in text


def test_an_unproved_repair_is_shown_as_such(tmp_path):
    results = tmp_path / "acasxu_repair" / "results"
    results.mkdir(parents=True)
    (tmp_path / "acasxu_repair" / "README.md").write_text("# Repairs\n")
    columns = "network,property,norm,status,certificate,cost,lower_bound,entries"
    columns += ",agreement,region_agreement,drawdown,rounds,seconds"
    row = "2_9,8,l1,timeout,no network,None,0.00012345678,None,None,None,None,7,300.5"
    (results / "repairs.csv").write_text(f"{columns},date,machine,versions\n{row},D,M,V\n")
    text = measurements.measurements(tmp_path)
    assert "| N2,9 | 8 | timeout | no network | l1 | - | 0.000123457 | - | 7 | 300.5 | - | - | - |" in text
    assert "0 of 1 repaired, with certificates" in text


def test_families_without_results_are_left_out(tmp_path):
    (tmp_path / "family" / "results").mkdir(parents=True)
    (tmp_path / "family" / "README.md").write_text("# A family\n")
    assert measurements.measurements(tmp_path) == ""


def test_numbers_of_committed_results_are_those_of_the_rows():
    text = measurements.measurements()
    for results in (ROOT / "benchmarks").glob("*/results/*.csv"):
        assert results.stem == "only" or f"Measured: {results.name}" in text
