r"""Training on points that are preferred to be right: where a search for the least change may end.

Squares of what rows lack are ruled by the points that cannot be won, and squares of moved scores by
scores that decide nothing. With y the scores at no change, T a share of the median lead, and the rows r of
preferred points, lowered is instead

$$ \frac{T^2}{N} \sum_x KL(\sigma(y/T) \,\|\, \sigma(y(\delta)/T))
   + \frac{T^2}{\kappa} \sum_k \pi_k^2 \log\Bigl(1 + \sum_r e^{-row_{kr}(\delta)/T}\Bigr)
   + \tfrac12 \sum_k \pi_k^2 s_k^2 + \rho\, T \sum_k s_k, $$

the third sum over soft points to keep, the last one over points that must be right, by what the worst
row of each falls short. It is a penalty that is exact for a finite weight. The prices \(\pi\) are those of
`merit`, and T² gives all terms its units.

Sources: Hinton, Vinyals and Dean, Distilling the knowledge in a neural network, 2015, section 2; Nocedal and
Wright, Numerical Optimization, 2006, section 17.2 (exact penalties).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from repairsolver.repairing.delta.merit import Ids, Merit
from repairsolver.repairing.delta.requirements import Group, Requirements
from repairsolver.results import Array

TEMPERATURE = 0.15
"""T, as a share of the median lead of the decisions at the samples."""

PRICED = 20.0
"""Kappa."""

FIRST = 0.3
"""Rho at first, over the number of points that must be right."""

MENDED = 1000
"""The most preferred points at which mending keeps behaviour."""


@dataclass(slots=True, eq=False)
class Distillation(Merit):
    """The sum of the module's formula, in place of that of `merit`; points to keep are samples, too."""

    def __post_init__(self) -> None:
        Merit.__post_init__(self)
        groups = self.problem.requirements.groups.items()
        kept = [self.places[name] for name, group in groups if group.kept]
        self.samples = np.unique(np.concatenate([self.samples, *kept]))

    @property
    def temperature(self) -> float:
        return TEMPERATURE * self.squares.lead or self.margin or 1.0

    @property
    def sign(self) -> int:
        """-1 where the least score decides."""
        signs = [group.beats[1] for group in self.problem.requirements.groups.values() if group.beats]
        return signs[0] if signs else 1

    def pull(self, delta: Array) -> Array:
        """Nothing: steps are few, and start from no change."""
        return np.zeros_like(delta)

    def loss(self, moved: Array, rows: Ids) -> float:
        """The first three terms, estimated from the change of the scores [b, m] at some of the inputs."""
        position = self.positions(rows)
        at = position[self.samples]
        at = at[at >= 0]
        heat, before = self.sign / self.temperature, self.tail.scores[rows][at]
        old, new = (log_softmax(heat * y, axis=1) for y in (before, before + moved[at]))
        total = float((np.exp(old) * (old - new)).sum() / max(len(at), 1)) * self.temperature**2
        for name, group in self.problem.requirements.groups.items():
            inside = position[self.places[name]] >= 0
            if np.isinf(group.penalty) or not inside.any():
                continue
            values = group.slack[inside] + moved[position[self.places[name]][inside]] @ group.readout.T
            if group.strict:
                padded = np.hstack([np.zeros((len(values), 1)), -values / self.temperature])
                paid = self._price(group) * self.temperature * float(logsumexp(padded, axis=1).sum())
            else:
                short = self.wished(group)[inside, None] - values
                paid = 0.5 * group.penalty**2 * float((np.maximum(short, 0.0) ** 2).sum())
            total += len(inside) / inside.sum() * paid
        return total

    def wrong(self, moved: Array, rows: Ids) -> int:
        """How many points to repair are wrong, of which all have to be among the inputs."""
        position, count = self.positions(rows), 0
        for name, group in self.problem.requirements.groups.items():
            if group.strict and np.isinf(group.penalty):
                values = group.slack + moved[position[self.places[name]]] @ group.readout.T
                count += int((group.reached(values) < group.floor).sum())
        return count

    def pressed(self, moved: Array, weight: float, rows: Ids) -> Array:
        """The sum's derivative by the scores at the rows, [b, m]."""
        position, pressed = self.positions(rows), np.zeros_like(moved)
        here = position[self.samples]
        at = here[here >= 0]
        heat, before = self.sign / self.temperature, self.tail.scores[rows]
        change = softmax(heat * (before + moved)[at], axis=1) - softmax(heat * before[at], axis=1)
        pressed[at] += self.sign * self.temperature * change / max(len(at), 1)
        for name, group in self.problem.requirements.groups.items():
            inside = position[self.places[name]] >= 0
            if not inside.any():
                continue
            at = position[self.places[name]][inside]
            values = group.slack[inside] + moved[at] @ group.readout.T
            force = self._force(group, self.wished(group)[inside, None] - values, values, weight)
            np.subtract.at(pressed, at, len(inside) / inside.sum() * force @ group.readout)
        return pressed

    def _force(self, group: Group, short: Array, values: Array, weight: float) -> Array:
        """How strongly each row [b, r] is pulled up."""
        if np.isinf(group.penalty):
            worst = short.argmax(axis=1) if group.every else self.chosen(group, short).argmax(axis=1)
            deciding = np.arange(short.shape[1])[None] == worst[:, None]
            return np.asarray(weight * self.temperature * (deciding & (short > 0)))
        if not group.strict:
            return group.penalty**2 * np.maximum(short, 0.0)
        padded = np.hstack([np.zeros((len(values), 1)), -values / self.temperature])
        return np.asarray(self._price(group) * softmax(padded, axis=1)[:, 1:])

    def _price(self, group: Group) -> float:
        return group.penalty**2 / PRICED * self.temperature


def anchored(merit: Merit, delta: Array) -> Merit:
    """The least change of behaviour from a change, at samples and preferred points; only hard rows count."""
    groups = merit.problem.requirements.groups
    hard = {name: group for name, group in groups.items() if np.isinf(group.penalty)}
    soft = [group.inputs for group in groups.values() if group.preferred]
    preferred = np.concatenate(soft)
    chosen = np.random.default_rng([merit.problem.seed, 4]).permutation(len(preferred))[:MENDED]
    inputs = np.concatenate([merit.squares.inputs, preferred[np.sort(chosen)]])
    given = merit.problem.requirements
    requirements = Requirements(given.network, given.layer, hard)
    problem = replace(merit.problem, requirements=requirements, _rows={}, _active={})
    return Merit(problem, merit.layer, replace(merit.squares, inputs=inputs), merit.shared, delta)
