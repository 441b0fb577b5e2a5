"""What a worker does with a packet: the ordinary search, until it has examined so many boxes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from repairsolver.bounds.tensors import tensor_graph
from repairsolver.certificate.executions import widened
from repairsolver.errors import TreeError
from repairsolver.network import load_network
from repairsolver.property import load_property
from repairsolver.verification.engine import single_threaded
from repairsolver.verification.frontier import State
from repairsolver.verification.query import queries, strip_softmax
from repairsolver.verification.record import property_sha256
from repairsolver.verification.shared.packet import RESULT, Suspects, read_packet, write_result
from repairsolver.verification.split import InputSplitting, Step

MOST_SUSPECTS = 8
"""Points that are handed back."""

_made: dict[tuple[Any, ...], tuple[InputSplitting, State]] = {}
"""The last search that was asked for: the packets that a process gets are nearly always of one."""


def search_packet(files: Mapping[str, list[str]], options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Take the search of a packet forward; the result in the folder, its size as the record.

    Args:
        options: boxes (how many to examine), seconds (left, or None), memory (bytes), batch, arithmetic,
            and the SHA-256 of network and property.
    """
    seconds = options["seconds"]
    until = time.monotonic() + (float("inf") if seconds is None else seconds)
    with single_threaded():
        search, start = _search(files, options)
        search.state = read_packet(Path(files["packet"][0]), start)
        seen = _none(search)
        while not search.done and search.state.examined < options["boxes"]:
            # The first round always counts, so that packets with little time come forward, too.
            seen = _hottest(seen, search.round(until, drop=search.state.examined > 0))
            if time.monotonic() >= until or bool((seen.point_slack >= 0).any()):
                break
    write_result(search.state, seen, folder / RESULT)
    return {"examined": search.state.examined, "open": search.state.count}


def _search(files: Mapping[str, list[str]], options: Mapping[str, Any]) -> tuple[InputSplitting, State]:
    """The search that packets are of, made once in a process, and its first state."""
    asked = tuple(options[name] for name in ("network", "property", "arithmetic", "batch", "memory"))
    if asked not in _made:
        _made.clear()
        search = _new_search(files, options)
        _made[asked] = search, search.state
    return _made[asked]


def _new_search(files: Mapping[str, list[str]], options: Mapping[str, Any]) -> InputSplitting:
    """The search before any packet.

    Raises:
        TreeError: network or property are not those that were meant.
    """
    network = load_network(files["network"][0])
    prop = load_property(files["property"][0], network=network)
    if (network.sha256, property_sha256(prop)) != (options["network"], options["property"]):
        raise TreeError("a packet came with another network or property than it is about")
    arithmetic = options["arithmetic"]
    core, prop = strip_softmax(network, prop)
    asked = queries(prop if arithmetic == "real" else widened(prop), "cpu")
    graph = tensor_graph(core, torch.float64, "cpu", arithmetic)
    return InputSplitting(graph, asked, batch=options["batch"], memory=options["memory"], record=True)


def _none(search: InputSplitting) -> Suspects:
    lower = search.queries.lower[:0]
    return Suspects(lower, torch.zeros(0, dtype=torch.int64), lower.new_zeros(0))


def _hottest(seen: Suspects, steps: list[Step]) -> Suspects:
    """The most suspicious points so far."""
    points = torch.cat([seen.points, *(step.points for step in steps)])
    which = torch.cat([seen.point_query, *(step.point_query for step in steps)])
    slack = torch.cat([seen.point_slack, *(step.point_slack for step in steps)])
    top = slack.argsort(descending=True, stable=True)[:MOST_SUSPECTS]
    return Suspects(points[top], which[top], slack[top])
