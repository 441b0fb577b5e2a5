"""Repair: methods that change a network until it has a property, and prove it."""

from repairsolver.repairing.engine import METHODS as METHODS
from repairsolver.repairing.engine import repair_property as repair_property
from repairsolver.repairing.result import Delta as Delta
from repairsolver.repairing.result import Repair as Repair
from repairsolver.repairing.result import TensorChange as TensorChange
