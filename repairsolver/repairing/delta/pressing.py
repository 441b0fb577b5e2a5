r"""A lower bound near its best: counterexamples of changes that are hardly larger than it.

Counterexamples of the original network and of candidates with a margin say little about the least change:
its own counterexamples do. So the least change with a small share of what is missing as margin is sought,
attacked, and its counterexamples become points, until an attack finds none. What is left between this change
and a proved one is then the price of the proof, and no weakness of the bound; an attack proves nothing.

Source: Kelley, The cutting-plane method for solving convex programs, Journal of the SIAM 8, 1960.
"""

from __future__ import annotations

import time

from repairsolver.repairing.delta.candidate import Candidate, make_candidate
from repairsolver.repairing.delta.loop import ATTACK_SECONDS, Session, search
from repairsolver.repairing.delta.sequential import least
from repairsolver.results import counted

SHARES = (0.05, 0.01)
"""Margins, one after the other, as a share of what is missing at the worst."""

ROUNDS = 12
"""Changes that are attacked with one margin."""

SECONDS, SHARE = 5.0, 0.5
"""The most time for this, and the share of what is left."""


def press_bound(session: Session) -> None:
    """Add the points that a lower bound needs; keep the least change that no attack breaks.

    Layers with a linear tail alone have cheap bounds. Without a proved change nothing is done.
    """
    from repairsolver.verification.regionwise import many_regions

    if session.best is None or session.best.cost - session.lower <= session.gap * session.best.cost:
        return
    if not session.layer.affine or session.objective.squares is not None:
        return
    if not session.prop.regions or many_regions(session.prop):
        return
    until = time.perf_counter() + min(SECONDS, SHARE * max(session.left, 0.0))
    for share in SHARES:
        for _ in range(ROUNDS):
            found = _least(session, share, until)
            if found is None:
                return
            seconds = min(ATTACK_SECONDS, until - time.perf_counter())
            inputs = search(session, found.network, 0.0, max(seconds, 0.0))
            if not session.requirements.forbid(session.prop, inputs):
                session.unbroken = found.cost
                session.emit("bound", f"no attack breaks a change of {found.cost:.6g}", unbroken=found.cost)
                break
            session.emit("bound", f"{counted(len(inputs), 'counterexample')} of a change of {found.cost:.6g}")


def _least(session: Session, share: float, until: float) -> Candidate | None:
    """The least change with this margin, written, if there is one below the proved one in time."""
    assert session.best is not None
    while (left := until - time.perf_counter()) > 0:
        problem = session.problem(share * session.problem(0.0, left).scale(), left)
        found = least(problem, shared=False, known=session.best.cost)
        if found.delta is None:
            return None
        made = make_candidate(session.network, session.layer, found.delta, problem.cost, problem.margin)
        missed = session.requirements.missed(made.network)
        if not missed:
            return made
        session.requirements.raise_floors(missed)
    return None
