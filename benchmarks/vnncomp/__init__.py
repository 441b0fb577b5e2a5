"""Verification of image classifiers and of collision detection, in the CSV format of VNN-COMP."""

import benchmarks.clock  # noqa: F401 - before repairsolver: it may change what seconds are
