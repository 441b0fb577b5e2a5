r"""The entries of one layer that may change, and how the layer's output depends on them.

With h the layer's input, its output is \(z = (W + \Delta W) h + b + \Delta b\), where the stored entries
are the unknowns: z is affine in the change \(\delta\) of the chosen entries as long as h is constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from layerwise.affine import patch_indices
from repairsolver.network.forward import apply
from repairsolver.network.graph import Node
from repairsolver.network.operators import Conv, Dense, Source
from repairsolver.results import Array

Ids = NDArray[np.int64]

SPARSE = 0.01
"""The share of a dense layer's entries below which a change is a sparse matrix."""


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A tensor of the ONNX file that holds unknowns.

    Args:
        source: where it lives, and how the layer's array comes from it.
        role: "weight" or "bias".
        stored: its values as stored, in the file's layout and element type.
        start: the index of its first entry among all entries of the layer's parameters.
    """

    source: Source
    role: str
    stored: NDArray[np.floating]
    start: int

    @property
    def place(self) -> slice:
        """Its entries among all entries of the layer's parameters."""
        return slice(self.start, self.start + self.stored.size)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The unknowns of one layer.

    Args:
        node: the dense or convolution layer.
        parameters: its tensors that may change, one after another.
        chosen: which of their entries are the unknowns, [size].
        input_shape: of the layer.
    """

    node: Node
    parameters: tuple[Parameter, ...]
    chosen: Ids
    input_shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of unknowns."""
        return len(self.chosen)

    @property
    def name(self) -> str:
        return self.node.layer or self.node.name

    @property
    def operator(self) -> Dense | Conv:
        assert isinstance(self.node.operator, Dense | Conv)
        return self.node.operator

    def gathered(self, arrays: Mapping[str, NDArray[np.floating]]) -> Array:
        """The unknowns' entries [unknowns] of arrays that are shaped like the tensors, by tensor name."""
        parts = [arrays[p.source.tensor].ravel() for p in self.parameters]
        return np.concatenate(parts)[self.chosen].astype(np.float64)

    def expanded(self, delta: Array) -> Array:
        """The change [unknowns] among all entries of the parameters."""
        full = np.zeros(sum(parameter.stored.size for parameter in self.parameters))
        full[self.chosen] = delta
        return full

    def change(self, delta: Array) -> Dense | Conv:
        """The layer's operator with the change [unknowns] in place of its weights and biases."""
        operator, full = self.operator, self.expanded(delta)
        weight, bias = np.zeros_like(operator.weight), np.zeros_like(operator.bias)
        for p in self.parameters:
            part = p.source.factor * full[p.place]
            if p.role == "bias":
                bias = part.reshape(bias.shape)
            elif p.source.transposed:
                weight = part.reshape(weight.shape[::-1]).T
            else:
                weight = part.reshape(weight.shape)
        return replace(operator, weight=weight, bias=bias)

    def edited(self, delta: Array) -> Dense | Conv:
        """The layer's operator after a change [unknowns]."""
        change = self.change(delta)
        operator = self.operator
        return replace(operator, weight=operator.weight + change.weight, bias=operator.bias + change.bias)

    def moved(self, hidden: Array, delta: Array) -> Array:
        """By how much the layer's outputs [b, s] move at its inputs h [b, k] under a change [unknowns]."""
        changed = self.change(delta)
        if self.whole and np.count_nonzero(delta) < SPARSE * self.size:
            columns = np.flatnonzero(changed.weight.any(axis=0))
            few = sparse.csr_array(changed.weight[:, columns])
            return np.asarray((few @ hidden[:, columns].T).T) + changed.bias
        return apply(replace(self.node, operator=changed), [hidden], self.input_shape)

    def magnitude(self, hidden: Array) -> Array:
        """|W| |h| + |b|, [b, s]: how large the terms are that make up the layer's outputs."""
        sizes = replace(self.operator, weight=np.abs(self.operator.weight), bias=np.abs(self.operator.bias))
        return apply(replace(self.node, operator=sizes), [np.abs(hidden)], self.input_shape)

    def gradient(self, hidden: Array, at_layer: Array) -> Array:
        """How functionals of the layer's output change with the unknowns, [b, r, unknowns].

        Args:
            hidden: h, [b, k].
            at_layer: the functionals, [b, r, s], or [1, r, s] if they are the same at all points.
        """
        parts = [self._part(parameter, hidden, at_layer) for parameter in self.parameters]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return whole if len(self.chosen) == whole.shape[2] else whole[:, :, self.chosen]

    def entries(self, hidden: Array, at_layer: Array) -> tuple[Ids, Array]:
        """The columns and values of `gradient` that are not 0, for one input h [k] and functional [s]."""
        if not self.whole:
            dense = self.gradient(hidden[None], at_layer[None, None])[0, 0]
            there = np.flatnonzero(dense)
            return there, dense[there]
        rows, awake = np.flatnonzero(at_layer), np.flatnonzero(hidden)
        outputs, inputs = self.operator.weight.shape
        columns, values = list[Ids](), list[Array]()
        for p in self.parameters:
            if p.role == "bias":
                place, value = rows, at_layer[rows]
            elif p.source.transposed:
                place = (awake[:, None] * outputs + rows).ravel()
                value = np.outer(hidden[awake], at_layer[rows]).ravel()
            else:
                place = (rows[:, None] * inputs + awake).ravel()
                value = np.outer(at_layer[rows], hidden[awake]).ravel()
            columns.append(p.start + place)
            values.append(p.source.factor * value)
        return np.concatenate(columns), np.concatenate(values)

    @property
    def whole(self) -> bool:
        """Whether the unknowns are all entries of a dense layer that reads its input once."""
        plain = isinstance(self.operator, Dense) and prod(self.input_shape) == self.operator.weight.shape[1]
        return plain and self.size == sum(p.stored.size for p in self.parameters)

    def _part(self, parameter: Parameter, hidden: Array, at_layer: Array) -> Array:
        operator, b, r = self.operator, len(hidden), at_layer.shape[1]
        at = np.broadcast_to(at_layer, (b, *at_layer.shape[1:]))
        outputs = operator.weight.shape[0]
        dense = isinstance(operator, Dense)
        if parameter.role == "bias":
            axes = (b, r, -1, outputs) if dense else (b, r, outputs, -1)
            whole = at.reshape(axes).sum(axis=2 if dense else 3)
        elif isinstance(operator, Dense):
            rows = hidden.reshape(b, -1, operator.weight.shape[1])
            whole = np.einsum("brso,bsk->brok", at.reshape(b, r, -1, outputs), rows)
            whole = np.swapaxes(whole, 2, 3) if parameter.source.transposed else whole
        else:
            whole = _filter_gradient(operator, hidden, at, self.input_shape)
        return np.asarray(whole).reshape(b, r, -1) * parameter.source.factor

    def changed(self, delta: Array) -> dict[str, NDArray[np.floating]]:
        """The tensors after a change [unknowns], rounded to the file's element type."""
        full = self.expanded(delta)
        with np.errstate(over="ignore"):  # who puts infinities into a network is refused there
            return {
                p.source.tensor: (p.stored + full[p.place].reshape(p.stored.shape)).astype(p.stored.dtype)
                for p in self.parameters
            }

    def rounded(self, delta: Array) -> Array:
        """The change that is left after rounding to the file's element type, [unknowns]."""
        new = self.changed(delta)
        names = [(p.source.tensor, p.stored) for p in self.parameters]
        return self.gathered({name: new[name].astype(np.float64) - stored for name, stored in names})


def _filter_gradient(conv: Conv, hidden: Array, at_layer: Array, shape: tuple[int, ...]) -> Array:
    """[b, r, o, c / groups * kernel]."""
    b, r, outputs = len(hidden), at_layer.shape[1], conv.weight.shape[0]
    index = patch_indices(
        shape[1:],
        conv.weight.shape[2:],
        strides=conv.strides,
        pads=conv.pads,
        dilations=conv.dilations,
        groups=conv.groups,
    )
    patches = np.where(index >= 0, hidden[:, index], 0.0)
    grouped = at_layer.reshape(b, r, conv.groups, outputs // conv.groups, -1)
    return np.asarray(np.einsum("brgot,bgtk->brgok", grouped, patches)).reshape(b, r, outputs, -1)
