"""The trivial strong baseline: the scores corrected in whole regions, wherever the original is right."""

from __future__ import annotations

import time

import repairsolver as rs
from repairsolver.repairing.gate.edit import Gates
from repairsolver.repairing.gate.regions import whole_regions
from repairsolver.repairing.gate.scores import output_gates
from repairsolver.repairing.gate.session import Session, prove
from repairsolver.repairing.gate.wishes import Gating


def shield_alone(network: rs.Network, prop: rs.Property, seconds: float, seed: int) -> rs.Repair:
    """The same correction as `place="output"` makes, without looking where it is needed."""
    started = time.perf_counter()
    limits = rs.Limits(seconds=seconds)
    session = Session(network, prop, Gating("output"), "min", limits, seed, None, "highs")
    gates = output_gates(session, whole_regions(prop))
    if gates is None:
        return as_repair(rs.RepairStatus.UNKNOWN, None, None, None, started, session.reasons[-1])
    found = prove(session, gates, "the scores of whole regions", 1.0)
    status = rs.RepairStatus.REPAIRED if found.proved else rs.RepairStatus.UNKNOWN
    return as_repair(status, found.network, found.edit, found.verdict, started, found.where)


def as_repair(
    status: rs.RepairStatus,
    network: rs.Network | None,
    edit: Gates | None,
    verdict: rs.Verdict | None,
    started: float,
    message: str,
) -> rs.Repair:
    """A baseline's answer as a repair."""
    cost = None if edit is None else float(edit.count)
    seconds = time.perf_counter() - started
    return rs.Repair(
        status, network, edit, "gates", cost, 0.0, None, None, verdict, 1, seconds, 0, "none", message
    )
