"""Several properties at once: their union describes all that is wrong, so proving it proves each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from repairsolver.errors import PropertyError
from repairsolver.network.gated import asked_of
from repairsolver.network.graph import Network
from repairsolver.property import parse_property, write_property
from repairsolver.property.specification import Property


def asked_before(network: Network, given: Sequence[Property]) -> list[Property]:
    """What a network's gates were put in for, unless it is among the properties given.

    Raises:
        EditError, PropertyError: the file's record of it cannot be read.
    """
    text = asked_of(network)
    if not text or any(prop.text == text for prop in given):
        return []
    return [parse_property(text, name="what earlier gates are for")]


def united(properties: Sequence[Property]) -> Property:
    """The property that is violated where any of these is.

    Raises:
        PropertyError: there is none, or their inputs or outputs differ in number.
    """
    if not properties:
        raise PropertyError("no property is given: nothing says what is to be repaired")
    first = properties[0]
    if len(properties) == 1:
        return first
    sizes = [f"{p.name}: {p.input_size} -> {p.output_size}" for p in properties]
    if len({(p.input_size, p.output_size) for p in properties}) > 1:
        raise PropertyError(f"properties of different sizes cannot be repaired at once: {', '.join(sizes)}")
    regions = tuple(region for p in properties for region in p.regions)
    both = Property(
        regions, first.input_size, first.output_size, name=" and ".join(p.name for p in properties)
    )
    return replace(both, text=write_property(both))
