"""Packets: some open boxes as a search of their own, as a file; and what a worker made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from repairsolver.verification.frontier import Open, State
from repairsolver.verification.input_tree import from_arrays, to_arrays
from repairsolver.verification.record import Record, Splits
from repairsolver.verification.tree import require

RESULT = "result.npz"
"""What a worker leaves in the folder of its task."""

SUSPECTS = ("points", "which", "slack")


@dataclass(frozen=True, slots=True, eq=False)
class Suspects:
    """The most suspicious points of a packet: violating where the slack is at least 0."""

    points: Tensor
    point_query: Tensor
    point_slack: Tensor


def write_packet(part: Open, start: State, path: Path) -> None:
    """Boxes as a search that begins with them.

    Args:
        start: a new state of the search that they are of.
    """
    record = Record(len(part))
    part = replace(part, number=torch.arange(len(part)))
    state = replace(start, stack=(part,), narrow=(), record=record, mark=record.mark())
    np.savez(path, allow_pickle=False, **to_arrays(state))


def read_packet(path: Path, start: State) -> State:
    """The search of a packet, and how far it was taken.

    Raises:
        TreeError: the file fits neither the search nor itself.
    """
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return from_arrays(arrays, start, path.name, roots=len(arrays["open_query"]))


def write_result(state: State, suspects: Suspects, path: Path) -> None:
    """What a worker made of a packet."""
    found = (suspects.points, suspects.point_query, suspects.point_slack)
    arrays = to_arrays(state) | {n: t.cpu().numpy() for n, t in zip(SUSPECTS, found, strict=True)}
    np.savez(path, allow_pickle=False, **arrays)


def read_result(path: Path, start: State, roots: int) -> tuple[State, Suspects]:
    """What a worker made of a packet of so many boxes.

    Raises:
        TreeError: the file fits neither the search nor itself.
    """
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    require(arrays.keys() >= set(SUSPECTS), path.name, "suspicious points are missing")
    points, which, slack = (torch.tensor(arrays.pop(name)) for name in SUSPECTS)
    shapes = points.shape == (len(which), start.queries.lower.shape[1]) and slack.shape == which.shape
    require(shapes and bool(((which >= 0) & (which < len(start.queries))).all()), path.name, "points")
    return from_arrays(arrays, start, path.name, roots=roots), Suspects(points, which, slack)


def adopt(whole: Record, packet: Open, found: State) -> tuple[list[Open], list[Open]]:
    """Enter what was found about a packet into the record of the whole; what is open, and what is narrow.

    The worker numbered its boxes from 0: first the packet's, then children as they came, as the record does.
    """
    assert found.record is not None
    numbers = packet.number
    for made, _ in found.record.splits:
        first = whole.split(Splits(numbers[made.parent], made.axis, made.value))
        numbers = torch.cat([numbers, torch.arange(first, whole.boxes)])
    for number, used in found.record.weights:
        whole.weights.append((numbers[number], used))
    return _renumbered(found.stack, numbers), _renumbered(found.narrow, numbers)


def _renumbered(parts: Iterable[Open], numbers: Tensor) -> list[Open]:
    return [replace(part, number=numbers[part.number]) for part in parts if len(part)]
