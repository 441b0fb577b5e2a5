"""Certificates as files: a JSON head that a person can read, a blank line, and the compressed arrays.

The body is one zlib stream of `axis` (int16), `value` (float64, the first bytes of all numbers, then the
second ...) and `weights` (uint8), little-endian. The head says how many of each there are, hence how long
the body is: a reader never unpacks more, and never more than `MAX_BYTES`.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from repairsolver import __version__
from repairsolver.errors import CertificateError
from repairsolver.exact_json import loads
from repairsolver.results import Certificate
from repairsolver.signatures import typed
from repairsolver.targets import file_target, replacing

FORMAT, SCHEMA = "repairsolver certificate", 1
MAX_HEAD, MAX_BYTES = 2**16, 2**30
# zlib packs at most 1032 bytes into one.
MOST_PACKED = 1032


@typed
def write_certificate(certificate: Certificate, path: str | Path) -> None:
    """Write a certificate file; replaced as a whole or not at all."""
    target = file_target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as stream:
        stream.write(to_bytes(certificate))


@typed
def read_certificate(path: str | Path) -> Certificate:
    """Read a certificate file.

    Raises:
        CertificateError: it is no certificate of this schema, is damaged, or too large.
        OSError: it cannot be opened.
    """
    with Path(path).open("rb") as stream:
        return from_bytes(stream.read(MAX_BYTES + MAX_HEAD))


def to_bytes(certificate: Certificate) -> bytes:
    """The content of a certificate file."""
    nodes, rows = certificate.weights.shape
    splits = len(certificate.value)
    head = {
        "format": FORMAT,
        "schema": SCHEMA,
        "tool": f"repairsolver {__version__}",
        "claim": "no input of the property's regions violates the property",
        "arithmetic": certificate.arithmetic,
        "network": {"name": certificate.names[0], "sha256": certificate.network},
        "property": {"name": certificate.names[1], "sha256": certificate.property},
        "counts": {"nodes": nodes, "splits": splits, "leaves": nodes - splits, "rows": rows},
    }
    values = certificate.value.astype("<f8").view(np.uint8).reshape(splits, 8).T
    body = certificate.axis.astype("<i2").tobytes() + values.tobytes() + certificate.weights.tobytes()
    return json.dumps(head, indent=1).encode() + b"\n\n" + zlib.compress(body, 9)


def from_bytes(data: bytes) -> Certificate:
    """Read the content of a certificate file; raises CertificateError."""
    text, blank, _ = data[:MAX_HEAD].partition(b"\n\n")
    if not blank:
        raise CertificateError("Not a certificate: it has no JSON head followed by a blank line.")
    head = _head(text)
    counts = head["counts"]
    nodes, splits, rows = (counts[name] for name in ("nodes", "splits", "rows"))
    if counts["leaves"] != nodes - splits:
        raise CertificateError(f"The head's counts contradict each other: {counts}.")
    content = _unpacked(data[len(text) + 2 :], 2 * nodes + 8 * splits + nodes * rows)
    axis = np.frombuffer(content, "<i2", nodes)
    value = np.frombuffer(content, np.uint8, 8 * splits, 2 * nodes).reshape(8, splits)
    weights = np.frombuffer(content, np.uint8, nodes * rows, 2 * nodes + 8 * splits)
    return Certificate(
        head["network"]["sha256"],
        head["property"]["sha256"],
        axis.astype(np.int16),
        np.ascontiguousarray(value.T).view("<f8").astype(np.float64).reshape(splits),
        weights.reshape(nodes, rows),
        head["arithmetic"],
        (head["network"]["name"], head["property"]["name"]),
    )


def _head(text: bytes) -> dict[str, Any]:
    """The head, with every entry of the expected type."""
    try:
        head = loads(text)
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"Not a certificate: the head is not JSON ({error}).") from error
    whole = {"nodes": int, "splits": int, "leaves": int, "rows": int}
    named = {"name": str, "sha256": str}
    expected = {"format": str, "schema": int, "tool": str, "claim": str, "arithmetic": str}
    expected |= {"network": named, "property": named, "counts": whole}  # type: ignore[dict-item]
    _require(head, expected, "head")
    if (head["format"], head["schema"]) != (FORMAT, SCHEMA):
        raise CertificateError(
            f"Expected format {FORMAT!r}, schema {SCHEMA}; got {head['format']!r}, {head['schema']}."
        )
    if min(head["counts"].values()) < 0:
        raise CertificateError(f"The head's counts are negative: {head['counts']}.")
    return dict(head)


def _require(value: object, expected: dict[str, Any], where: str) -> None:
    if not isinstance(value, dict) or value.keys() != expected.keys():
        raise CertificateError(f"The {where} needs exactly the entries {', '.join(expected)}.")
    for key, kind in expected.items():
        if isinstance(kind, dict):
            _require(value[key], kind, f"{where}'s {key}")
        elif type(value[key]) is not kind:
            raise CertificateError(f"The {where}'s {key} must be of type {kind.__name__}.")


def _unpacked(packed: bytes, size: int) -> bytes:
    """Exactly `size` bytes from one zlib stream with nothing behind it."""
    if size > min(MAX_BYTES, MOST_PACKED * (len(packed) + 64)):
        raise CertificateError(
            f"The head announces {size} bytes, more than are accepted or can be packed here."
        )
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(packed, size + 1)
    except zlib.error as error:
        raise CertificateError(f"The arrays are damaged: {error}.") from error
    if len(content) != size or not stream.eof or stream.unused_data:
        raise CertificateError(f"The arrays are not the {size} bytes that the head announces.")
    return content
