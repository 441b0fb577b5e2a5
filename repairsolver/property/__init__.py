"""Properties: specification, VNN-LIB in and out, builders, point sets."""

from repairsolver.property.builders import (
    local_robustness,
    not_maximal,
    not_minimal,
    output_order,
    output_range,
)
from repairsolver.property.files import check_fits, load_property, parse_property
from repairsolver.property.points import PointSet, load_points
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.property.vnnlib_out import save_property, write_property

__all__ = [
    "Conjunction",
    "PointSet",
    "Property",
    "Region",
    "check_fits",
    "load_points",
    "load_property",
    "local_robustness",
    "not_maximal",
    "not_minimal",
    "output_order",
    "output_range",
    "parse_property",
    "save_property",
    "write_property",
]
