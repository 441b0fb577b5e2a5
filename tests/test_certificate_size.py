"""The checker stays small enough to be read: lines of code of the files that have to be trusted."""

from pathlib import Path

from code_lines import code_lines

FOLDER = Path(__file__).parent.parent / "repairsolver" / "certificate"
CORE = ("arithmetic", "relaxation", "steps", "layers", "matrices", "statement", "boxes", "bounds", "checker")
# Read only by who checks sigmoids and tanhs, ELUs and GELUs, max-pools, claims about float32, or gates.
FURTHER = ("smooth", "curves", "pooling", "executions", "cases")
# A wrong one rejects or misnames certificates, and cannot make a false one valid.
HARMLESS = ("__init__", "format", "identity", "strategy")


def lines(names: tuple[str, ...]) -> int:
    return sum(code_lines((FOLDER / f"{name}.py").read_text(encoding="utf-8")) for name in names)


def test_every_file_is_counted() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {*CORE, *FURTHER, *HARMLESS}


def test_the_trusted_files_are_small() -> None:
    assert lines(CORE) <= 475
    # 184, and 39 that enclose ELU and GELU.
    assert lines(FURTHER) <= 223


def test_lines_of_code_are_counted() -> None:
    text = (
        '"""Module."""\n\nx = 1  # one\n# none\n\n\ndef f():\n    """Doc."""\n    return [\n        x\n    ]'
    )
    assert code_lines(text) == 5
