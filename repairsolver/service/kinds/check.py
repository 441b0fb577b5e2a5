"""Jobs that check a certificate."""

from __future__ import annotations

import repairsolver as rs
from repairsolver.service.kinds.kind import NETWORKS, PROPERTIES, Kind, Made, Options, Slot, Task


def run(task: Task) -> Made:
    """Replay the proof."""
    from repairsolver.report.records import SCHEMA, plain
    from repairsolver.report.subject import Subject, with_account
    from repairsolver.service.kinds.loading import network_of, properties_of

    net = network_of(task)
    (prop,) = properties_of(task, net)
    found = rs.check(task.need("certificate"), network=net, property=prop)
    head = {
        "schema": SCHEMA,
        "repairsolver": rs.__version__,
        "network": {"name": net.name, "sha256": net.sha256},
        "property": {"name": prop.name, "sha256": prop.sha256},
        "result": "valid" if found.valid else "invalid",
    }
    record = with_account(
        head | plain(found),
        kind="check",
        asked={"certificate": task.title("certificate")},
        history=task.history.rows(),
        explanation=found.reason,
        network=task.need("network").name,
        properties=[task.need("property").name],
    )
    return Made(Subject(record))


CHECK = Kind(
    "check",
    "Check",
    "Replay the proof of a certificate with rigorous rounding.",
    (
        Slot("certificate", "Certificate", (".cert", ".certificate")),
        Slot("network", "Network", NETWORKS),
        Slot("property", "Property", PROPERTIES),
    ),
    Options,
    run,
)
