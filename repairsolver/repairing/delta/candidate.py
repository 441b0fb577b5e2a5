"""From a change of the unknowns to a network on file, and back to what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from repairsolver.network import replace_parameters
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.layer import Layer
from repairsolver.repairing.result import Delta, TensorChange
from repairsolver.results import Array, Verdict, VerifyStatus


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A repaired network that may or may not be proved.

    Args:
        network: read back from the changed ONNX file.
        delta: the change after rounding, [unknowns].
        cost: the objective at it.
        margin: what the program was asked for.
        verdict: of the verification, if there was one.
    """

    network: Network
    delta: Array
    cost: float
    margin: float
    verdict: Verdict | None = None

    @property
    def proved(self) -> bool:
        return self.verdict is not None and self.verdict.status is VerifyStatus.HOLDS


def make_candidate(
    network: Network,
    layer: Layer,
    delta: Array,
    cost: Callable[[Array], float],
    margin: float,
) -> Candidate:
    """Round a change, write it into the file, and read the network back."""
    rounded = layer.rounded(delta)
    tensors = layer.changed(delta)
    stored = {p.source.tensor: p.stored for p in layer.parameters}
    changed = {name: new for name, new in tensors.items() if not np.array_equal(new, stored[name])}
    written = replace_parameters(network, changed) if changed else network
    return Candidate(written, rounded, cost(rounded), margin)


def edit_of(network: Network, layer: Layer, delta: Array) -> Delta:
    """The change as tensors of the file."""
    tensors = layer.changed(delta)
    changes = tuple(
        TensorChange(
            p.source.tensor, block.name, p.role, p.stored, tensors[p.source.tensor], p.source.transposed
        )
        for block in layer.blocks
        for p in block.parameters
        if not np.array_equal(tensors[p.source.tensor], p.stored)
    )
    return Delta(changes, network.sha256)


def tightened(prop: Property, margin: float) -> Property:
    """The property that also counts inputs as violations that miss one by less than the margin."""
    regions = tuple(
        replace(r, unsafe=tuple(replace(c, bound=c.bound + margin) for c in r.unsafe)) for r in prop.regions
    )
    return Property(regions, prop.input_size, prop.output_size, name=f"{prop.name} with margin {margin:.3g}")
