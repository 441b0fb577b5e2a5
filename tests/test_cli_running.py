"""Errors of the operating system on stderr: the file, what is wrong with it and what to look at."""

from __future__ import annotations

import errno
import json
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from repairsolver.architecture.reading import load_architecture
from repairsolver.cli.main import app
from repairsolver.errors import ArchitectureError
from repairsolver.repairing import Repair

DEMO = files("repairsolver.demo")


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


@pytest.mark.parametrize(
    "arguments", [("demo", "--out"), ("compare", "RUN", "--out"), ("bench", "LIST", "--out")]
)
def test_a_file_where_a_folder_is_wanted(arguments: tuple[str, ...], tmp_path: Path) -> None:
    there, run, listed = (tmp_path / name for name in ("there", "run.csv", "list.csv"))
    there.write_text("")
    run.write_text("network,property,status,seconds\nn,p,holds,1\n")
    for name in ("controller.onnx", "head_on.vnnlib"):
        (tmp_path / name).symlink_to(Path(str(DEMO / name)))
    listed.write_text("controller.onnx,head_on.vnnlib,5\n")
    given = [{"RUN": str(run), "LIST": str(listed)}.get(word, word) for word in arguments]
    told = CliRunner().invoke(app, [*given, str(there)])
    assert told.exit_code == 1
    assert told.stderr.splitlines()[-1] == (
        f"error: {there}: is there already and no folder; choose another name"
    )


def test_a_repair_that_cannot_be_written_is_printed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The disk may have become full in the hours that it took; the JSON holds the whole change."""
    monkeypatch.setattr("repairsolver.repairing.result.Repair.save", full)
    out, proof = tmp_path / "fixed.onnx", tmp_path / "fixed.cert"
    given = [str(DEMO / name) for name in ("controller.onnx", "head_on.vnnlib")]
    told = CliRunner().invoke(
        app, ["repair", *given, "-o", str(out), "--certificate", str(proof), "--json", "--quiet"]
    )
    assert told.exit_code == 1
    assert told.stderr == f"error: {out}: no space left on device; check the path and its rights\n"
    record = json.loads(told.stdout)
    assert (record["result"], record["files"]) == ("repaired", [])
    assert record["edit"]["tensors"]
    assert list(tmp_path.iterdir()) == []


def full(fix: Repair, path: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its first line is empty; write the token there"),
        (b"\nsecond line is ignored\n", "its first line is empty; write the token there"),
        ("schlüssel-mit-sechzehn".encode(), "not ASCII text; write the token into its first line"),
    ],
)
def test_a_token_file_without_a_token_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    """An empty token would mean a random one."""
    pytest.importorskip("fastapi")
    token = tmp_path / "token"
    token.write_bytes(content)
    told = CliRunner().invoke(app, ["serve", "--data", str(tmp_path / "jobs"), "--token-file", str(token)])
    assert (told.exit_code, told.stderr) == (1, f"error: {token}: {reason}\n")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_an_architecture_is_not_proved_in_no_time(seconds: str) -> None:
    assert CliRunner().invoke(app, ["architecture", "model.json", "--timeout", seconds]).exit_code == 2
