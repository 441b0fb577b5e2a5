"""How soon known violations are found."""

import benchmarks.clock  # noqa: F401 - before repairsolver: it may change what seconds are
