"""Repairs of ACAS Xu networks."""

import benchmarks.clock  # noqa: F401 - before repairsolver: it may change what seconds are
