"""What a report says of a result: the question, the answer, what it rests on, and what was kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from repairsolver.metrics import ONE_REGION
from repairsolver.results import COVERED

Record = Mapping[str, Any]
Line = tuple[str, str]

SAME = {"max": "Same largest output", "min": "Same smallest output"}
"""What agreement is of, where both decisions count."""

VERDICTS = {
    "unsat": ("good", "The property holds", "for every input of its regions, proved"),
    "sat": ("bad", "The property is violated", "by an input that onnxruntime replayed"),
    "repaired": (
        "good",
        "Repaired",
        "the repaired network has the property for every input of its regions, proved",
    ),
    "repaired-pac": (
        "open",
        "Repaired, by samples",
        "samples that no repair has seen show how rare violations are; it is no proof",
    ),
    "accepted": ("good", "Violations are as rare as asked for", "shown by samples, with a confidence"),
    "rejected": ("bad", "Violations are not as rare as asked for", "shown by samples, with a confidence"),
    "undecided": ("open", "Not decided", "the samples show neither"),
    "infeasible": (
        "bad",
        "Not repairable here",
        "no change of the chosen numbers gives the network the property",
    ),
    "timeout": ("open", "Not decided in time", "neither proved nor refuted when the time was up"),
    "unknown": ("open", "Not decided", "neither proved nor refuted"),
    "valid": ("good", "The certificate is valid", "its proof was replayed with rigorous rounding"),
    "invalid": ("bad", "The certificate is not valid", "it does not prove what it claims"),
}
"""By the word of the result: how it looks, what is said, and in which sense."""


def verdict(record: Record) -> tuple[str, str, str]:
    """How the answer looks (good, bad, open), the answer, and its sense."""
    word = str(record.get("result"))
    if record.get("kind") == "architecture":
        kind = "good" if word in ("valid", "repaired") else "open"
        return kind, {"valid": "The layers fit together"}.get(word, word.capitalize()), "of the layer graph"
    return VERDICTS.get(word, ("open", word, "see below"))


def question(record: Record) -> list[Line]:
    """What was asked: files, hashes, options, versions."""
    return list(_question(record))


def _question(record: Record) -> Iterator[Line]:
    for what in ("network", "certificate", "model"):
        told = record.get(what)
        if isinstance(told, Mapping) and "name" in told:
            yield what.capitalize(), f"{told['name']} (SHA-256 {told.get('sha256')})"
    for prop in record.get("properties") or filter(None, [record.get("property")]):
        yield "Property", f"{prop['name']} (SHA-256 {prop['sha256']})"
    for name, value in (record.get("asked") or {}).items():
        if value is not None:
            yield name.replace("_", " ").capitalize(), _shown(value)
    if record.get("kind") == "repair":
        yield "Norm that is least", _shown(record.get("norm"))
    yield "Seed", _shown(record.get("seed", 0))
    yield "Made by", f"repairsolver {record.get('repairsolver', '')}"


def guarantees(record: Record) -> list[tuple[str, str, str]]:
    """Rows (claim, what it rests on, what is not covered), in plain words."""
    return list(_guarantees(record))


def _guarantees(record: Record) -> Iterator[tuple[str, str, str]]:
    word = record.get("result")
    proof = record if record.get("kind") == "verify" else record.get("verdict") or {}
    methods = ", ".join(m for m in proof.get("methods") or () if m != "attack") or "the empty property"
    if word in ("unsat", "repaired") and proof.get("status") == "holds":
        which = "the network" if word == "unsat" else "the repaired network"
        covered, _, limits = COVERED[proof.get("arithmetic", "real")].partition(". ")
        yield (
            f"No input of the property's regions makes {which} violate the property.",
            f"A proof by {methods} on {proof.get('boxes')} boxes, {covered}.",
            limits,
        )
    elif word == "sat":
        yield (
            "The input shown violates the property.",
            "onnxruntime, run on the network's own file, gives the outputs shown.",
            "That other violations exist, or how many.",
        )
    elif word in ("unknown", "timeout"):
        share = float(proof.get("proved_volume") or 0.0)
        yield f"Proved on {share:.2%} of the input volume.", f"Linear bounds ({methods}).", "Everything else."
    yield from _repair_guarantees(record)


def _repair_guarantees(record: Record) -> Iterator[tuple[str, str, str]]:
    if record.get("kind") != "repair":
        return
    lower = record.get("lower_bound") or 0.0
    if record.get("result") == "infeasible":
        yield (
            "No change of the chosen numbers suffices.",
            str(record.get("message")),
            "Other layers and numbers.",
        )
    elif lower > 0 and record.get("cost"):
        yield (
            f"No repair of the same numbers costs less than {lower:.6g}, "
            f"this one costs {record['cost']:.6g}: the {record['norm']} norm of the change, "
            "with the factors of entries and the prices of lost points that were given.",
            "The solver's dual bound on the counterexamples found, tolerance about 1e-7 relative.",
            "Repairs of other layers.",
        )
    if record.get("fidelity"):
        yield "How much else changed.", "Random inputs, 95 % confidence.", "It is measured, not proved."


def fidelity(record: Record) -> list[tuple[str, str, str]]:
    """Rows (measure, value, what it was measured on)."""
    return list(_fidelity(record.get("fidelity") or {}))


def _fidelity(kept: Record) -> Iterator[tuple[str, str, str]]:
    if not kept:
        return
    other = kept.get("other")
    yield from _shares(kept, SAME[kept["decision"]] if other else "Same decision")
    if other:
        named = ("domain", "agreement", "region_agreement")
        yield from _shares({name: other[name] for name in named}, SAME[other["decision"]])
    for name, key in (("mean", "mean_difference"), ("largest", "max_difference")):
        yield f"Output difference, {name}", f"{kept[key]:.4g}", f"random inputs of {kept['domain']}"


def _shares(kept: Record, same: str) -> Iterator[tuple[str, str, str]]:
    names = {
        "agreement": (same, f"random inputs of {kept.get('domain')}"),
        "region_agreement": (same, "random inputs of the property's regions"),
        "efficacy": ("Points to repair that are right now", "points"),
        "generalisation": ("Unseen points that are right now", "points"),
        "drawdown": ("Points to keep that were right and are wrong now", "points"),
    }
    for key, (name, domain) in names.items():
        share = kept.get(key)
        if share and not (key == "region_agreement" and kept.get("domain") == ONE_REGION):
            low, high = share["interval"]
            value = f"{share['value']:.3%} (95 % confidence {low:.3%} to {high:.3%})"
            yield name, value, f"{share['total']} {domain}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_shown, value)) if isinstance(value, list | tuple) else str(value)
