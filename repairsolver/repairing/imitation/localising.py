"""Localisation by itself: which neurons are responsible, without a repair."""

from __future__ import annotations

from repairsolver.decision import Decision
from repairsolver.errors import PointSetError
from repairsolver.network.graph import Network
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.repairing.imitation.behaviour import collect
from repairsolver.repairing.imitation.options import Imitation
from repairsolver.repairing.imitation.responsibility import Localisation, responsibility
from repairsolver.verification.query import strip_softmax


def localise_neurons(
    network: Network,
    prop: Property,
    measure: str,
    given: tuple[PointSet | None, PointSet | None],
    how: Imitation,
    *,
    decision: Decision,
    seed: int,
) -> Localisation:
    """Rank neurons on points (negatives, positives) that are given, or sampled.

    Raises:
        PointSetError: no negatives were found.
    """
    core, _ = strip_softmax(network, prop)
    behaviours = collect(network, prop, *given, how, decision=decision, seed=seed)
    if not len(behaviours.negatives):
        raise PointSetError(
            f"{prop.name}: no sample and no attack found an input that violates it, so that no neuron is "
            "responsible for anything: give negatives, or look harder with `repairsolver falsify`"
        )
    return responsibility(core, behaviours, measure)
