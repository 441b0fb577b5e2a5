"""Files that appear whole: with several writers, after failures, and with the rights of any new file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repairsolver.targets import replacing

WRITER = """
import sys
from repairsolver.targets import replacing
path, letter = sys.argv[1:]
sys.stdin.readline()
for _ in range(150):
    with replacing(path) as stream:
        for _ in range(8):
            stream.write(letter.encode() * 20_000)
            stream.flush()
"""


def test_two_processes_that_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, letter], stdin=subprocess.PIPE) for letter in "ab"]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    wholes = {letter.encode() * 160_000 for letter in "ab"}
    while any(writer.poll() is None for writer in writers):
        assert not path.exists() or path.read_bytes() in wholes
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert path.read_bytes() in wholes
    assert os.listdir(tmp_path) == ["shared"]


def write_half(path: Path, kind: type[BaseException]) -> None:
    with replacing(path) as stream:
        stream.write(b"half of the n")
        raise kind


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    kind: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    with pytest.raises(kind):
        write_half(path, kind)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["kept"]


def test_the_rights_are_those_of_any_new_file_and_long_names_fit(tmp_path: Path) -> None:
    path, usual = tmp_path / ("n" * 255), tmp_path / "usual"
    usual.write_bytes(b"")
    with replacing(path) as stream:
        stream.write(b"new")
    assert path.stat().st_mode == usual.stat().st_mode
    assert path.read_bytes() == b"new"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "none" / "file"):
        pass
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("place", ["kept", "missing/new"])
def test_errors_name_the_file_that_was_asked_for(place: str, tmp_path: Path) -> None:
    """A full disk names none, and a folder that is not there the part of the file."""
    path = tmp_path / place
    with pytest.raises(OSError, match="o s") as told, replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.filename == str(path)
    assert os.listdir(tmp_path) == []
