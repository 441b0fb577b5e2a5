"""Which of almost equal changes to prefer where the largest and the smallest output both count.

The weights of `ties` spare the scores that are usually chosen, of one decision. What spares largest outputs
may ruin the smallest, and the other way round: an output that may not be the largest can be lowered, which
is harmless there, or others lifted, which become the largest everywhere. Hence both weights are tried on
the counterexamples known, and what keeps more of both decisions is taken.
"""

from __future__ import annotations

from dataclasses import replace

from repairsolver.decision import SIDES, Decision
from repairsolver.repairing.delta.localise import MARGIN, agreement_of
from repairsolver.repairing.delta.loop import Session
from repairsolver.repairing.delta.sequential import least
from repairsolver.repairing.delta.ties import tie_weights
from repairsolver.results import Array

SHARE, MOST_SECONDS = 0.05, 5.0
"""The share of the time that is left, and the most time, for one trial."""


def prefer(session: Session, decision: Decision, tolerance: float) -> None:
    """Weigh the unknowns of a repair, see `ties`; of two decisions so that a first change keeps most of both.

    Args:
        tolerance: of the weights, at least 0.
    """
    ways = [
        tie_weights(session.requirements, session.prop, side, tolerance, session.seed)
        for side in SIDES[decision]
    ]
    if len(ways) > 1:
        kept = [_kept(session, weights) for weights in ways]
        shares = ", ".join(f"{side} {share:.1%}" for side, share in zip(SIDES[decision], kept, strict=True))
        session.emit("prefer", f"both decisions kept, sparing the scores of one: {shares}")
        session.weights = ways[kept.index(max(kept))]
    else:
        session.weights = ways[0]


def _kept(session: Session, weights: Array) -> float:
    """The share of samples at which a first change with these weights keeps both decisions; 0 without one."""
    problem = session.problem(0.0, min(SHARE * session.remaining, MOST_SECONDS))
    problem = replace(problem, margin=MARGIN * problem.scale(), weights=weights)
    delta = least(problem, shared=True).delta
    return 0.0 if delta is None else agreement_of(session, session.layer, delta)
