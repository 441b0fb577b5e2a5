"""What a process loads before others are forked from it, so that they start at once."""

from __future__ import annotations

import importlib

ENGINES = (
    "onnxruntime", "scipy.optimize", "repairsolver.certificate", "repairsolver.repairing.engine",
    "repairsolver.report.files", "repairsolver.report.records", "repairsolver.verbs.repairs",
    "repairsolver.verification.engine",
)  # fmt: skip


def load_engines() -> None:
    """Load what verifies, repairs, checks and writes, by name; nothing that starts threads is run."""
    for name in ENGINES:
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)
