"""How much the rounding of float32 executions takes off the bounds of a certificate's leaves."""

from __future__ import annotations

import math

import numpy as np

from repairsolver.certificate.boxes import Boxes
from repairsolver.certificate.checker import Checker
from repairsolver.certificate.layers import layers_of
from repairsolver.certificate.statement import InvalidError
from repairsolver.certificate.steps import Step, stepped
from repairsolver.network import Network
from repairsolver.property import Property
from repairsolver.results import Array, Certificate


class Measuring(Checker):
    """A checker that bounds the rows of every box twice, with the same lines: with and without rounding."""

    def __init__(self, network: Network, prop: Property, certificate: Certificate):
        super().__init__(network, prop, certificate)
        self.executed, self.exact = self.layers, layers_of(network)
        self.errors: list[float] = []

    def bounds_of_rows(self, part: Boxes, steps: list[Step]) -> tuple[Array, Array]:
        slope, shift = super().bounds_of_rows(part, steps)
        self.layers = self.exact
        exact = [stepped(layer, [part.bounds[k] for k in layer.inputs]) for layer in self.exact]
        plain = super().bounds_of_rows(part, exact)
        self.layers = self.executed
        several = self.rows[2].shape[1] > 1
        weight = self.weights[part.node].sum(axis=1) if several else np.ones(len(part))
        leaf = (self.axis[part.node] < 0) & (weight > 0)
        self.errors += ((plain[1] - shift)[leaf, -1] / weight[leaf]).tolist()
        return slope, shift


def errors_of(network: Network, prop: Property, certificate: Certificate) -> list[float] | None:
    """What is taken off at each leaf, for weights that sum to 1; None if the certificate is rejected."""
    checker = Measuring(network, prop, certificate)
    try:
        with np.errstate(all="ignore"):
            checker.run(math.inf, np.arange(len(checker.lower)))
    except InvalidError:
        return None
    return checker.errors
