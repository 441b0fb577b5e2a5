"""The nodes of an ONNX graph that its output needs, in topological order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from onnx import AttributeProto, GraphProto, NodeProto

from repairsolver.errors import NetworkError


def in_order(graph: GraphProto, input_name: str, name: str) -> list[NodeProto]:
    """The nodes that the output needs, each after those that it reads.

    Raises:
        NetworkError: a tensor has two origins or none, or the graph has a cycle.
    """
    stored = Counter(tensor.name for tensor in graph.initializer)
    several = sorted(tensor for tensor, n in stored.items() if n > 1)
    if several:
        raise NetworkError(f"{name}: tensors {several} are stored more than once; export the network again")
    known = {input_name, *stored}
    makers = origins(graph, name)
    twice = sorted(known & makers.keys())
    if twice:
        raise NetworkError(f"{name}: tensors {twice} are stored or given, but also computed by a node")
    needed = ancestors(graph, makers)
    undefined = {
        f"{tensor!r} (read by {described(graph.node[i])})"
        for i in needed
        for tensor in reads(graph.node[i])
        if tensor and tensor not in known and tensor not in makers
    }
    if graph.output[0].name not in known and graph.output[0].name not in makers:
        undefined.add(f"the output {graph.output[0].name!r}")
    if undefined:
        raise NetworkError(f"{name}: nothing in the file defines {', '.join(sorted(undefined))}")
    readers = {i: [makers[t] for t in reads(graph.node[i]) if t in makers] for i in needed}
    try:
        return [graph.node[i] for i in TopologicalSorter(readers).static_order()]
    except CycleError as error:
        around = [described(graph.node[i]) for i in error.args[1]]
        raise NetworkError(f"{name}: the graph has a cycle: {' -> '.join(around)}") from error


def origins(graph: GraphProto, name: str) -> dict[str, int]:
    """Which node makes each tensor."""
    counts = Counter(out for node in graph.node for out in node.output if out)
    twice = sorted(tensor for tensor, n in counts.items() if n > 1)
    if twice:
        raise NetworkError(f"{name}: tensors {twice} are computed by more than one node")
    return {out: i for i, node in enumerate(graph.node) for out in node.output if out}


def ancestors(graph: GraphProto, makers: Mapping[str, int]) -> list[int]:
    """The nodes that the output depends on, in the order of the file."""
    found: set[int] = set()
    pending: list[str] = [graph.output[0].name]
    while pending:
        maker = makers.get(pending.pop())
        if maker is not None and maker not in found:
            found.add(maker)
            pending.extend(reads(graph.node[maker]))
    return sorted(found)


def branches(node: NodeProto) -> dict[str, GraphProto]:
    """The graphs inside a node, by the names of its attributes."""
    return {a.name: a.g for a in node.attribute if a.type == AttributeProto.GRAPH}


def reads(node: NodeProto) -> list[str]:
    """The tensors that a node reads, those of the graphs inside of it that come from outside included."""
    found = list(node.input)
    for graph in branches(node).values():
        own = {tensor.name for tensor in (*graph.initializer, *graph.input)}
        own |= {tensor for inner in graph.node for tensor in inner.output}
        wanted = [tensor for inner in graph.node for tensor in reads(inner)]
        wanted += [value.name for value in graph.output]
        found += [tensor for tensor in wanted if tensor not in own]
    return found


def described(node: NodeProto) -> str:
    """How messages name a node."""
    return f"{node.op_type} node {(node.name or ', '.join(node.output))!r}"
