"""The search over boxes whose packets are examined elsewhere.

The first boxes are examined here, so that what is easy never travels. Then the open boxes are cut into
packets; a worker takes one forward by a number of boxes, and what it leaves open is cut into packets again,
which whoever is free takes next: so work is stolen, and no worker waits while boxes are open. Packets of
packets are taken further, so that all workers soon have some and a long search does not pay for many. How
boxes are cut depends on the boxes alone, not on clocks or on the number of workers, so that the proof is the
same, bit for bit, whoever found it. A packet is part of the state until its result is there: what a lost
worker held is examined again.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from repairsolver.errors import SoundnessError, WorkerError
from repairsolver.executors import Executor
from repairsolver.executors.task import DONE, Outcome, Task
from repairsolver.network.graph import Network
from repairsolver.network.onnx_out import save_network
from repairsolver.property import write_property
from repairsolver.property.specification import Property
from repairsolver.results import Arithmetic
from repairsolver.verification.frontier import Open, merge
from repairsolver.verification.record import property_sha256
from repairsolver.verification.shared.packet import RESULT, Suspects, adopt, read_result, write_packet
from repairsolver.verification.split import InputSplitting, Step

BODY = "repairsolver.verification.shared.worker:search_packet"
HERE = 512
"""Boxes that are examined before packets are made."""

BOXES, MOST_BOXES = 4096, 16384
"""What a first packet is taken forward by; packets of packets twice as far each time, up to the most."""

PIECES, LEAST = 4, 128
"""How many packets the rest of one becomes at most, and of how many boxes at least."""

MOST_FAILURES = 3
"""How often a packet may fail for want of memory or with its process before the search gives up."""

GRACE, ROOM = 30.0, 2e9
"""Seconds and bytes that the process of a packet may take beyond its own limits before it is killed."""

AGAIN = ("crashed", "memory", "lost")


class SharedSplitting:
    """As `InputSplitting`, with rounds that are made elsewhere: `round` waits for the next packet.

    Args:
        search: the search in its first state, with a record.
    """

    def __init__(
        self, search: InputSplitting, executor: Executor, network: Network, prop: Property,
        arithmetic: Arithmetic, memory: float,
    ) -> None:  # fmt: skip
        self.state = self._start = search.state
        self.slack = 0.0
        self._here, self._executor, self._memory = search, executor, memory
        self._asked = {
            "network": network.sha256, "property": property_sha256(prop), "arithmetic": arithmetic,
            "batch": search.batch, "memory": memory,
        }  # fmt: skip
        self._files = network, prop
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._away: dict[str, Open] = {}
        self._budgets: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._sent, self._begun = 0, search.state.examined
        self.spent = 0.0

    @property
    def done(self) -> bool:
        """Whether nothing is left to examine.

        Raises:
            SoundnessError: a box that was made was never examined.
        """
        if self.state.stack:
            return False
        assert self.state.record is not None
        waiting = sum(map(len, self.state.narrow))
        if self.state.examined != self.state.record.boxes:
            raise SoundnessError(
                f"{self.state.record.boxes} boxes were made, {self.state.examined} examined, {waiting} of "
                "them narrow: workers lost some; please report this"
            )
        return True

    def remaining(self) -> Open | None:
        """All boxes that are not proved."""
        parts = self.state.parts
        return merge(parts) if parts else None

    def round(self, until: float = math.inf, *, drop: bool = False) -> list[Step] | list[Suspects]:
        """A round here, while boxes are few; else wait for a packet, and put back what it left."""
        if self._folder is None and self.state.examined - self._begun < HERE:
            self._here.state = self.state
            steps = self._here.round(until, drop=drop)
            self.state = self._here.state
            return steps
        if self._folder is None:
            self._begin()
        self._send(until)
        task, outcome = self._executor.ended()
        return self._returned(task, self._away.pop(task.name), outcome)

    @property
    def account(self) -> str:
        """What was sent, for people; empty if nothing was."""
        workers = f"{self._executor.jobs} worker{'s' * (self._executor.jobs > 1)}"
        told = f"{self._sent} packets of boxes went to {workers}, {self.spent:.2f} s of processor time."
        return told if self._sent else ""

    def close(self) -> None:
        """End what workers still do; their boxes stay open."""
        self._executor.close()
        self._away.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="repairsolver-")
        root, (network, prop) = Path(self._folder.name), self._files
        save_network(network, root / "network.onnx")
        (root / "property.vnnlib").write_text(prop.text or write_property(prop), encoding="utf-8")
        self.state = replace(self.state, stack=tuple(_pieces(list(self.state.stack))))

    def _send(self, until: float) -> None:
        """Give packets to all free workers, the newest first."""
        away = {id(part) for part in self._away.values()}
        waiting = [part for part in self.state.stack if id(part) not in away]
        while waiting and len(self._away) < self._executor.jobs:
            part = waiting.pop()
            self._sent += 1
            name = f"packet-{self._sent}"
            self._away[name] = part
            self._executor.start(self._task(name, part, until))

    def _task(self, name: str, part: Open, until: float) -> Task:
        assert self._folder is not None
        root = Path(self._folder.name)
        folder = root / name
        folder.mkdir()
        packet = root / f"{name}.npz"
        write_packet(part, self._start, packet)
        seconds = None if math.isinf(until) else max(0.0, until - time.monotonic())
        paths = {"network": root / "network.onnx", "property": root / "property.vnnlib", "packet": packet}
        return Task(
            name, BODY, {slot: [str(path)] for slot, path in paths.items()},
            self._asked | {"seconds": seconds, "boxes": self._budget(part)}, str(folder),
            None if seconds is None else seconds + GRACE, int(self._memory + ROOM), stays=True,
        )  # fmt: skip

    def _budget(self, part: Open) -> int:
        return self._budgets.get(int(part.number[0]), BOXES)

    def _returned(self, task: Task, part: Open, outcome: Outcome) -> list[Suspects]:
        """Put a packet's result in its place; one that failed stays open, to be tried again."""
        self.spent += outcome.cpu_seconds or 0.0
        if outcome.state != DONE:
            self._failed(part, outcome)
            return []
        found, suspects = read_result(Path(task.folder) / RESULT, self._start, len(part))
        self._forget(task)
        old = self.state
        assert old.record is not None
        left, narrow = adopt(old.record, part, found)
        pieces = _pieces(left) if left else []
        budget = min(MOST_BOXES, 2 * self._budget(part))
        self._budgets |= {int(piece.number[0]): budget for piece in pieces}
        stack = [other for other in old.stack if other is not part] + pieces
        self.state = replace(
            old, stack=tuple(stack), narrow=(*old.narrow, *narrow), examined=old.examined + found.examined,
            least_proved=min(old.least_proved, found.least_proved), mark=old.record.mark(),
        )  # fmt: skip
        return [suspects]

    def _forget(self, task: Task) -> None:
        """Remove a packet's files, as long searches have very many."""
        shutil.rmtree(task.folder)
        for path in task.files["packet"]:
            Path(path).unlink()

    def _failed(self, part: Open, outcome: Outcome) -> None:
        """Count a failure.

        Raises:
            WorkerError: it was not for want of time, and trying again is of no use.
        """
        if outcome.reason == "time":
            return
        number = int(part.number[0])
        self._failures[number] = self._failures.get(number, 0) + 1
        if outcome.reason not in AGAIN or self._failures[number] > MOST_FAILURES or outcome.reason == "lost":
            lower, upper = part.lower[0].tolist(), part.upper[0].tolist()
            raise WorkerError(
                f"a packet of {len(part)} boxes, the first from {lower} to {upper}, failed "
                f"{self._failures[number]} times ({outcome.reason}): {outcome.message}. Allow more memory, "
                "or verify without workers"
            )


def _pieces(parts: list[Open]) -> list[Open]:
    """Open boxes in packets, in order."""
    whole = merge(parts)
    size = max(LEAST, math.ceil(len(whole) / PIECES))
    return [whole[slice(first, first + size)] for first in range(0, len(whole), size)]
