r"""A change of hidden layers for many regions with few inputs, found by training at their worst points.

Where boxes are small in number of inputs, the verifier closes the gap between points and boxes by splitting,
so that nothing but the worst point of every box has to be learnt. With a moving set of points \(x_{qi}\)
that climb towards the violation of query q, minimised is, by gradient steps on the change \(\delta\) alone,

$$ \frac{1}{Q}\sum_q \omega_q
   \bigl([m - \min_i g_q(x_{qi})]_+ + \theta \tfrac1R \sum_i [m - g_q(x_{qi})]_+\bigr)
   + \kappa \sum_k [\text{need}_k - \text{row}_k(\delta)]_+ + \lambda \lVert \delta / \sigma \rVert^2, $$

with g the best row of a conjunction, the points to keep and to repair in the second sum, and weights
\(\omega_q\) that grow where a violation stays. It proves nothing, and is no least change.

Source: Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, TensorNode, tensor_graph
from repairsolver.network.graph import Network
from repairsolver.network.operators import Conv, Dense
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.training import RowPoints, row_points
from repairsolver.repairing.delta.unknowns import Parameter
from repairsolver.results import Array
from repairsolver.verification.query import Queries, queries, slack, strip_softmax

RATE = 1e-2
"""Of Adam, as a share of the root mean square of a tensor's entries; it falls to 0 along a cosine, with the
steps or with the time, whichever runs out first."""

POINTS, CLIMBS = 8, 4
"""Points for every query, and the gradient steps that they climb between two changes."""

ALL = 0.3
"""Theta: the weight of all points, beside the worst one of a query."""

KEEP, SAMPLED = 0.5, 1000
"""Kappa, over the mean of the points; and how many of them take part in a step."""

PULL = 1e-4
"""Lambda, over the mean of the squares."""

NEAR, LOOK = 4.0, 10
"""Queries whose value is above so many margins are left in peace, but for every tenth step."""

SETTLED = 5
"""So many looks at everything that find nothing missing end the training."""

PATIENCE, GROWTH, MOST = 100, 1.5, 10.0
"""After so many steps the weights of queries that are still violated grow by this factor, up to the most."""


class WorstPoints:
    """A change in training; it goes on from where it is.

    Args:
        margin: m, in the units of the property's rows.
        reach: the largest change of an entry, [unknowns] or one number.
    """

    def __init__(
        self,
        network: Network,
        prop: Property,
        requirements: Requirements,
        *,
        margin: float,
        reach: Array,
        seed: int,
    ) -> None:
        assert isinstance(requirements.layer, HiddenLayers)
        core, stripped = strip_softmax(network, prop)
        self.layer, self.margin = requirements.layer, margin
        self.graph = tensor_graph(core, torch.float32)
        self.network, self.owner = network, _owners(stripped)
        self.queries: Queries = queries(stripped, "cpu", torch.float32)
        self.kept: RowPoints | None = row_points(requirements, margin)
        self.generator = torch.Generator().manual_seed(seed)
        self.stored = {p.source.tensor: p for p in self.layer.parameters}
        self.change = {
            name: torch.zeros(p.stored.shape, requires_grad=True) for name, p in self.stored.items()
        }
        self.size = {name: _size(p) for name, p in self.stored.items()}
        self.limit = self.layer.spread(np.broadcast_to(np.asarray(reach, dtype=np.float64), self.layer.size))
        self.at = self._random(torch.arange(len(self.queries)))
        self.weight = torch.ones(len(self.queries))
        self.lowest = torch.full((len(self.queries),), -torch.inf)

    def ask(self, prop: Property) -> None:
        """Go on for another property: points, weights and what is known begin anew, the change stays."""
        _, stripped = strip_softmax(self.network, prop)
        self.owner = _owners(stripped)
        self.queries = queries(stripped, "cpu", torch.float32)
        self.at = self._random(torch.arange(len(self.queries)))
        self.weight = torch.ones(len(self.queries))
        self.lowest = torch.full((len(self.queries),), -torch.inf)

    def losses(self) -> tuple[Tensor, Tensor]:
        """What the points to keep lack, and what each query lacks of `NEAR` margins, weighted."""
        graph, everything = self._changed(), torch.arange(len(self.queries))
        self._climb(graph, everything)
        value = self._value(graph, everything, self.at)
        near = torch.relu(NEAR * self.margin - value.amin(dim=1))
        return self._lacking(graph, everywhere=True), self.weight * near

    def slope(self, loss: Tensor) -> Tensor:
        """The gradient of a loss by the change, [entries]; the graph is kept for others."""
        parts = torch.autograd.grad(loss, list(self.change.values()), retain_graph=True, allow_unused=True)
        pairs = zip(parts, self.change.values(), strict=True)
        return torch.cat([(torch.zeros_like(d) if part is None else part).flatten() for part, d in pairs])

    def run(self, steps: int, until: float) -> None:
        """So many steps, unless the time is up before."""
        with torch.inference_mode(False), torch.enable_grad():
            groups = [{"params": [d], "lr": RATE * self.size[name]} for name, d in self.change.items()]
            adam = torch.optim.Adam(groups)
            begun = time.monotonic()

            def rate(number: int) -> float:
                return _cosine(number, steps, begun, until)

            cooling = torch.optim.lr_scheduler.LambdaLR(adam, rate)
            settled = 0
            for number in range(1, steps + 1):
                if time.monotonic() > until or settled == SETTLED:
                    return
                missing, pull = self._loss(everywhere=number % LOOK == 0)
                loss = missing + PULL * pull
                if number % LOOK == 0:
                    settled = settled + 1 if float(missing.detach()) == 0 else 0
                adam.zero_grad()
                loss.backward()
                adam.step()
                cooling.step()
                self._clip()
                if number % PATIENCE == 0:
                    grown = torch.where(self.lowest <= 0, self.weight * GROWTH, self.weight)
                    self.weight = grown.clamp(max=MOST)

    def visit(self, inputs: Array) -> None:
        """Let points of the queries that these inputs [b, n] lie in go on from there."""
        for row in torch.tensor(inputs, dtype=torch.float32):
            inside = ((row >= self.queries.lower) & (row <= self.queries.upper)).all(dim=1)
            self.at[inside, 0] = row

    def delta(self) -> Array:
        return self.layer.gathered({name: d.detach().numpy() for name, d in self.change.items()})

    def _loss(self, *, everywhere: bool) -> tuple[Tensor, Tensor]:
        """What is missing, over the queries that matter, and the size of the change."""
        near = self.lowest < NEAR * self.margin
        chosen = torch.arange(len(near)) if everywhere or not bool(near.any()) else near.nonzero()[:, 0]
        graph = self._changed()
        self._climb(graph, chosen)
        value = self._value(graph, chosen, self.at[chosen])
        lowest = value.amin(dim=1)
        self.lowest[chosen] = lowest.detach()
        short = torch.relu(self.margin - lowest) + ALL * torch.relu(self.margin - value).mean(dim=1)
        pull = torch.stack([(d / self.size[name]).square().mean() for name, d in self.change.items()]).sum()
        missing = (self.weight[chosen] * short).sum() / len(self.queries)
        return missing + KEEP * self._lacking(graph), pull

    def _value(self, graph: TensorGraph, chosen: Tensor, points: Tensor) -> Tensor:
        """g at points [c, POINTS, n] of the chosen queries, positive where there is no violation."""
        flat = points.flatten(0, 1)
        index = chosen.repeat_interleave(POINTS)
        return -slack(self.queries, index, flat, graph.forward(flat)).reshape(-1, POINTS)

    def _climb(self, graph: TensorGraph, chosen: Tensor) -> None:
        """Every second point starts anew; all climb a little."""
        fixed = _detached(graph)
        at = self.at[chosen]
        at[:, POINTS // 2 :] = self._random(chosen)[:, POINTS // 2 :]
        lower, upper = self.queries.lower[chosen].unsqueeze(1), self.queries.upper[chosen].unsqueeze(1)
        for step in range(CLIMBS):
            at.requires_grad_()
            (slope,) = torch.autograd.grad(self._value(fixed, chosen, at).sum(), at)
            moved = at.detach() - 0.25 * 0.8**step * (upper - lower) * slope.sign()
            at = torch.minimum(torch.maximum(moved, lower), upper)
        self.at[chosen] = at

    def _random(self, chosen: Tensor) -> Tensor:
        """Random points of queries, [c, POINTS, n]."""
        lower, upper = self.queries.lower[chosen].unsqueeze(1), self.queries.upper[chosen].unsqueeze(1)
        share = torch.rand((len(chosen), POINTS, lower.shape[2]), generator=self.generator)
        return lower + share * (upper - lower)

    def _lacking(self, graph: TensorGraph, *, everywhere: bool = False) -> Tensor:
        """By how much (a sample of) the points to keep and to repair fall short, on average."""
        kept = self.kept
        if kept is None:
            return torch.zeros(())
        chosen = torch.arange(len(kept.inputs))
        if not everywhere:
            chosen = torch.randint(len(kept.inputs), (SAMPLED,), generator=self.generator)
        values = graph.forward(kept.inputs[chosen])
        rows = (kept.readout[chosen] @ values.unsqueeze(2)).squeeze(2) + kept.shift[chosen]
        return torch.relu(kept.need[chosen].unsqueeze(1) - rows).sum(dim=1).mean()

    def _changed(self) -> TensorGraph:
        """The graph with the change, which it can be differentiated by."""
        moved = {block.node.name: block.parameters for block in self.layer.blocks}
        nodes = [
            replace(node, parameters=self._moved(node, moved[node.name])) if node.name in moved else node
            for node in self.graph.nodes
        ]
        return replace(self.graph, nodes=tuple(nodes))

    def _moved(self, node: TensorNode, parameters: tuple[Parameter, ...]) -> dict[str, Tensor]:
        assert isinstance(node.operator, Dense | Conv)
        new = dict(node.parameters)
        for p in parameters:
            part = p.source.factor * self.change[p.source.tensor]
            new[p.role] = new[p.role] + (part.T if p.source.transposed else part).reshape(new[p.role].shape)
        return new

    def _clip(self) -> None:
        with torch.no_grad():
            for name, change in self.change.items():
                limit = torch.tensor(self.limit[name], dtype=torch.float32)
                change.clamp_(-limit, limit)


def _owners(prop: Property) -> list[int]:
    """The region of every query."""
    return [number for number, region in enumerate(prop.regions) for _ in region.unsafe]


def _cosine(number: int, steps: int, begun: float, until: float) -> float:
    """What the rate is multiplied by after some of the steps, at this moment."""
    spent = 0.0 if np.isinf(until) else (time.monotonic() - begun) / max(until - begun, 1e-9)
    return float((1 + np.cos(np.pi * min(1.0, max(spent, number / steps)))) / 2)


def _detached(graph: TensorGraph) -> TensorGraph:
    nodes = [
        replace(node, parameters={name: value.detach() for name, value in node.parameters.items()})
        for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes))


def _size(parameter: Parameter) -> float:
    return float(np.sqrt(np.square(parameter.stored.astype(np.float64)).mean())) or 1.0
