"""Repairs with one margin: the caller's, or that of the least change of behaviour at points alone."""

from __future__ import annotations

from repairsolver.repairing.delta.loop import Session, try_margin, update_bound

EXTRA = 1.0
"""What a margin that nobody asked for may cost, as a share of the lower bound."""


def one_margin(session: Session) -> bool:
    """Try the caller's margin, or the objective's own one at points alone; whether that ends the search.

    The change of behaviour has one: at points no proof needs a smaller margin, and unseen points gain by it.
    """
    measure = session.objective.squares
    margin = session.margin
    if margin is None and measure is not None and not session.prop.regions:
        margin = measure.margin
    if margin is None or margin <= 0:
        return False
    for shared in (True, False):
        outcome = try_margin(session, margin, session.remaining, shared=shared)
        session.emit("margin", f"margin {margin:.3g}: {outcome}", margin=margin)
        plain = all(group.plain for group in session.requirements.groups.values())
        if session.best is not None or plain or session.finished:
            break
    preferring = any(group.preferred for group in session.requirements.groups.values())
    if session.margin is None and session.best is not None and not preferring:
        _cheaper(session, margin)
    return session.best is not None or session.margin is not None


def _cheaper(session: Session, margin: float) -> None:
    """Where the margin costs more than all the rest, one that does not.

    For affine scores the least cost c is convex in the margin: c(t m) <= (1 - t) c(0) + t c(m), which is at
    most (1 + `EXTRA`) c(0) for the t below.
    """
    update_bound(session)
    least, best = session.lower, session.best
    if best is None or least <= 0 or best.cost <= (1 + EXTRA) * least or session.finished:
        return
    smaller = margin * EXTRA * least / (best.cost - least)
    outcome = try_margin(session, smaller, session.remaining, shared=True)
    session.emit("margin", f"margin {smaller:.3g}: {outcome}", margin=smaller)
