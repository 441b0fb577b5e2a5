"""Statements as files: JSON that a person can read, and that anyone can sample anew."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from repairsolver import __version__
from repairsolver.certificate import CheckResult
from repairsolver.errors import CertificateError, RepairSolverError
from repairsolver.exact_json import loads
from repairsolver.network.graph import Network
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.results import OnEvent, OpenBoxes
from repairsolver.sampling.distributions import Distribution, Points, TruncatedNormal, Uniform
from repairsolver.sampling.part import part_of
from repairsolver.sampling.sampler import sample_property
from repairsolver.sampling.statement import Part, SampleStatus, Statement
from repairsolver.targets import file_target, replacing
from repairsolver.verification.record import property_sha256

FORMAT, SCHEMA = "repairsolver statement", 1
MAX_BYTES = 2**28
CLAIMED = (
    "status",
    "samples",
    "violations",
    "epsilon",
    "eta",
    "lower",
    "upper",
    "test",
    "limit",
    "seed",
    "spent",
)
TYPES: dict[str, type | tuple[type, ...]] = {
    "format": str, "schema": int, "tool": str, "claim": str, "status": str, "samples": int, "violations": int,
    "epsilon": float, "eta": float, "lower": float, "upper": float, "test": str, "limit": int, "seed": int,
    "spent": float, "distribution": dict, "network": dict, "property": dict, "evaluation": str, "alone": bool,
    "purpose": str, "part": (dict, type(None)), "versions": dict,
}  # fmt: skip
# The bounds are computed from the counts; a library may round them otherwise.
CLOSE = 1e-9


def write_statement(statement: Statement, path: str | Path, *, purpose: str = "statement") -> None:
    """Write a statement as a certificate; replaced as a whole or not at all.

    Raises:
        CertificateError: the distribution is a function, which no file can hold; or nothing is stated.
    """
    target = file_target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_record(statement, purpose), indent=1, allow_nan=False)
    with replacing(target) as stream:
        stream.write(f"{text}\n".encode())


def to_record(statement: Statement, purpose: str = "statement") -> dict[str, Any]:
    """The content of a certificate."""
    if statement.distribution["name"] == "sampler":
        raise CertificateError(
            "a statement about inputs from a function cannot be written as a certificate: whoever checks it "
            "could not "
            "draw the samples again; write the samples' distribution as uniform, truncated-normal or points"
        )
    if statement.test == "proof":
        raise CertificateError(
            "the property is proved, nothing was sampled: verify --certificate writes the proof"
        )
    if statement.status is SampleStatus.UNDECIDED:
        raise CertificateError(
            "no certificate is written: the sampling ended undecided, so nothing is stated"
        )
    values = {name: getattr(statement, name) for name in CLAIMED}
    network, prop = statement.names
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "tool": f"repairsolver {__version__}",
        "claim": statement.claim,
        **values,
        "status": statement.status.value,
        "distribution": dict(statement.distribution),
        "network": {"name": network, "sha256": statement.network_sha256},
        "property": {"name": prop, "sha256": statement.property_sha256},
        "evaluation": statement.evaluation,
        "alone": statement.alone == statement.samples and "batches" not in statement.evaluation,
        "purpose": purpose,
        "part": None if statement.part is None else _packed(statement.part),
        "versions": _versions(),
    }


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a certificate of a statement.

    Raises:
        CertificateError: it is none, or damaged.
    """
    with Path(path).open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CertificateError(f"{path}: larger than {MAX_BYTES} bytes: no statement is")
    try:
        record = loads(data)
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"{path}: not a statement: {error}") from error
    if not isinstance(record, dict) or record.keys() != TYPES.keys():
        raise CertificateError(f"{path}: not a statement: expected exactly the entries {', '.join(TYPES)}")
    for name, kind in TYPES.items():
        whole = type(record[name]) is int and kind is float
        if not whole and (
            not isinstance(record[name], kind) or (kind is int and type(record[name]) is not int)
        ):
            raise CertificateError(f"{path}: the entry {name} has the wrong type")
    if (record["format"], record["schema"]) != (FORMAT, SCHEMA):
        raise CertificateError(f"{path}: expected format {FORMAT!r}, schema {SCHEMA}")
    return record


def is_statement(path: str | Path) -> bool:
    """Whether a file begins like a statement, not like a proof.

    Raises:
        OSError: it cannot be opened.
    """
    with Path(path).open("rb") as stream:
        return f'"format": "{FORMAT}"'.encode() in stream.read(256)


def check_statement(
    path: str | Path,
    *,
    network: Network,
    prop: Property,
    points: PointSet | None = None,
    on_event: OnEvent | None = None,
) -> CheckResult:
    """Draw a statement's samples again, evaluate and count them, and compare.

    Raises:
        OSError: the file cannot be opened.
    """
    started = time.monotonic()

    def answer(valid: bool, reason: str) -> CheckResult:
        return CheckResult(valid, reason, 0, time.monotonic() - started, "sampled")

    try:
        record = read_record(path)
        _identify(record, network, prop)
        again = _repeated(record, network, prop, points, on_event)
        difference = _difference(record, again)
    except RepairSolverError as problem:
        return answer(False, str(problem))
    if difference:
        return answer(False, difference)
    return answer(
        True,
        f"{again.claim}, for inputs {again.distribution['text']}, seed {again.seed}: all {again.samples} "
        f"samples were "
        f"drawn and evaluated again, {again.violations} violate, as stated.{_rest(again)} That the seed was "
        f"not chosen "
        "for its result is not checked: whoever doubts it samples with another one.",
    )


