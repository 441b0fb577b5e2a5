"""Exact answers about small piecewise-linear networks, by z3 over the rationals; no code of the engines."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod

import numpy as np
import z3

from layerwise import smt
from repairsolver.network import Network
from repairsolver.network import operators as ops
from repairsolver.network.forward import apply
from repairsolver.network.graph import Node
from repairsolver.property import Property


def linear_parts(node: Node, shapes: list[tuple[int, ...]]) -> tuple[list[np.ndarray], np.ndarray]:
    """The matrices and the constant of a linear node, entry by entry, without any rounding."""
    sizes = [prod(shape) for shape in shapes]
    constant = apply(node, [np.zeros((1, size)) for size in sizes], shapes[0])[0]
    bare = _without_constant(node)
    matrices = []
    for k, size in enumerate(sizes):
        arguments = [np.zeros((size, other)) for other in sizes]
        arguments[k] = np.eye(size)
        matrices.append(apply(bare, arguments, shapes[0]).T)
    return matrices, constant


def _without_constant(node: Node) -> Node:
    operator = node.operator
    match operator:
        case ops.Dense() | ops.Conv():
            operator = replace(operator, bias=np.zeros_like(operator.bias))
        case ops.Scale():
            operator = replace(operator, shift=np.zeros_like(operator.shift))
        case ops.Select():
            operator = replace(operator, fill=np.zeros_like(operator.fill))
    return replace(node, operator=operator)


def outputs(network: Network, x: smt.Terms) -> smt.Terms:
    """The network over exact terms; sigmoid, tanh and softmax have none."""
    values = {network.input_name: x}
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    for node in network.nodes:
        arguments = [values[name] for name in node.inputs]
        values[node.name] = _node(node, arguments, [shapes[name] for name in node.inputs])
    return values[network.output.name]


def _node(node: Node, arguments: list[smt.Terms], shapes: list[tuple[int, ...]]) -> smt.Terms:
    x = arguments[0]
    match node.operator:
        case ops.Relu():
            return smt.relu(x)
        case ops.LeakyRelu(slope):
            return smt.leaky_relu(x, slope)
        case ops.Clip(lower, upper):
            return smt.clip(x, lower, upper)
        case ops.MaxPool(windows):
            return smt.max_pool(x, windows)
        case _:
            matrices, constant = linear_parts(node, shapes)
            whole = np.concatenate(matrices, axis=1)
            return smt.dense([term for block in arguments for term in block], whole, constant)


@lru_cache(maxsize=4)
def _encoded(network: Network) -> tuple[smt.Terms, smt.Terms, list[z3.BoolRef]]:
    """Inputs, outputs and defining equations, one fresh unknown for every tensor's entry."""
    x = smt.variables(network.input_size)
    values, rules = {network.input_name: x}, []
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    for position, node in enumerate(network.nodes):
        terms = _node(node, [values[n] for n in node.inputs], [shapes[n] for n in node.inputs])
        named = smt.variables(len(terms), f"v{position}_")
        rules += [name == term for name, term in zip(named, terms, strict=True)]
        values[node.name] = named
    return x, values[network.output.name], rules


def can_be_violated(network: Network, prop: Property, *, relaxed: float = 0.0) -> bool | None:
    """Whether some input of a region satisfies one of its conjunctions, in exact arithmetic.

    Args:
        relaxed: added to the bounds d: positive asks for a near violation, negative for a clear one.

    Returns:
        None where z3 gives up within its limit of steps.
    """
    x, y, rules = _encoded(network)
    unknown = False
    for region in prop.regions:
        for conjunction in region.unsafe:
            solver = z3.Solver()
            solver.set("rlimit", 3_000_000)
            solver.add(smt.box(x, region.lower, region.upper), *rules)
            eased = replace(conjunction, bound=conjunction.bound + relaxed)
            solver.add(smt.all_rows_hold(y, eased, x))
            answer = solver.check()
            if answer == z3.sat:
                return True
            unknown |= answer == z3.unknown
    return None if unknown else False
