"""Properties: specification, VNN-LIB in and out, builders, point sets."""

from repairsolver.property.files import check_fits, load_property, parse_property
from repairsolver.property.specification import Conjunction, Property, Region

__all__ = [
    "Conjunction",
    "Property",
    "Region",
    "check_fits",
    "load_property",
    "parse_property",
]
