"""Jobs that repair."""

from __future__ import annotations

from typing import Literal, cast

from pydantic import Field

import repairsolver as rs
from repairsolver.service.kinds.kind import NETWORKS, POINTS, PROPERTIES, Kind, Made, Seeded, Slot, Task


class Options(Seeded):
    """What `repairsolver repair` takes, as far as it makes sense without a shell."""

    seconds: float = Field(
        300.0, gt=0, le=7 * 24 * 3600.0, title="Time limit", description="Seconds of the work."
    )
    method: Literal["delta", "gate", "imitation"] = Field(
        "delta",
        title="Method",
        description="Change weights as little as possible, add gates, or teach by imitation.",
    )
    layers: str = Field(
        "last",
        max_length=4096,
        title="Layers",
        description="last, all, auto, or names of layers with commas.",
    )
    parameters: Literal["both", "weights", "biases"] = Field(
        "both", title="Numbers", description="Which numbers of the layers may change."
    )
    norm: Literal["l0", "l1", "l2", "linf", "relative-l1", "relative-l2", "relative-linf"] = Field(
        "l1", title="Norm", description="Norm of the change that is to be least."
    )
    minimise: Literal["weights", "behaviour"] = Field(
        "weights", title="Minimise", description="The change of weights, or of the margins to the decision."
    )
    decision: Literal["auto", "max", "min", "both"] = Field(
        "auto",
        title="Decision",
        description="Which output is chosen: largest, smallest, both, or (auto) what the property tells.",
    )
    gap: float = Field(
        0.01, ge=0, le=1, title="Gap", description="Relative distance to the optimum to stop at."
    )
    place: Literal["auto", "inner", "output"] = Field(
        "auto", title="Place", description="Gates only: at hidden neurons, at the scores, or the better one."
    )
    max_gates: int = Field(
        0,
        ge=0,
        le=10**6,
        title="Most gates",
        description="Gates only: neurons of one gate; 0 for any number.",
    )
    monitor: bool = Field(
        False, title="Monitor", description="Gates only: an output that tells which gates are on."
    )
    variant: Literal["retrain", "tune"] = Field(
        "retrain", title="Variant", description="Imitation only: retrain layers, or tune a few neurons."
    )
    memory_gb: float = Field(1.0, gt=0, le=1024, title="Memory of the search", description="Gigabytes.")


def run(task: Task) -> Made:
    """Repair, prove, write the network, its change and its certificates."""
    from repairsolver.report.files import write_repair
    from repairsolver.report.records import repair_record
    from repairsolver.report.sentences import explain_repair
    from repairsolver.report.subject import Subject, with_account
    from repairsolver.service.kinds.loading import network_of, properties_of

    options: Options = task.options
    net = network_of(task)
    props = properties_of(task, net)
    interrupted = False
    try:
        fix = rs.repair(
            net, props if len(props) > 1 else props[0], method=options.method,
            layers=None if options.layers == "last" else options.layers, parameters=options.parameters,
            place=options.place, max_gates=options.max_gates or None, monitor=options.monitor,
            imitation=_imitation(options), norm=options.norm, minimise=options.minimise, gap=options.gap,
            decision=options.decision,
            points=task.file("points"), keep=task.file("keep"), seed=options.seed, on_event=task.history,
            limits=rs.Limits(seconds=options.seconds, memory_gb=options.memory_gb), certificate=True,
        )  # fmt: skip
    except rs.Interrupted as stopped:
        fix, interrupted = cast(rs.Repair, stopped.result), True
    written = [path.name for path in write_repair(fix, task.results / "repaired.onnx")]
    record = with_account(
        repair_record(fix, net, *props) | {"files": [*written, *_certificates(task, fix)]},
        kind="repair",
        asked=options.model_dump(exclude={"seed", "norm"}),
        history=task.history.rows(),
        explanation=explain_repair(fix),
        network=task.need("network").name,
        properties=[path.name for path in task.files["property"]],
    )
    return Made(Subject(record, net, fix.network if fix.proved else None, tuple(props)), interrupted)


def _imitation(options: Options) -> rs.Imitation | None:
    """Imitation goes on until the property is proved; its options with another method are refused later."""
    if options.method != "imitation" and options.variant == "retrain":
        return None
    return rs.Imitation(variant=options.variant, prove=True)


def _certificates(task: Task, fix: rs.Repair) -> list[str]:
    """Write the proofs that can be checked; the names of their files."""
    verdicts = fix.verdicts or (() if fix.verdict is None else (fix.verdict,))
    names = []
    for number, verdict in enumerate(verdicts, start=1):
        if verdict.certificate is not None:
            names.append("certificate.cert" if len(verdicts) == 1 else f"certificate.{number}.cert")
            rs.write_certificate(verdict.certificate, task.results / names[-1])
    return names


REPAIR = Kind(
    "repair",
    "Repair",
    "Change a network as little as possible so that it has a property, proved.",
    (
        Slot("network", "Network", NETWORKS),
        Slot("property", "Properties", PROPERTIES, most=20),
        Slot("points", "Points to repair", POINTS, required=False),
        Slot("keep", "Points to keep", POINTS, required=False),
    ),
    Options,
    run,
    {"seconds": 60, "norm": "l1", "layers": "last", "decision": "min"},
)
