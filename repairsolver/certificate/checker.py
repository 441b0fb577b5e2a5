"""The checker: replays a certificate's splits and proves every leaf anew, with rigorous rounding.

Nothing in a certificate can make a wrong answer: axes and values say how a box is halved (both halves
are examined whatever they are), weights say which combination of the rows is bounded (any weights that
are at least 0 are sound). All bounds are computed here. They may differ from the prover's, by rounding or
by another slope: some leaves that are not proved at once are halved further, and their halves are leaves.
That is bounded, so that a certificate that proves nothing is soon rejected.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repairsolver.certificate import strategy
from repairsolver.certificate.arithmetic import above, down, frozen, gamma, reach, times
from repairsolver.certificate.bounds import bounded, intervals, pull
from repairsolver.certificate.boxes import Boxes, contract, joined, minimum
from repairsolver.certificate.cases import cases
from repairsolver.certificate.executions import widened
from repairsolver.certificate.format import read_certificate
from repairsolver.certificate.identity import identify
from repairsolver.certificate.layers import layers_of
from repairsolver.certificate.statement import InvalidError, logits, stacked
from repairsolver.certificate.steps import Step
from repairsolver.errors import CertificateError, UnsupportedOperatorError
from repairsolver.network import Network, load_network
from repairsolver.network.float32 import require_float32
from repairsolver.property import Property, check_fits, load_property
from repairsolver.results import COVERED, Array, Certificate, CheckResult

# Boxes examined at once.
BATCH = 128
# Leaves that may be halved further: so many, and so many for each node of the tree.
SPARE, SHARE = 8, 0.5


def check(
    certificate: Certificate | str | Path,
    *,
    network: Network | str | Path,
    property: Property | str | Path,  # noqa: A002
    seconds: float | None = None,
) -> CheckResult:
    """Does a certificate prove that the network has the property?

    Args:
        certificate: as `verify` returned it, or a file.
        network, property: the same as in `verify`; they must be those that the certificate names by hash.
        seconds: give up after this time: the answer is then that nothing is proved.

    Raises:
        NetworkError, PropertyError: a file is malformed, or network and property do not fit.
        OSError: a file cannot be opened.
    """
    started = time.monotonic()
    until = math.inf if seconds is None else started + seconds
    net = network if isinstance(network, Network) else load_network(network)
    prop = property if isinstance(property, Property) else load_property(property)
    check_fits(prop, net)
    try:
        found = certificate if isinstance(certificate, Certificate) else read_certificate(certificate)
        identify(found, net, prop)
        if found.arithmetic != "real":
            require_float32(net)
        with np.errstate(all="ignore"):
            boxes = examine(found, net, prop, until)
    except (InvalidError, CertificateError, UnsupportedOperatorError) as problem:
        return CheckResult(False, str(problem), 0, time.monotonic() - started)
    reason = f"No input of the property's regions violates it: proved anew on {boxes} boxes, "
    return CheckResult(
        True, reason + COVERED[found.arithmetic], boxes, time.monotonic() - started, found.arithmetic
    )


def examine(found: Certificate, network: Network, prop: Property, until: float) -> int:
    """Prove a certificate's forest anew; a network with gates case by case, each with its own trees.

    Returns the number of boxes.

    Raises:
        InvalidError: what is not proved.
    """
    asked = prop if found.arithmetic == "real" else widened(prop)
    parts, boxes, first = cases(network, asked), 0, 0
    whole = replace(asked, regions=tuple(region for case in parts for region in case.prop.regions))
    for case in parts:
        checker = Checker(logits(case.network, whole), whole, found)
        count = sum(len(region.unsafe) for region in case.prop.regions)
        boxes += checker.run(until, np.arange(first, first + count))
        first += count
    return boxes


class Checker:
    """One certificate under examination."""

    def __init__(self, network: Network, prop: Property, certificate: Certificate):
        self.network, self.layers = network, layers_of(network, certificate.arithmetic)
        if not self.layers:
            raise InvalidError("The network has no layers.")
        pairs = [(region, conjunction) for region in prop.regions for conjunction in region.unsafe]
        self.lower = np.array([region.lower for region, _ in pairs]).reshape(-1, prop.input_size)
        self.upper = np.array([region.upper for region, _ in pairs]).reshape(-1, prop.input_size)
        self.rows = stacked([conjunction for _, conjunction in pairs], prop)
        self._adopt(certificate, len(pairs))

    def _adopt(self, certificate: Certificate, roots: int) -> None:
        """The tree: its splits must be as many as its nodes need, at existing axes and finite values."""
        self.axis, self.weights = certificate.axis.astype(np.int64), certificate.weights.astype(np.float64)
        split, value, inputs = self.axis >= 0, certificate.value, self.lower.shape[1]
        shape = roots + 2 * len(value), self.rows[2].shape[1]
        fits = self.axis.shape == shape[:1] and ((self.axis >= -1) & (self.axis < inputs)).all()
        fits = fits and split.sum() == len(value) and np.isfinite(value).all()
        if not (fits and self.weights.shape == shape and ((self.weights >= 0) & (self.weights <= 255)).all()):
            raise InvalidError(
                f"The tree is broken: {len(split)} nodes, {split.sum()} splits, {len(value)} finite values, "
                f"{self.weights.shape} weights from 0 to 255 do not fit {roots} roots of {inputs} inputs."
            )
        if shape[1] == 1:
            self.weights = np.ones(shape)
        self.spare = SPARE + SHARE * len(split)
        # A leaf is its own child: its halves are to be proved as it is.
        self.value, self.child = np.zeros(len(split)), np.arange(len(split))
        # Level by level, the children of the k-th split are nodes roots + 2 k and roots + 2 k + 1.
        self.value[split], self.child[split] = value, roots + 2 * np.arange(len(value))

    def run(self, until: float, roots: NDArray[np.int64]) -> int:
        """Examine the trees of some roots, depth first; how many boxes, or InvalidError at a wrong leaf."""
        examined = 0
        for some in (roots[start : start + BATCH] for start in range(0, len(roots), BATCH)):
            nothing = np.zeros_like(self.lower[some]), np.zeros((len(some), 1))
            known = intervals(self.layers, self.lower[some], self.upper[some])
            left = Boxes(known, *nothing, some, some)
            while len(left):
                if time.monotonic() > until:
                    raise InvalidError(f"The time was up after {examined} boxes.")
                part, rest = left[-BATCH:], left[:-BATCH]
                examined += len(part)
                halves = self._examine(part, until)
                left = joined(rest, halves) if len(rest) else halves
        return examined

    def _examine(self, part: Boxes, until: float) -> Boxes:
        """Prove what can be proved; the halves of the boxes that are left."""
        whole = self.lower[part.query], self.upper[part.query]
        hints = strategy.hints(self.network, *frozen(*part.bounds[0], *whole))
        slope, shift = self.bounds_of_rows(part, bounded(self.layers, part, hints, until))
        proved = (minimum(part, slope[:, -1:], shift[:, -1:]) > 0)[:, 0]
        # The half-space of the box around takes part as one more row.
        slopes = np.concatenate([slope, part.slope[:, None]], axis=1)
        part.narrow(0, contract(part, slopes, np.concatenate([shift, part.shift], axis=1)))
        alive = ~(proved | part.contradictory())
        left = replace(part, slope=slope[:, -1], shift=shift[:, -1:])[alive]
        leaves = left.node[self.axis[left.node] < 0]
        self.spare -= len(leaves)
        if self.spare < 0:
            raise InvalidError(f"Leaf {leaves[0]} is not proved: its rows' combined bound is not positive.")
        return self._halves(left)

    def bounds_of_rows(self, part: Boxes, steps: list[Step]) -> tuple[Array, Array]:
        """Linear bounds of every row g_r(x) = C y + D x - d, and last of their weighted sum."""
        output, inputs, bound = (rows[part.query] for rows in self.rows)
        single = np.broadcast_to(np.eye(bound.shape[1]), (len(part), *output.shape[1:2] * 2))
        combined = np.concatenate([single, self.weights[part.node][:, None]], axis=1)
        # The rounding of the sums, at the largest outputs and inputs.
        size = times(np.abs(output), reach(part.bounds[-1])) + times(np.abs(inputs), reach(part.bounds[0]))
        slip = above(2 * gamma(bound.shape[1]) * (size + np.abs(bound)))
        rows = {len(self.layers): combined @ output, 0: combined @ inputs}
        return pull(steps, part, rows, down(-times(combined, bound + slip)))

    def _halves(self, part: Boxes) -> Boxes:
        """The part of each box up to a value, and that from it on: the tree's, or in a leaf a chosen one."""
        axis, value = strategy.halving(*frozen(part.slope, *part.bounds[0]))
        leaf = self.axis[part.node] < 0
        axis, value = np.where(leaf, axis, self.axis[part.node]), np.where(leaf, value, self.value[part.node])
        here = np.arange(self.lower.shape[1]) == axis[:, None]
        cut = np.where(here, value[:, None], np.nan)
        first, free = self.child[part.node], np.full_like(cut, np.nan)
        both = joined(replace(part, node=first), replace(part, node=first + ~leaf))
        both.narrow(0, (np.concatenate([free, cut]), np.concatenate([cut, free])))
        # A value outside the box leaves one half empty: nothing is to be proved there.
        return both[~both.contradictory()]
