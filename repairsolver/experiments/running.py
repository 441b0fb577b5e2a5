"""Sweeps: many instances, each in a process of its own, kept row by row and resumed where they stopped."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repairsolver.errors import ExperimentError
from repairsolver.executors import Executor, make_executor
from repairsolver.executors.failures import FULL
from repairsolver.executors.task import Outcome, Task
from repairsolver.experiments.experiment import Experiment
from repairsolver.experiments.folder import SCHEMA, Folder, Row
from repairsolver.experiments.instances import Instance, read_instances
from repairsolver.experiments.machine import described, versions
from repairsolver.experiments.planning import Plan, now, row_of
from repairsolver.results import Interrupted
from repairsolver.signatures import typed

OnRow = Callable[[Row, int, int], None]
"""Called with each new row, how many rows there are, and how many there will be."""


@typed
def sweep(
    instances: str | Path | Sequence[Mapping[str, object]],
    out: str | Path,
    *,
    mode: str = "verify",
    jobs: int = 1,
    timeout: float | None = None,
    memory_gb: float | None = None,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    resume: bool = False,
    retry: bool = False,
    executor: str | Executor = "local",
    address: str = "",
    on_row: OnRow | None = None,
) -> Experiment:
    """Verify or repair every instance of a list, each in a process of its own with one thread.

    Rows are on disk as they come. What fails or is killed is a row with its reason; nothing but Ctrl-C and a
    full disk stops the others.

    Args:
        instances: a CSV file (network, property, timeout, as `instances.csv` of VNN-COMP; with a head also
            columns of options), or rows as mappings with such names.
        out: a folder; it gets run.json, results.csv, and a folder of files for each instance.
        mode: "verify" or "repair".
        jobs: how many instances at once.
        timeout: seconds of the instances that say none.
        memory_gb: what the process of an instance may hold; it is killed beyond.
        seed: of the instances that say none.
        options: of the mode, for all instances that do not say otherwise.
        resume: go on with what is in the folder: an instance is run again only if its files, its options or
            the version of repairsolver are others.
        retry: with `resume`, also run again what ended as an error.
        executor: who runs the instances: a name, or an `Executor`.
        address: of the executor's cluster, if it has one.
        on_row: called with each new row.

    Raises:
        ExperimentError: the list is malformed (with all lines), the folder holds another sweep, the disk is
            full, or an argument is wrong.
        OSError: the list cannot be read, or the folder cannot be written to.
        Interrupted: on Ctrl-C, a KeyboardInterrupt whose `result` is the experiment so far.
    """
    given = {"seed": str(seed)} | {name: str(value) for name, value in (options or {}).items()}
    for name, value in (("timeout", timeout), ("memory_gb", memory_gb)):
        if value is not None and not 0 < value < float("inf"):
            raise ExperimentError(f"{name} must be above 0, got {value}")
    runner = make_executor(executor, jobs, address) if isinstance(executor, str) else executor
    listed = read_instances(instances, mode, given)
    folder = Folder(Path(out))
    plan = Plan(folder, mode, timeout, memory_gb)
    with folder.locked():
        tasks = plan.tasks(listed)
        before, kept, replaced = _sorted_out(folder, mode, tasks, resume, retry)
        done = {row["folder"] for row in kept}
        todo = {name: pair for name, pair in tasks.items() if name not in done}
        run = _Run(folder, _account(instances, mode, jobs, executor, plan, given), before)
        run.begin(kept, replaced)
        return run.go(runner, todo, kept, on_row)


def _sorted_out(
    folder: Folder, mode: str, tasks: Mapping[str, tuple[Instance, Task]], resume: bool, retry: bool
) -> tuple[list[Any], list[Row], list[Row]]:
    """Earlier runs; the rows that stay; and those that are replaced.

    Raises:
        ExperimentError: the folder holds a sweep, and is not to be resumed; or another one.
    """
    told = folder.told()
    if told is None:
        if folder.results.exists():
            raise ExperimentError(f"{folder.path}: holds results.csv without run.json; choose another folder")
        return [], [], []
    if not resume:
        raise ExperimentError(
            f"{folder.path}: holds a sweep already; resume it (--resume, resume=True), "
            "or choose another folder"
        )
    if told.get("mode") != mode:
        raise ExperimentError(
            f"{folder.path}: holds a sweep of mode {told.get('mode')}, not {mode}; choose another folder"
        )
    rows, names = folder.rows(), {one.names for one, _ in tasks.values()}
    if rows and not any((row["onnx"], row["vnnlib"]) in names for row in rows):
        raise ExperimentError(
            f"{folder.path}: holds a sweep of {told.get('instances') or 'other instances'}, none of which is "
            "in this list; choose another folder"
        )
    hashes = {task.options["sha256"] for _, task in tasks.values()}
    parted: dict[bool, list[Row]] = {True: [], False: []}
    for row in rows:
        parted[row["sha256"] in hashes and not (retry and row["result"] == "error")].append(row)
    return told["runs"], parted[True], parted[False]


def _account(
    source: object, mode: str, jobs: int, executor: object, plan: Plan, given: Mapping[str, str]
) -> dict[str, Any]:
    """What run.json says of a sweep, but for its runs."""
    path = Path(source) if isinstance(source, str | Path) else None
    return {
        "schema": SCHEMA,
        "mode": mode,
        "instances": None if path is None else str(path),
        "instances_sha256": None if path is None else hashlib.sha256(path.read_bytes()).hexdigest(),
        "options": dict(given),
        "timeout": plan.timeout,
        "memory_gb": plan.memory_gb,
        "seed": int(given["seed"]),
        "jobs": jobs,
        "executor": executor if isinstance(executor, str) else type(executor).__name__,
        "machine": described(),
        "versions": versions(),
    }


class _Run:
    """One run of a sweep, from its first row to its account."""

    def __init__(self, folder: Folder, account: dict[str, Any], before: list[Any]) -> None:
        self.folder, self._account, self._before = folder, account, before
        self._started, self._clock = now(), time.perf_counter()

    def begin(self, kept: list[Row], replaced: list[Row]) -> None:
        """Make the folder ready."""
        self.folder.clear()
        self._tell("running", 0, len(kept))
        self.folder.begin(kept, replaced)

    def go(
        self,
        runner: Executor,
        todo: Mapping[str, tuple[Instance, Task]],
        kept: list[Row],
        on_row: OnRow | None,
    ) -> Experiment:
        """Run what is to be done."""
        rows, total, state = list(kept), len(todo) + len(kept), "failed"
        outcomes = runner.run(self._tasks(todo))
        try:
            for task, outcome in outcomes:
                row = row_of(todo[task.name][0], task, outcome)
                self._keep(row, outcome, len(rows))
                rows.append(row)
                if on_row is not None:
                    on_row(row, len(rows), total)
            state = "finished"
        except KeyboardInterrupt:
            # one may be on disk that was not counted yet
            state, rows = "interrupted", self.folder.rows()
            raise Interrupted(self._experiment(rows, len(kept), total)) from None
        finally:
            _close(outcomes)
            self.folder.clear()
            # on a full disk there is no room for this either, and the rows are what counts
            with contextlib.suppress(OSError) if state == "failed" else contextlib.nullcontext():
                self._tell(state, len(rows) - len(kept), len(kept))
        return self._experiment(rows, len(kept), total)

    def _tasks(self, todo: Mapping[str, tuple[Instance, Task]]) -> Iterator[Task]:
        for name, (_, task) in todo.items():
            self.folder.part(name)
            yield task

    def _keep(self, row: Row, outcome: Outcome, count: int) -> None:
        full = f"{self.folder.path}: the disk is full; rows kept: {count}; make room, and resume"
        if outcome.reason == "disk":
            raise ExperimentError(f"{full} ({outcome.message})")
        try:
            self.folder.finish(row["folder"])
            self.folder.add(row)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise ExperimentError(full) from error

    def _experiment(self, rows: list[Row], kept: int, total: int) -> Experiment:
        seconds = time.perf_counter() - self._clock
        return Experiment(self.folder.path, tuple(rows), len(rows) - kept, kept, total, seconds)

    def _tell(self, state: str, ran: int, kept: int) -> None:
        end = None if state == "running" else now()
        this = {"start": self._started, "end": end, "state": state, "jobs": self._account["jobs"]}
        this |= {"ran": ran, "kept": kept}
        self.folder.tell(self._account | {"runs": [*self._before, this]})


def _close(outcomes: Iterator[tuple[Task, Outcome]]) -> None:
    """End what an executor still runs."""
    close = getattr(outcomes, "close", None)
    if close is not None:
        close()
