"""Which output a repair takes for the decision, where the caller leaves it open, and what its answer says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from repairsolver.decision import ASKED, OUTPUT, Decision, Side, picked
from repairsolver.errors import EditError
from repairsolver.metrics import evaluate
from repairsolver.network.graph import Network
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.property.spoken import spoken_of
from repairsolver.repairing.result import Repair

OTHER = (
    "Fidelity compares the largest outputs, but the property says which output is, or is not, the smallest. "
    'If the smallest one is the decision: decision="min" (--decision min).'
)
OPEN = (
    "Decision: the property does not tell whether it is the largest or the smallest output, so both are kept "
    "as far as possible and measured, and the worse one counts (--decision max or min to change)."
)
OPPOSITE: dict[Side, Side] = {"max": "min", "min": "max"}


@dataclass(frozen=True, slots=True)
class Settled:
    """The decision that a repair works with, and why, where the caller did not say."""

    decision: Decision
    remark: str = ""

    def told(self, fix: Repair, prop: Property) -> Repair:
        """The repair with the decision and one remark on it, where anything was measured by it."""
        remark, kept = self.remark, fix.fidelity
        if not remark and self.decision == "max" and spoken_of(prop) == "min":
            remark = OTHER if kept is not None and kept.agreement is not None else ""
        if (kept is None or kept.agreement is None) and fix.core is None:
            remark = ""
        remarks = fix.remarks if not remark or remark in fix.remarks else (*fix.remarks, remark)
        return replace(fix, decision=self.decision, remarks=remarks)


def settle(
    asked: str,
    network: Network,
    prop: Property | None,
    points: Sequence[PointSet | None] = (),
    keep: PointSet | None = None,
) -> Settled:
    """What is asked for; of "auto" what labels of points to keep, then the property, then other labels tell.

    Points to keep have their labels already, of largest or of smallest outputs. Other labels are of largest
    ones, as in classification. Where nothing tells, both decisions count.

    Raises:
        EditError: no such decision; or both, with labels, which are of one.
    """
    if asked not in ASKED:
        raise EditError(f"unknown decision {asked!r}: choose one of {', '.join(ASKED)}")
    labelled = [given for given in (*points, keep) if given is not None and given.labels is not None]
    if asked == "both" and labelled:
        raise EditError(
            f"{labelled[0].name}: labels are of one decision, but decision is 'both': choose max or min"
        )
    if asked == "max" or asked == "min" or asked == "both":
        return Settled(asked)
    if network.output_size < 2:
        return Settled("max")
    if (side := _of_labels(network, keep)) is not None:
        return _inferred(side, "of which more points to keep have their label")
    if prop is not None and (side := spoken_of(prop)) is not None:
        return _inferred(side, "as the property speaks of it")
    if labelled:
        return _inferred("max", "as usual for labels")
    # Of two outputs one is the smallest where the other one is the largest.
    return Settled("both", OPEN) if network.output_size > 2 else Settled("max")


def _inferred(side: Side, why: str) -> Settled:
    return Settled(side, f"Decision: {OUTPUT[side]}, {why} (--decision {OPPOSITE[side]} to change).")


def _of_labels(network: Network, keep: PointSet | None) -> Side | None:
    """The decision under which more points to keep have their label."""
    if keep is None or keep.labels is None or keep.inputs.shape[1:] != (network.input_size,) or not len(keep):
        return None
    chosen = picked(evaluate(network, keep.inputs), "both")
    largest, smallest = (np.equal(chosen, np.reshape(keep.labels, (-1, 1)))).sum(axis=0)
    return None if largest == smallest else "max" if largest > smallest else "min"
