"""Live progress on stderr: a spinner and a bar on a terminal, one plain line per step elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from repairsolver.results import Event

SECONDS_BETWEEN_LINES = 1.0


class ProgressReport:
    """A context manager that shows events; call it with each event.

    Args:
        console: where to write; a terminal gets the live display.
        quiet: show nothing (the last event of each stage is remembered all the same).
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._last: dict[str, Event] = {}
        self._printed = 0.0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        new_stage = event.stage not in self._last
        self._last[event.stage] = event
        done = event.numbers.get("proved_volume")
        self._bar.update(
            self._task,
            description=f"{event.stage}: {event.message}",
            total=None if done is None else 1.0,
            completed=done or 0.0,
        )
        now = time.monotonic()
        plain = not self._quiet and not self._console.is_terminal
        if plain and (new_stage or now - self._printed >= SECONDS_BETWEEN_LINES):
            self._printed = now
            self._line(event)

    @property
    def started(self) -> bool:
        """Whether there was any event."""
        return bool(self._last)

    def summary(self) -> None:
        """What was reached: the last event of every stage, in order of first appearance."""
        for event in self._last.values():
            self._line(event)

    def _line(self, event: Event) -> None:
        self._console.print(str(event), markup=False, highlight=False, soft_wrap=True)
