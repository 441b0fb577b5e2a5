"""Falsification: samples, output-diverse starts, projected gradients, and moves that need no gradient."""

from repairsolver.verification.attack.ascent import ascend as ascend
from repairsolver.verification.attack.effort import Effort as Effort
from repairsolver.verification.attack.schedule import attack as attack
from repairsolver.verification.attack.schedule import climb_from as climb_from
