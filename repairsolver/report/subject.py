"""What a report is about: a result as a JSON object, and the networks and properties it speaks of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repairsolver.errors import RepairSolverError, ReportError
from repairsolver.network import Network, load_network
from repairsolver.property import Property, load_property
from repairsolver.results import Counterexample

LARGEST_RECORD = 256 * 1024**2


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A result with what pictures of it need.

    Args:
        record: the JSON object of `verify --json` or `repair --json`, or of a job of the service.
        network, repaired: the networks before and after, where they are known.
        properties: those of the record, where they are known.
        missing: sentences on what could not be read, so that pictures are missing.
    """

    record: Mapping[str, Any]
    network: Network | None = None
    repaired: Network | None = None
    properties: tuple[Property, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def counterexamples(self) -> tuple[Counterexample, ...]:
        """Those of the original network, the worst first."""
        return tuple(
            Counterexample(
                np.array(c["input"], float), np.array(c["output"], float), float(c["violation"] or 0)
            )
            for c in self.record.get("counterexamples") or ()
        )


def with_account(
    record: dict[str, Any],
    *,
    kind: str,
    asked: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    explanation: str,
    network: Path | str,
    properties: Sequence[Path | str],
) -> dict[str, Any]:
    """A record with what a report tells besides: what was asked, how it went, what it means.

    Args:
        kind: `verify` or `repair`.
        asked: the options, plain values.
        history: see `History.rows`.
        explanation: the sentences for people.
        network, properties: where the files are.
    """
    inputs = {"network": str(network), "properties": [str(path) for path in properties]}
    told = {"kind": kind, "asked": dict(asked), "explanation": explanation.splitlines(), "inputs": inputs}
    return record | told | {"history": list(history)}


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or in `result.json` of a folder.

    Raises:
        ReportError: it is no result that a report can be made of.
        OSError: it cannot be read.
    """
    file = path / "result.json" if path.is_dir() else path
    if file.stat().st_size > LARGEST_RECORD:
        raise ReportError(f"{file}: larger than {LARGEST_RECORD} bytes, the most that is read")
    try:
        record = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ReportError(
            f"{file}: not JSON ({error}); expected what `repairsolver repair --json` prints"
        ) from error
    if not isinstance(record, dict) or "result" not in record or "kind" not in record:
        raise ReportError(
            f"{file}: no result of repairsolver: expected the JSON object that `verify --json` or "
            "`repair --json` prints, with the entries `kind` and `result`"
        )
    return record


def load_subject(path: Path) -> Subject:
    """A result with the networks and properties that it names, as far as they are still what they were.

    Raises:
        ReportError: see `read_record`.
    """
    record = read_record(path)
    folder = path if path.is_dir() else path.parent
    missing: list[str] = []
    inputs = record.get("inputs") or {}
    network = _network(inputs.get("network"), _hash(record.get("network")), folder, missing)
    files = [name for name in record.get("files") or () if str(name).endswith(".onnx")]
    repaired = _network(files[0], record.get("repaired_sha256"), folder, missing) if files else None
    known = record.get("properties") or [record.get("property")]
    pairs = zip(inputs.get("properties") or (), known, strict=False)
    props = tuple(p for name, told in pairs if (p := _property(name, _hash(told), folder, missing)))
    return Subject(record, network, repaired, props, tuple(missing))


def _hash(told: Any) -> str | None:
    return told.get("sha256") if isinstance(told, Mapping) else None


def _found(name: str, folder: Path) -> Path:
    """A file as the record names it, or of the same name beside the record."""
    path = Path(name)
    return (
        path
        if path.exists() or (path.is_absolute() and not (folder / path.name).exists())
        else folder / path.name
    )


def _network(name: str | None, expected: str | None, folder: Path, missing: list[str]) -> Network | None:
    if not name:
        return None
    try:
        network = load_network(_found(name, folder))
    except (RepairSolverError, OSError) as error:
        missing.append(f"Pictures that need the network {name} are missing: {error}")
        return None
    if expected and network.sha256 != expected:
        missing.append(
            f"Pictures that need the network {name} are missing: the file is not the one of this result."
        )
        return None
    return network


def _property(name: str, expected: str | None, folder: Path, missing: list[str]) -> Property | None:
    try:
        prop = load_property(_found(name, folder))
    except (RepairSolverError, OSError) as error:
        missing.append(f"Pictures that need the property {name} are missing: {error}")
        return None
    if expected and prop.sha256 != expected:
        missing.append(
            f"Pictures that need the property {name} are missing: the file is not the one of this result."
        )
        return None
    return prop
