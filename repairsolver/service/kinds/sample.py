"""Jobs that sample: a statement on the probability of a violation, as a certificate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import repairsolver as rs
from repairsolver.service.kinds.kind import NETWORKS, PROPERTIES, Kind, Made, Seeded, Slot, Task


class Options(Seeded):
    """What `repairsolver sample` takes."""

    epsilon: float = Field(1e-3, gt=0, lt=1, title="Epsilon", description="The probability that is allowed.")
    eta: float = Field(1e-3, gt=0, lt=1, title="Eta", description="The probability of a wrong statement.")
    distribution: Literal["uniform", "truncated-normal"] = Field(
        "uniform", title="Distribution", description="Of the inputs, on the property's regions."
    )
    sequential: bool = Field(
        True, title="Stop early", description="Stop as soon as one of the two answers is shown."
    )


def run(task: Task) -> Made:
    """Sample, and write the statement as a certificate."""
    from repairsolver.report.records import statement_record
    from repairsolver.report.sentences import explain_statement
    from repairsolver.report.subject import Subject, with_account
    from repairsolver.sampling.certificate import write_statement
    from repairsolver.service.kinds.loading import network_of, properties_of

    options: Options = task.options
    net = network_of(task)
    (prop,) = properties_of(task, net)
    found = rs.sample(
        net, prop, epsilon=options.epsilon, eta=options.eta, distribution=options.distribution,
        sequential=options.sequential, limits=rs.Limits(seconds=options.seconds), seed=options.seed,
        on_event=task.history,
    )  # fmt: skip
    write_statement(found, task.results / "statement.cert")
    record = with_account(
        statement_record(found, net, prop) | {"files": ["statement.cert"]},
        kind="sample",
        asked=options.model_dump(exclude={"seed"}),
        history=task.history.rows(),
        explanation=explain_statement(found),
        network=task.need("network").name,
        properties=[task.need("property").name],
    )
    return Made(Subject(record, net, None, (prop,)))


SAMPLE = Kind(
    "sample",
    "Sample",
    "State by samples how probable a violation is, with a confidence: no proof.",
    (Slot("network", "Network", NETWORKS), Slot("property", "Property", PROPERTIES)),
    Options,
    run,
    {"epsilon": 1e-3, "eta": 1e-3, "seconds": 60, "seed": 0},
)
