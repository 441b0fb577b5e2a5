"""Jobs that repair the graph of layers of a model."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field

import repairsolver as rs
from repairsolver.service.kinds.kind import Kind, Made, Slot, Task
from repairsolver.service.kinds.kind import Options as Plain

SHAPE = r"^\d{1,9}(,\d{1,9}){0,15}$"


class Options(Plain):
    """What `repairsolver architecture` takes."""

    seconds: float = Field(
        10.0, gt=0, le=3600.0, title="Time limit", description="Seconds of each of z3's decisions."
    )
    input_shape: str | None = Field(
        None, pattern=SHAPE, title="Input shape", description="Without the batch axis, such as 28,28,1."
    )
    output_shape: str | None = Field(
        None, pattern=SHAPE, title="Output shape", description="That the output must have."
    )
    prove: bool = Field(True, title="Prove", description="Let z3 decide whether cheaper edits exist.")


def run(task: Task) -> Made:
    """Find the faults and the cheapest edits."""
    from repairsolver.architecture.writing import repair_record, repair_text
    from repairsolver.report.records import SCHEMA
    from repairsolver.report.subject import Subject

    options: Options = task.options
    path = task.need("model")
    fix = rs.repair_architecture(
        path,
        input_shape=_shape(options.input_shape),
        output_shape=_shape(options.output_shape),
        prove=options.prove,
        seconds=options.seconds,
    )
    told = repair_record(fix, alternatives=True)
    files = []
    if fix.status != "unknown":
        files.append("repaired.json")
        text = json.dumps(told["model"], indent=2, ensure_ascii=False)
        (task.results / "repaired.json").write_text(text + "\n", encoding="utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record = {
        "schema": SCHEMA,
        "repairsolver": rs.__version__,
        "kind": "architecture",
        "result": fix.status,
        "model": {"name": task.title("model"), "sha256": digest},
        "asked": options.model_dump(),
        "explanation": repair_text(fix, alternatives=True).splitlines()[1:],
        "history": task.history.rows(),
        "files": files,
        "repair": told,
    }
    return Made(Subject(record))


def _shape(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else tuple(int(part) for part in text.split(","))


ARCHITECTURE = Kind(
    "architecture",
    "Layer graph",
    "Find what is wrong with a layer graph, and the cheapest edits that make it valid.",
    (Slot("model", "Model (JSON)", (".json",)),),
    Options,
    run,
)
