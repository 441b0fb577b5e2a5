"""How hard to look for a violation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """What an attack spends on each query (a region with one of its conjunctions).

    Args:
        samples: points of the box that are evaluated first.
        restarts: paths of gradient ascent in a round.
        steps: of each path.
        keep: violating samples that are replayed.
        rounds: of restarts; later ones start where earlier ones had success.
    """

    samples: int = 8192
    restarts: int = 64
    steps: int = 40
    keep: int = 32
    rounds: int = 2
