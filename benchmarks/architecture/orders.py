"""Orders in which repairs may be shown; that in use is by price, without those that have an edit too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from repairsolver.architecture.transitions import Step


@dataclass(frozen=True)
class Order:
    """A way to order repairs.

    Args:
        name: what it is called.
        arrange: from repairs in the order of their prices to the order in which they are shown.
        spare: whether repairs with an edit that is not needed are shown too.
    """

    name: str
    arrange: Callable[[Sequence[Step]], list[Step]]
    spare: bool = False


def _does(way: Step) -> Counter[tuple[str, str]]:
    """What a repair does: its operations with the names of what they set or insert, and how often."""
    return Counter((edit.operation, edit.name) for edit in way.edits if edit.cost)


def more_last(steps: Sequence[Step]) -> list[Step]:
    """The same repairs; those that do what an earlier one does, and more besides, come last.

    Whoever turns down a repair will hardly take it with another edit on top.
    """
    seen: list[Counter[tuple[str, str]]] = []
    first: list[Step] = []
    last: list[Step] = []
    for way in steps:
        ours = _does(way)
        (last if any(other < ours for other in seen) else first).append(way)
        seen.append(ours)
    return [*first, *last]


def kinds_first(steps: Sequence[Step]) -> list[Step]:
    """The cheapest repair of every kind, then the others; a kind is what repairs do, but for where."""
    seen: list[object] = []
    first: list[Step] = []
    last: list[Step] = []
    for way in steps:
        kind = _does(way)
        (last if kind in seen else first).append(way)
        seen.append(kind)
    return [*first, *last]


def _both(steps: Sequence[Step]) -> list[Step]:
    return kinds_first(more_last(steps))


ORDERS = (
    Order("price, all", list, spare=True),
    Order("price", list),
    Order("more comes last", more_last),
    Order("kinds first", kinds_first),
    Order("kinds first, more comes last", _both),
)
"""All that were tried: the folds choose (`tuning`)."""
IN_USE = next(order for order in ORDERS if order.arrange is list and not order.spare)
"""What the package does."""
