r"""What a float32 execution of a node may add to its exact result: relative * (|M| |x| + |c|) + absolute.

A sum of k products, in any order, errs by at most $\gamma_{k+5}$ of its absolute terms in float32; the spare
roundings are those of `network.float32`. Rearrangements and maxima are exact. All of this is the verifier's
own: the checker of certificates derives its bounds anew, and slightly smaller ones.

Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1.
"""

from __future__ import annotations

import numpy as np

from repairsolver.errors import NetworkError
from repairsolver.network import operators as ops
from repairsolver.network.float32 import SPARE
from repairsolver.network.graph import Node

UNIT = 2.0**-24
# Far above what underflows may add while no number exceeds LARGEST; far below any other rounding.
ABSOLUTE = 1e-17
# What a runtime's sigmoid and tanh are taken to err: 16 roundings of 1.
ELEMENTARY = 2.0**-20
# Numbers that may occur in a network, its tensors on the property's boxes included; and terms of a sum.
LARGEST, TERMS = 2.0**39, 2**21
# Above what the checker's loosest sums add (5 times 2^-20 a layer), and no more: where its bounds differ from
# these, it may take the other slope of a ReLU, and a proof may hang on that.
MARGIN = 1 + 2.0**-16


def roundings(node: Node) -> tuple[float, float]:
    """The relative and the absolute term of a float32 execution of a node.

    Raises:
        NetworkError: its numbers are so large, or its sums so long, that an execution might overflow.
    """
    match node.operator:
        case ops.Dense(weight, bias) | ops.Conv(weight, bias):
            terms = np.count_nonzero(weight.reshape(len(weight), -1), axis=1).max()
            return _sums(node, int(terms), weight, bias)
        case ops.Scale(scale, shift):
            return _sums(node, 1, scale, shift)
        case ops.Sum(coefficients):
            return _sums(node, len(coefficients), np.array(coefficients))
        case ops.LeakyRelu(slope):
            _sums(node, 1, slope)
            return MARGIN * UNIT, ABSOLUTE
        case ops.Sigmoid() | ops.Tanh():
            return 0.0, MARGIN * ELEMENTARY
        case _:
            return 0.0, 0.0


def _sums(node: Node, terms: int, *numbers: np.ndarray) -> tuple[float, float]:
    largest = max(float(np.abs(part).max(initial=0)) for part in numbers)
    if not (largest <= LARGEST and terms + SPARE <= TERMS):
        raise NetworkError(
            f"{node.layer}: it has numbers up to {largest:.3g} and sums of {terms} terms; float32 executions "
            f"are covered up to 2^39 and {TERMS} terms: use arithmetic 'real'"
        )
    share = (terms + SPARE) * UNIT
    return MARGIN * share / (1 - share), ABSOLUTE
