"""The rules of ONNX operators against onnxruntime, on random one-node graphs."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
from onnx import ModelProto

from benchmarks.architecture.graphs import BATCH, drawn
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.onnx_graph.reading import read_onnx

Shape = tuple[int, ...]


def predicted(proto: ModelProto) -> Shape | None:
    """The shape without batch that the rules compute; None: invalid."""
    model = read_onnx(proto)
    found = diagnose_model(model)
    return found.shapes[next(iter(model.outputs))] if found.valid else None


def real(proto: ModelProto) -> Shape | None:
    """The shape that onnxruntime computes on zeros; None: it refuses, or gives nothing."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options)
        feed = {
            i.name: np.zeros([n if isinstance(n, int) else BATCH for n in i.shape], np.float32)
            for i in session.get_inputs()
        }
        out = session.run(None, feed)[0]
    except Exception:  # onnxruntime raises several kinds of its own
        return None
    return tuple(out.shape[1:]) if out.ndim and out.shape[0] == BATCH and 0 not in out.shape else None


def explained(kind: str, proto: ModelProto, rule: Shape | None, found: Shape | None) -> str:
    """Why a disagreement is none of the rules' mistakes; "" where it is one."""
    if kind in ("MaxPool", "AveragePool") and rule is None and found is not None:
        return "onnxruntime pools windows that reach beyond the padded input"
    if proto.graph.node[0].op_type == "GroupNormalization" and rule is None:
        return "onnxruntime also takes a scale for each group, as before opset 21"
    ranks = {len(entry.type.tensor_type.shape.dim) for entry in proto.graph.input}
    if kind == "elementwise" and len(ranks) > 1 and rule is None:
        return "onnxruntime broadcasts the batch axis with another axis, where they happen to agree"
    return ""


def check_onnx(recorder: Any, calls: int, seed: int) -> int:
    """So many random graphs; one row for each kind. Returns the unexplained disagreements."""
    counts: dict[str, Counter[str]] = {}
    stream = drawn(random.Random(seed))
    for _ in range(calls):
        kind, proto = next(stream)
        count = counts.setdefault(kind, Counter())
        rule, found = predicted(proto), real(proto)
        count["calls"] += 1
        count["invalid"] += found is None
        if rule != found:
            reason = explained(kind, proto, rule, found)
            count[reason or "unexplained"] += 1
            if not reason:
                node = proto.graph.node[0]
                shapes = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.input]
                stored = {t.name: tuple(t.dims) for t in proto.graph.initializer}
                text = " ".join(str(node.attribute).split())
                print(
                    f"{node.op_type} {shapes} {stored} {text}: the rule says {rule}, onnxruntime {found}",
                    flush=True,
                )
    for kind, count in counts.items():
        reasons = [key for key in count if key not in ("calls", "invalid", "unexplained")]
        recorder.add(
            {
                "framework": "onnx",
                "kind": kind,
                "calls": count["calls"],
                "invalid": count["invalid"],
                "disagreements": sum(count[r] for r in reasons) + count["unexplained"],
                "unexplained": count["unexplained"],
                "explanation": "; ".join(reasons),
            }
        )
    return sum(count["unexplained"] for count in counts.values())
