"""The kinds of jobs. A new kind is one file here and one line in `KINDS`."""

from __future__ import annotations

from repairsolver.service.kinds.architecture import ARCHITECTURE
from repairsolver.service.kinds.check import CHECK
from repairsolver.service.kinds.kind import Kind
from repairsolver.service.kinds.repair import REPAIR
from repairsolver.service.kinds.sample import SAMPLE
from repairsolver.service.kinds.verify import VERIFY

KINDS: dict[str, Kind] = {kind.name: kind for kind in (VERIFY, REPAIR, CHECK, SAMPLE, ARCHITECTURE)}
