"""Results as JSON objects: plain types only; numbers that JSON lacks (NaN, infinities) are null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from repairsolver import __version__
from repairsolver.metrics import Share
from repairsolver.results import Certificate, OpenBoxes, Verdict

if TYPE_CHECKING:
    from repairsolver.network.graph import Network
    from repairsolver.property.specification import Property
    from repairsolver.repairing.result import Repair
    from repairsolver.sampling.splitting import RareEvent
    from repairsolver.sampling.statement import Statement
    from repairsolver.verification.falsification import Falsification

SCHEMA = 1


def verdict_record(verdict: Verdict, network: Network, prop: Property) -> dict[str, Any]:
    """A verdict with the hashes of what it is about; `result` is the word of VNN-COMP."""
    values: dict[str, Any] = plain(verdict)
    return _head(network, prop) | {"result": verdict.status.word} | values


def repair_record(repair: Repair, network: Network, *props: Property) -> dict[str, Any]:
    """A repair, without the networks themselves: the repaired one by its SHA-256.

    Of several properties the first is `property`, and all are `properties`.
    """
    repaired = None if repair.network is None else repair.network.sha256
    values: dict[str, Any] = {
        field.name: plain(getattr(repair, field.name))
        for field in fields(repair)
        if field.name not in ("network", "edit")
    }
    change = {"edit": None if repair.edit is None else json.loads(repair.edit.to_json())}
    several = {"properties": [_named(prop) for prop in props]}
    word = {"result": repair.status.value, "repaired_sha256": repaired}
    return _head(network, props[0]) | several | word | values | change


def falsification_record(found: Falsification, network: Network, prop: Property) -> dict[str, Any]:
    """A falsification: its counterexamples, and the upper bound on the violation with the gap to it."""
    values: dict[str, Any] = plain(found)
    proved = {"gap": plain(found.gap), "proved_worst": found.proved_worst}
    return _head(network, prop) | {"result": found.status.word} | values | proved


def statement_record(found: Statement, network: Network, prop: Property) -> dict[str, Any]:
    """A statement by sampling, with its sentences."""
    left_out = ("network_sha256", "property_sha256", "names")
    values = {f.name: plain(getattr(found, f.name)) for f in fields(found) if f.name not in left_out}
    words = {"claim": found.claim, "overall": plain(found.overall), "estimate": plain(found.estimate)}
    return _head(network, prop) | {"result": found.status.value} | values | words


def estimate_record(found: RareEvent, network: Network, prop: Property) -> dict[str, Any]:
    """An estimate of the probability of a rare violation."""
    values: dict[str, Any] = plain(found)
    return _head(network, prop) | {"result": "estimated", "guarantee": None} | values


def dump(record: dict[str, Any]) -> str:
    """One line of strict JSON."""
    return json.dumps(record, allow_nan=False)


def plain(value: object) -> Any:
    """Dataclasses, enums and arrays as dicts, values and lists."""
    match value:
        case Share():
            return {
                "hits": value.hits,
                "total": value.total,
                "value": value.value,
                "interval": value.interval,
            }
        case Enum():
            return value.value
        case np.ndarray() | np.generic():
            return plain(value.tolist())
        case float():
            return value if math.isfinite(value) else None
        case frozenset():
            return sorted(plain(item) for item in value)
        case list() | tuple():
            return [plain(item) for item in value]
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case OpenBoxes():
            return {"count": len(value), "least_bound": plain(value.bound.min(initial=math.inf))}
        case Certificate():
            return {"nodes": len(value.axis), "splits": len(value.value), "arithmetic": value.arithmetic}
        case _ if is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def _head(network: Network, prop: Property) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "repairsolver": __version__,
        "network": {"name": network.name, "sha256": network.sha256},
        "property": _named(prop),
    }


def _named(prop: Property) -> dict[str, str]:
    return {"name": prop.name, "sha256": prop.sha256}
