"""The scores' correction made inside: neurons of the last hidden layer are moved until the half-spaces hold.

Where the scores depend on a layer h alone, y = J h + c, a half-space of scores is one of the layer,
$C J h + D x > d - C c$. Few neurons (at most one for each half-space) are moved by an affine function of the
layer, and only while it fails. The proof is its form, as at the scores: no bound of the region has to be
tight, so that there is one where overrides cannot be proved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repairsolver.network.gated import NewGate
from repairsolver.network.graph import Network, Node
from repairsolver.repairing.gate.behind import Affine, affine_behind
from repairsolver.repairing.gate.placement import layer_of
from repairsolver.repairing.gate.regions import Place, overlaps
from repairsolver.repairing.gate.scores import samples, scores
from repairsolver.repairing.gate.session import Candidate, Session, prove
from repairsolver.repairing.gate.shield import shield

WIDENINGS = (1.0, 8.0, 64.0)
"""Of the margin: float32 rounds the half-spaces of the layer."""

SHARE, MOST_SECONDS = 0.5, 30.0
"""Of the time that is left, and at most: for one proof."""


def correct_layer(
    session: Session, core: Network, layers: Sequence[Node], places: Sequence[Place]
) -> Candidate | None:
    """A proved correction of a hidden layer in every place; None, with the reason, if there is none."""
    for node in layers:
        through = affine_behind(core, node, layer_of(core, node, np.arange(0)).behind)
        if through is None:
            continue
        for widening in WIDENINGS:
            gates = _gates(session, node, through, places, widening)
            if gates is None:
                session.reasons.append(f"layer {node.layer} cannot be moved into the half-spaces")
                break
            found = prove(session, gates, f"layer {node.layer}, moved", SHARE, most=MOST_SECONDS)
            if found.proved:
                return found
    return None


def _gates(
    session: Session, node: Node, through: Affine, places: Sequence[Place], widening: float
) -> list[NewGate] | None:
    """One gate for every place, and for where regions lie over each other."""
    gates = []
    for place in [*places, *overlaps(session.prop, places)]:
        region = place.demands(session.prop)
        points = samples(session.network, place, region, session.seed)
        change = shield(region, points, scores(session.network, points), through, widening)
        if change is None:
            return None
        gates.append(NewGate(node.name, node.layer, place.lower, place.upper, change))
    return gates
