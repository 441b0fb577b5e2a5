r"""Layers with activations behind them, or several layers: outputs that bend with the change.

For a piecewise-linear network and one layer, the scores at a point are piecewise affine in the change
\(\delta\); for several layers they are polynomial in each piece. Near a change \(\delta_0\)

$$ y(x; \delta) \approx y(x; \delta_0) + J(x; \delta_0) (\delta - \delta_0), $$

exactly so, for one layer, as long as no activation leaves its piece. `Tangent` is this affine model.

Source: Sotoudeh and Thakur, Provable repair of deep neural networks, PLDI 2021, section 4 (pointwise
repair by the Jacobian with respect to the parameters of a layer).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from repairsolver.network.forward import activations
from repairsolver.network.graph import Network
from repairsolver.repairing.delta.derivatives import pull, push
from repairsolver.repairing.delta.unknowns import Block, Parameter
from repairsolver.results import Array


@dataclass(frozen=True, slots=True, eq=False)
class HiddenLayers:
    """The unknowns of one or several layers anywhere in a network.

    Its methods are those of `layer.Layer`; what they need of an input is the input itself.

    Args:
        network: the original one.
        blocks: the unknowns, layer by layer.
        scores: the tensor that rows are about.
    """

    network: Network
    blocks: tuple[Block, ...]
    scores: str
    affine: bool = False

    @property
    def size(self) -> int:
        return sum(block.size for block in self.blocks)

    @property
    def name(self) -> str:
        return ", ".join(block.name for block in self.blocks)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(parameter for block in self.blocks for parameter in block.parameters)

    def gathered(self, arrays: Mapping[str, NDArray[np.floating]]) -> Array:
        return np.concatenate([block.gathered(arrays) for block in self.blocks])

    def parts(self, delta: Array) -> list[Array]:
        """The change of each layer."""
        return np.split(delta, np.cumsum([block.size for block in self.blocks])[:-1])

    def spread(self, values: Array) -> dict[str, Array]:
        """Numbers of the unknowns [unknowns] in arrays that are shaped like the tensors; 0 elsewhere."""
        found: dict[str, Array] = {}
        for block, part in zip(self.blocks, self.parts(values), strict=True):
            full = block.expanded(part)
            found |= {p.source.tensor: full[p.place].reshape(p.stored.shape) for p in block.parameters}
        return found

    def edited(self, delta: Array) -> Network:
        """The network after a change, in float64 and in memory: for forward passes alone."""
        new = {
            block.node.name: replace(block.node, operator=block.edited(part))
            for block, part in zip(self.blocks, self.parts(delta), strict=True)
        }
        return replace(self.network, nodes=tuple(new.get(node.name, node) for node in self.network.nodes))

    def points(self, network: Network, inputs: Array) -> tuple[Array, Array]:
        return inputs, activations(network, inputs)[self.scores]

    def effect(self, hidden: Array, delta: Array) -> Array:
        after = activations(self.edited(delta), hidden)[self.scores]
        return np.asarray(after - activations(self.network, hidden)[self.scores])

    def gradient(self, hidden: Array, readout: Array) -> Array:
        """At no change."""
        return self.tangent(np.zeros(self.size)).gradient(hidden, readout)

    def tangent(self, base: Array) -> Tangent:
        """The affine model at a change."""
        return Tangent(self, base, self.edited(base))

    def magnitude(self, hidden: Array) -> Array:
        """sum_l |dy/dz_l| (|W_l| |h_l| + |b_l|), [b, m], to first order."""
        values = activations(self.network, hidden)
        identity = np.eye(values[self.scores].shape[1])
        names = {block.node.name for block in self.blocks}
        total = np.zeros_like(values[self.scores])
        back = pull(self.network, values, identity, self.scores, names)
        for block in self.blocks:
            terms = block.magnitude(values[block.node.inputs[0]])
            total += np.einsum("bms,bs->bm", np.abs(back[block.node.name]), terms)
        return total

    def changed(self, delta: Array) -> dict[str, NDArray[np.floating]]:
        pairs = zip(self.blocks, self.parts(delta), strict=True)
        return {name: new for block, part in pairs for name, new in block.changed(part).items()}

    def rounded(self, delta: Array) -> Array:
        pairs = zip(self.blocks, self.parts(delta), strict=True)
        return np.concatenate([block.rounded(part) for block, part in pairs])


@dataclass(frozen=True, slots=True, eq=False)
class Tangent:
    """The affine model of the scores at a change `base`; methods as for `layer.Layer`.

    Args:
        edited: the network after that change.
    """

    layers: HiddenLayers
    base: Array
    edited: Network
    affine: bool = True

    @property
    def blocks(self) -> tuple[Block, ...]:
        return self.layers.blocks

    @property
    def scores(self) -> str:
        return self.layers.scores

    @property
    def size(self) -> int:
        return self.layers.size

    @property
    def name(self) -> str:
        return self.layers.name

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.layers.parameters

    def gathered(self, arrays: Mapping[str, NDArray[np.floating]]) -> Array:
        return self.layers.gathered(arrays)

    def points(self, network: Network, inputs: Array) -> tuple[Array, Array]:
        return self.layers.points(network, inputs)

    def effect(self, hidden: Array, delta: Array) -> Array:
        """J delta, without the constant part of the model (see `offset`)."""
        values = activations(self.edited, hidden)
        seeds = {
            block.node.name: block.moved(values[block.node.inputs[0]], part)
            for block, part in zip(self.blocks, self.layers.parts(delta), strict=True)
        }
        return push(self.edited, values, seeds, self.scores)

    def offset(self, hidden: Array) -> Array:
        """What the model adds to the original scores at no change: y(x; base) - y(x; 0) - J base, [b, m]."""
        return np.asarray(self.layers.effect(hidden, self.base) - self.effect(hidden, self.base))

    def gradient(self, hidden: Array, readout: Array) -> Array:
        values = activations(self.edited, hidden)
        names = {block.node.name for block in self.blocks}
        back = pull(self.edited, values, readout, self.scores, names)
        parts = [block.gradient(values[block.node.inputs[0]], back[block.node.name]) for block in self.blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    def magnitude(self, hidden: Array) -> Array:
        return self.layers.magnitude(hidden)

    def changed(self, delta: Array) -> dict[str, NDArray[np.floating]]:
        return self.layers.changed(delta)

    def rounded(self, delta: Array) -> Array:
        return self.layers.rounded(delta)
