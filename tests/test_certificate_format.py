"""Certificate files: round trip, a head that people can read, and files that are refused."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repairsolver.certificate import read_certificate, write_certificate
from repairsolver.certificate.format import MAX_BYTES, from_bytes, to_bytes
from repairsolver.errors import CertificateError
from repairsolver.results import Certificate

AXIS = np.array([0, -1, 1, -1, -1], np.int16)
VALUE = np.array([0.1, -1e-300])
WEIGHTS = np.arange(10, dtype=np.uint8).reshape(5, 2)
SOME = Certificate("a" * 64, "b" * 64, AXIS, VALUE, WEIGHTS, names=("net", "prop \u00e9"))


def with_head(change: dict[str, Any]) -> bytes:
    head, _, body = to_bytes(SOME).partition(b"\n\n")
    return json.dumps(json.loads(head) | change).encode() + b"\n\n" + body


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "some.cert"
    write_certificate(SOME, path)
    again = read_certificate(path)
    assert (again.network, again.property, again.names) == (SOME.network, SOME.property, SOME.names)
    assert np.array_equal(again.axis, AXIS)
    assert np.array_equal(again.value, VALUE)
    assert np.array_equal(again.weights, WEIGHTS)
    assert [p.name for p in tmp_path.iterdir()] == ["some.cert"]


def test_the_head_says_what_is_claimed() -> None:
    head = json.loads(to_bytes(SOME).partition(b"\n\n")[0])
    assert head["network"] == {"name": "net", "sha256": "a" * 64}
    assert head["counts"] == {"nodes": 5, "splits": 2, "leaves": 3, "rows": 2}
    assert head["arithmetic"] == "real"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 1"),
        ({"schema": True}, "type int"),
        ({"format": "zip"}, "Expected format"),
        ({"more": 1}, "exactly the entries"),
        ({"network": {"name": "n"}}, "exactly the entries"),
        ({"counts": {"nodes": 5, "splits": 2, "leaves": 2, "rows": 2}}, "contradict"),
        ({"counts": {"nodes": -1, "splits": -2, "leaves": 1, "rows": 2}}, "negative"),
        ({"counts": {"nodes": 4, "splits": 2, "leaves": 2, "rows": 2}}, "not the"),
        ({"counts": {"nodes": 5, "splits": 2, "leaves": 3, "rows": 2.0}}, "type int"),
        ({"counts": {"nodes": 10**15, "splits": 0, "leaves": 10**15, "rows": 1}}, "more than"),
    ],
)
def test_wrong_heads_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CertificateError, match=message):
        from_bytes(with_head(change))


@pytest.mark.parametrize(
    ("once", "twice", "named"),
    [
        (b'"arithmetic": "real"', b'"arithmetic": "real",\n "arithmetic": "float32"', "arithmetic"),
        (b'"leaves": 3', b'"leaves": 3, "leaves": 3', "leaves"),
        (b'"sha256": "aaaa', b'"sha256": "bbbb", "sha256": "aaaa', "sha256"),
    ],
)
def test_an_entry_that_stands_twice_is_refused(once: bytes, twice: bytes, named: str) -> None:
    """Another reader could take the first one, and find another claim."""
    head, _, body = to_bytes(SOME).partition(b"\n\n")
    assert head.count(once) == 1
    with pytest.raises(CertificateError, match=f"entry '{named}' more than once"):
        from_bytes(head.replace(once, twice) + b"\n\n" + body)


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"{}\n\n", b"[" * 60_000 + b"\n\n", b"\xff\xfe\n\n", b"x" * 10**6]
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(CertificateError):
        from_bytes(data)


def test_a_bomb_is_not_unpacked() -> None:
    """A body that would grow a thousandfold stops at the length that the head announces."""
    head = to_bytes(SOME).partition(b"\n\n")[0]
    with pytest.raises(CertificateError, match="not the 36 bytes"):
        from_bytes(head + b"\n\n" + zlib.compress(bytes(50_000_000), 9))
    counts = {"nodes": MAX_BYTES, "splits": 0, "leaves": MAX_BYTES, "rows": 1}
    with pytest.raises(CertificateError, match="more than"):
        from_bytes(with_head({"counts": counts}))


def test_data_behind_the_arrays_is_refused() -> None:
    with pytest.raises(CertificateError, match="not the"):
        from_bytes(to_bytes(SOME) + b"x")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_certificate(tmp_path / "none.cert")
