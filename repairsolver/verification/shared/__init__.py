"""One search over boxes, shared out among the workers of an executor."""

from repairsolver.verification.shared.driver import SharedSplitting
from repairsolver.verification.split import InputSplitting

Search = InputSplitting | SharedSplitting

__all__ = ["Search", "SharedSplitting"]
