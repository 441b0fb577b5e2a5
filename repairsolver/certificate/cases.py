"""Networks with gates, case by case: which gates are on in which boxes of inputs.

Every input of a region lies in a box whose gates are those that the input itself switches on: boxes of
what lies outside a gate are closed, so that an input on a face of a gate lies in several boxes, one of them
its own. What is proved in every box, for the network with these gates decided, is proved for every input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from repairsolver.errors import UnsupportedOperatorError
from repairsolver.network.gates import decided, gates_of
from repairsolver.network.graph import Network
from repairsolver.network.operators import Gate
from repairsolver.property.specification import Property, Region
from repairsolver.results import Array

MOST_CELLS = 20_000

Pattern = tuple[bool, ...]
Cell = tuple[Array, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A network whose gates are decided, and the part of a property where they are so.

    Args:
        pattern: which gates are on.
        origin: of which region of the whole property each region is a part.
    """

    network: Network
    prop: Property
    pattern: Pattern
    origin: tuple[int, ...]


def cases(network: Network, prop: Property) -> list[Case]:
    """All cases, in the order in which their patterns occur; a network without gates is the only case.

    Raises:
        UnsupportedOperatorError: the gates cut the regions into too many boxes.
    """
    gates = [node.operator for node in gates_of(network) if isinstance(node.operator, Gate)]
    if not gates:
        return [Case(network, prop, (), tuple(range(len(prop.regions))))]
    parts: dict[Pattern, list[tuple[int, Region]]] = {}
    for number, region in enumerate(prop.regions):
        for (lower, upper), pattern in cells(gates, region.lower, region.upper):
            parts.setdefault(pattern, []).append((number, Region(lower, upper, region.unsafe)))
        if sum(map(len, parts.values())) > MOST_CELLS:
            raise too_many(len(gates))
    return [
        Case(
            decided(network, pattern),
            replace(prop, regions=tuple(region for _, region in part), text=""),
            pattern,
            tuple(number for number, _ in part),
        )
        for pattern, part in parts.items()
    ]


def cells(gates: list[Gate], lower: Array, upper: Array) -> Iterator[tuple[Cell, Pattern]]:
    """The boxes into which gates cut a box, each with the gates that are on there."""
    parts: list[tuple[Cell, Pattern]] = [((lower, upper), ())]
    for gate in gates:
        cut: list[tuple[Cell, Pattern]] = []
        for part, pattern in parts:
            outside = [part]
            for low, high in zip(gate.lower, gate.upper, strict=True):
                pieces = [split(piece, low, high) for piece in outside]
                cut += [(inside, (*pattern, True)) for inside, _ in pieces if inside is not None]
                outside = [piece for _, rest in pieces for piece in rest]
            cut += [(piece, (*pattern, False)) for piece in outside]
            if len(cut) > MOST_CELLS:
                raise too_many(len(gates))
        parts = cut
    yield from parts


def too_many(gates: int) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"{gates} gates cut the property's regions into more than {MOST_CELLS} boxes: verify fewer regions "
        "at once"
    )


def split(box: Cell, low: Array, high: Array) -> tuple[Cell | None, list[Cell]]:
    """What of a box lies in [low, high], and closed boxes that hold all the rest of it.

    Inputs below low[i] lie in the part of the box up to low[i], which is empty where the box begins there.
    """
    lower, upper = box
    if (upper < low).any() or (lower > high).any():
        return None, [box]
    lower, upper, outside = lower.copy(), upper.copy(), []
    for i in range(len(lower)):
        if lower[i] < low[i]:
            below = upper.copy()
            below[i] = low[i]
            outside.append((lower.copy(), below))
            lower[i] = low[i]
        if upper[i] > high[i]:
            above = lower.copy()
            above[i] = high[i]
            outside.append((above, upper.copy()))
            upper[i] = high[i]
    return (lower, upper), outside
