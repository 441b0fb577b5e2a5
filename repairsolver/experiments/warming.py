"""What a process loads before others are forked from it, so that they start at once."""

from __future__ import annotations


def load_engines() -> None:
    """Load what verifies, repairs, checks and writes; nothing that starts threads is run."""
    import onnxruntime
    import scipy.optimize
    import torch

    import repairsolver.certificate
    import repairsolver.repairing.engine
    import repairsolver.report.files
    import repairsolver.report.records
    import repairsolver.verbs.repairs
    import repairsolver.verification.engine  # noqa: F401

    assert all((onnxruntime, scipy.optimize))
    torch.set_num_threads(1)
