"""The layer rules against real frameworks: random single-layer calls, and every disagreement."""

from __future__ import annotations

import os
import random
import warnings
from collections import Counter

from benchmarks.architecture.calls import draw, explained, kinds, predicted, real
from benchmarks.record import Recorder

COLUMNS = ("framework", "kind", "calls", "invalid", "disagreements", "unexplained", "explanation")


def check_rules(recorder: Recorder, framework: str, calls: int, seed: int) -> int:
    """Draw so many calls for each layer type; one row each. Returns the unexplained disagreements."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    warnings.simplefilter("ignore")
    rng, wrong = random.Random(seed), 0
    for kind in kinds(framework):
        if recorder.has(kind=kind):
            continue
        count: Counter[str] = Counter()
        for _ in range(calls):
            call = draw(framework, kind, rng)
            rule, found = predicted(call), real(call)
            count["invalid"] += found is None
            if rule != found:
                reason = explained(call, rule, found)
                count[reason or "unexplained"] += 1
                if not reason:
                    print(f"{call}: the rule says {rule}, {framework} {found}", flush=True)
        reasons = [key for key in count if key not in ("invalid", "unexplained")]
        wrong += count["unexplained"]
        recorder.add(
            {
                "framework": framework,
                "kind": kind,
                "calls": calls,
                "invalid": count["invalid"],
                "disagreements": sum(count[r] for r in reasons) + count["unexplained"],
                "unexplained": count["unexplained"],
                "explanation": "; ".join(reasons),
            }
        )
    return wrong
