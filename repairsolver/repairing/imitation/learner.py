"""A network whose chosen weights are torch tensors that gradients reach, and its way back into the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, TensorNode, tensor_graph
from repairsolver.network import replace_parameters
from repairsolver.network.graph import Network
from repairsolver.repairing.delta.unknowns import Block
from repairsolver.repairing.imitation.descent import Adam
from repairsolver.results import Array

RATE = 1e-3
"""Step of Adam, as a share of the root mean square of a tensor's entries."""


class Learner:
    """Changes of the chosen entries, in float32.

    Args:
        network: whose file is written.
        core: what is computed, without a final softmax.
        blocks: the entries that may change.
    """

    def __init__(self, network: Network, core: Network, blocks: Sequence[Block]) -> None:
        self.network, self.blocks = network, tuple(blocks)
        self.base = tensor_graph(core, torch.float32)
        self.free, self.change, self.size = {}, {}, {}
        for block in blocks:
            chosen = block.expanded(np.ones(block.size))
            for p in block.parameters:
                name, shape = p.source.tensor, p.stored.shape
                self.free[name] = torch.tensor(chosen[p.place].reshape(shape), dtype=torch.float32)
                self.change[name] = torch.zeros(shape, requires_grad=True)
                self.size[name] = float(np.sqrt(np.square(p.stored.astype(np.float64)).mean())) or 1.0

    def optimiser(self) -> Adam:
        """Adam, with steps in proportion to the tensors' entries."""
        return Adam(self.change, {name: RATE * size for name, size in self.size.items()})

    def graph(self) -> TensorGraph:
        """The network after the change, differentiable in it."""
        new = {block.node.name: self._parameters(block) for block in self.blocks}
        nodes = (self._renewed(node, new) for node in self.base.nodes)
        return replace(self.base, nodes=tuple(nodes))

    def _renewed(self, node: TensorNode, new: dict[str, dict[str, Tensor]]) -> TensorNode:
        return replace(node, parameters=node.parameters | new[node.name]) if node.name in new else node

    def _parameters(self, block: Block) -> dict[str, Tensor]:
        node = next(node for node in self.base.nodes if node.name == block.node.name)
        found = {}
        for p in block.parameters:
            moved = p.source.factor * self.change[p.source.tensor] * self.free[p.source.tensor]
            old = node.parameters[p.role]
            if p.source.transposed and moved.dim() > 1:
                moved = moved.transpose(-1, -2)
            found[p.role] = old + moved.reshape(old.shape)
        return found

    def outputs(self, points: Tensor) -> Array:
        """Outputs [b, m] without gradients, in float64."""
        with torch.no_grad():
            graph = self.graph()
            return np.concatenate([graph.forward(part).double().numpy() for part in points.split(8192)])

    def snapshot(self) -> dict[str, Tensor]:
        """The change so far."""
        return {name: change.detach().clone() for name, change in self.change.items()}

    def written(self, snapshot: dict[str, Tensor]) -> Network:
        """The network read back from its file after a change."""
        tensors = {}
        for block in self.blocks:
            for p in block.parameters:
                moved = (snapshot[p.source.tensor] * self.free[p.source.tensor]).double().numpy()
                tensors[p.source.tensor] = (p.stored + moved).astype(p.stored.dtype)
        return replace_parameters(self.network, tensors)
