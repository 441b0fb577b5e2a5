"""Jobs that verify; a job that is stopped goes on from its tree."""

from __future__ import annotations

from typing import Literal, cast

from pydantic import Field

import repairsolver as rs
from repairsolver.service.kinds.kind import NETWORKS, PROPERTIES, Kind, Made, Seeded, Slot, Task


class Options(Seeded):
    """What `repairsolver verify` takes."""

    arithmetic: Literal["real", "float32"] = Field(
        "real",
        title="Arithmetic",
        description="What a proof speaks of: the exact network, or every float32 execution.",
    )
    memory_gb: float = Field(1.0, gt=0, le=1024, title="Memory of the search", description="Gigabytes.")


def run(task: Task) -> Made:
    """Verify, with a certificate where there is one."""
    from repairsolver.report.records import verdict_record
    from repairsolver.report.sentences import explain_verdict
    from repairsolver.report.subject import Subject, with_account
    from repairsolver.service.kinds.loading import network_of, properties_of

    options: Options = task.options
    net = network_of(task)
    (prop,) = properties_of(task, net)
    limits = rs.Limits(seconds=options.seconds, memory_gb=options.memory_gb)
    interrupted = False
    try:
        verdict = rs.verify(
            net, prop, limits=limits, seed=options.seed, on_event=task.history, certificate=True,
            tree=task.tree, arithmetic=options.arithmetic,
        )  # fmt: skip
    except rs.Interrupted as stopped:
        verdict, interrupted = cast(rs.Verdict, stopped.result), True
    files = []
    if verdict.certificate is not None:
        rs.write_certificate(verdict.certificate, task.results / "certificate.cert")
        files.append("certificate.cert")
    record = with_account(
        verdict_record(verdict, net, prop) | {"files": files},
        kind="verify",
        asked=options.model_dump(exclude={"seed"}),
        history=task.history.rows(),
        explanation=explain_verdict(verdict),
        network=task.need("network").name,
        properties=[task.need("property").name],
    )
    return Made(Subject(record, net, None, (prop,)), interrupted)


VERIFY = Kind(
    "verify",
    "Verify",
    "Prove that a network has a property, or find an input that violates it.",
    (Slot("network", "Network", NETWORKS), Slot("property", "Property", PROPERTIES)),
    Options,
    run,
    {"seconds": 60, "seed": 0},
)
