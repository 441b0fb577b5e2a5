"""Which of almost equal changes to prefer: the one that keeps more decisions.

The weights of `ties` spare the scores that are usually chosen, of one decision. They know sizes, no
directions: where the least score decides and may not be it, raising others is harmless and lowering them is
ruin, and what spares the largest scores may keep more of the smallest. Hence both weights are tried on the
counterexamples known, and what keeps more is taken.
"""

from __future__ import annotations

from dataclasses import replace

from repairsolver.decision import Decision, Side
from repairsolver.repairing.delta.localise import MARGIN, agreement_of
from repairsolver.repairing.delta.loop import Session
from repairsolver.repairing.delta.sequential import least
from repairsolver.repairing.delta.ties import tie_weights
from repairsolver.results import Array

SHARE, MOST_SECONDS = 0.05, 5.0
"""The share of the time that is left, and the most time, for one trial."""

MARGINS = (1.0, 30.0, 1000.0)
"""Of trials, in multiples of the first one: proofs may need far more than the points known."""

ORDER: dict[Decision, tuple[Side, Side]] = {
    "max": ("max", "min"),
    "min": ("min", "max"),
    "both": ("max", "min"),
}
"""Whose scores are spared, the first where trials do not differ."""


def spare_decisions(session: Session, decision: Decision, tolerance: float) -> None:
    """Weigh the unknowns of a repair, see `ties`, so that first changes keep most decisions.

    Where points to keep say what counts, the scores of the decision are spared without a trial.

    Args:
        tolerance: of the weights, at least 0.
    """
    said = any(group.kept for group in session.requirements.groups.values())
    sides = ORDER[decision][:1] if said and decision != "both" else ORDER[decision]
    ways = [tie_weights(session.requirements, session.prop, side, tolerance, session.seed) for side in sides]
    best = 0
    if len(ways) > 1:
        kept = [_kept(session, weights, decision) for weights in ways]
        shares = ", ".join(f"{side} {share:.1%}" for side, share in zip(sides, kept, strict=True))
        session.emit("prefer", f"decisions kept, sparing the scores of one side: {shares}")
        best = kept.index(max(kept))
    session.weights = ways[best]


def _kept(session: Session, weights: Array, decision: Decision) -> float:
    """The mean share of samples at which changes with these weights keep the decision; 0 without one."""
    problem = session.problem(0.0, min(SHARE * session.remaining, MOST_SECONDS) / len(MARGINS))
    first, shares = MARGIN * problem.scale(), []
    for multiple in MARGINS:
        trial = replace(problem, margin=multiple * first, weights=weights)
        delta = least(trial, shared=True).delta
        shares.append(0.0 if delta is None else agreement_of(session, session.layer, delta, decision))
    return sum(shares) / len(shares)