def _rest(again: Statement) -> str:
    if again.part is None:
        return ""
    share = f"{min(1.0, again.part.share):.4%}"
    return (
        f" Only the open part, at most {share} of the volume, was sampled; that the rest is proved is not "
        "checked."
    )


def _identify(record: dict[str, Any], network: Network, prop: Property) -> None:
    for what, actual in (("network", network.sha256), ("property", property_sha256(prop))):
        stated = record[what].get("sha256")
        if stated != actual:
            raise CertificateError(
                f"The statement is about another {what}: it names SHA-256 {stated}, the {what} given has "
                f"{actual}."
            )


def _repeated(
    record: dict[str, Any],
    network: Network,
    prop: Property,
    points: PointSet | None,
    on_event: OnEvent | None,
) -> Statement:
    """The statement made again; a sequential test may draw as many samples as it took."""
    if record["test"] not in ("fixed", "sequential"):
        raise CertificateError(f"Its test is {record['test']!r}, expected fixed or sequential.")
    if not record["samples"] <= record["limit"]:
        raise CertificateError("It names more samples than its test may draw.")
    return sample_property(
        network,
        prop,
        epsilon=record["epsilon"],
        eta=record["eta"],
        distribution=_distribution(record["distribution"], points),
        sequential=record["test"] == "sequential",
        samples=record["samples"],
        alone=record["alone"],
        seed=record["seed"],
        on_event=on_event,
        part=None if record["part"] is None else _unpacked(record["part"], prop),
        purpose=record["purpose"],
        spent=_share(record["spent"]),
    )


def _share(spent: float) -> float:
    if not 0 < spent <= 1:
        raise CertificateError(f"It spends {spent!r} of eta, expected a share from 0 to 1.")
    return spent


def _difference(record: dict[str, Any], again: Statement) -> str:
    """What the repetition found otherwise; empty if nothing."""
    for name in ("status", "samples", "violations", "claim"):
        got = getattr(again, name)
        if record[name] != got:
            hint = ""
            if record["versions"] != _versions():
                hint = f" It was made with {record['versions']}, this is {_versions()}."
            return f"It states {name} {record[name]!r}; sampled again, it is {got!r}.{hint}"
    for name in ("lower", "upper"):
        if not abs(record[name] - getattr(again, name)) <= CLOSE * max(1e-9, getattr(again, name)):
            return f"It states the {name} bound {record[name]!r}; its counts give {getattr(again, name)!r}."
    facts = dict(again.distribution)
    if record["distribution"] != facts:
        return f"It names the distribution {record['distribution']}, which is {facts}."
    return ""


def _distribution(facts: dict[str, Any], points: PointSet | None) -> Distribution:
    """The distribution that a file names."""
    weights = facts.get("weights")
    given = None if weights is None else tuple(float(weight) for weight in weights)
    match facts.get("name"):
        case "uniform":
            return Uniform(given)
        case "truncated-normal":
            return TruncatedNormal(float(facts["scale"]), given)
        case "points":
            if points is None:
                raise CertificateError(
                    "Its inputs come from a file of points: give that file (--points FILE)."
                )
            return Points(replace(points, name=_points_name(facts, points)), float(facts["noise"]))
        case other:
            raise CertificateError(f"Its distribution {other!r} cannot be drawn from a file.")


def _points_name(facts: dict[str, Any], points: PointSet) -> str:
    """The name that the points had, as a file may have been moved; their hash is compared."""
    text = str(facts.get("text", ""))
    _, _, rest = text.partition(" of ")
    name, found, _ = rest.rpartition(", each equally likely")
    return name if found else points.name


def _packed(part: Part) -> dict[str, Any]:
    boxes = part.boxes
    arrays = {"lower": boxes.lower, "upper": boxes.upper, "bound": boxes.bound}
    text = {name: base64.b64encode(a.astype("<f8").tobytes()).decode() for name, a in arrays.items()}
    query = base64.b64encode(boxes.query.astype("<i8").tobytes()).decode()
    return {"boxes": len(boxes), "share": part.share, **text, "query": query}


def _unpacked(stored: dict[str, Any], prop: Property) -> Part:
    """The open boxes of a file, each inside the region that it names.

    Raises:
        CertificateError: they are damaged, or leave the property's regions.
    """
    try:
        count = stored["boxes"]
        arrays = [
            np.frombuffer(base64.b64decode(stored[name]), "<f8") for name in ("lower", "upper", "bound")
        ]
        query = np.frombuffer(base64.b64decode(stored["query"]), "<i8").astype(np.int64)
        lower, upper = (array.reshape(count, prop.input_size).copy() for array in arrays[:2])
        boxes = OpenBoxes(lower, upper, query, arrays[2].copy())
        regions = [region for region in prop.regions for _ in region.unsafe]
        homes = [regions[number] for number in boxes.query if number >= 0]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CertificateError(f"The part that was sampled is damaged: {error}.") from error
    inside = len(homes) == count == len(boxes.bound) and all(
        (low >= home.lower).all() and (low <= high).all() and (high <= home.upper).all()
        for low, high, home in zip(lower, upper, homes, strict=True)
    )
    if not inside:
        raise CertificateError("The part that was sampled does not lie in the property's regions.")
    part = part_of(prop, boxes)
    if stored.get("share") != part.share:
        raise CertificateError(
            f"It states a share of {stored.get('share')!r}; its boxes have {part.share!r}."
        )
    return part


def _versions() -> dict[str, str]:
    import onnxruntime

    return {"onnxruntime": str(onnxruntime.__version__), "numpy": str(np.__version__)}
