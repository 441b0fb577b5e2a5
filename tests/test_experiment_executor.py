"""Tasks in processes of their own: every end that a process can have is an outcome, and harms no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from repairsolver.errors import ExperimentError, NetworkError
from repairsolver.executors import EXECUTORS, make_executor
from repairsolver.executors.local import Local
from repairsolver.executors.task import Outcome, Task, perform

HERE = f"{Path(__file__).stem}"


def body(files, options, folder):
    """Does what its options say."""
    (folder / "made.txt").write_text(options["do"])
    match options["do"]:
        case "refuse":
            raise NetworkError("not a network")
        case "bug":
            raise KeyError("x")
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "sleep":
            time.sleep(60)
        case "grow":
            held = bytearray(os.urandom(1 << 20) * 3000)
            time.sleep(10 + len(held) * 0)
        case "kill nursery once":
            mark = Path(files["mark"][0])
            if not mark.exists():
                mark.write_text("")
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)
        case "kill nursery":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
    return {"did": options["do"], "threads": os.environ.get("OMP_NUM_THREADS"), "process": os.getpid()}


def task(name: str, do: str, root: Path, **more) -> Task:
    folder = root / name
    folder.mkdir()
    return Task(name, f"{HERE}:body", {"mark": [str(root / "mark")]}, {"do": do}, str(folder), **more)


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.mark.parametrize("name", EXECUTORS)
def test_every_end_is_an_outcome(name, tmp_path):
    if name != "local":
        pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[{name}]'")
    tasks = [
        task("a", "work", tmp_path),
        task("b", "refuse", tmp_path),
        task("c", "bug", tmp_path),
        task("d", "die", tmp_path),
        task("e", "sleep", tmp_path, seconds=0.5),
        task("f", "grow", tmp_path, memory=2 * 2**30),
        task("g", "work", tmp_path),
    ]
    ended = {t.name: outcome for t, outcome in make_executor(name, 2).run(tasks)}
    assert [ended[t.name].reason for t in tasks] == ["", "input", "internal", "crashed", "time", "memory", ""]
    assert {n for n, o in ended.items() if o.state == "done"} == {"a", "g"}
    first, last = ended["a"].record, ended["g"].record
    assert first["did"] == "work"
    assert first["threads"] == "1"
    assert first["process"] not in (last["process"], os.getpid())
    assert 0 <= ended["a"].cpu_seconds < 5
    assert ended["e"].seconds < 5
    assert "signal 11" in ended["d"].message
    for t in tasks:
        # The one that is killed for its time may not have come that far.
        assert t.name == "e" or (Path(t.folder) / "made.txt").exists()
        assert not list(Path(t.folder).glob(".outcome*"))
    assert "KeyError" in (tmp_path / "c" / "log.txt").read_text()


@pytest.mark.parametrize("end", ["refuse", "die", "sleep", "grow"])
def test_processes_stay_until_a_task_fails(end, tmp_path):
    some = [task(str(k), "work", tmp_path, stays=True, memory=2 * 2**30, seconds=5.0) for k in range(2)]
    bad = task("bad", end, tmp_path, stays=True, memory=2 * 2**30, seconds=0.5 if end == "sleep" else 30.0)
    after = task("after", "work", tmp_path, stays=True, memory=2 * 2**30)
    alone = task("alone", "work", tmp_path, memory=2 * 2**30)
    ended = {t.name: outcome for t, outcome in Local(1, warm=False).run([*some, bad, after, alone])}
    processes = [ended[name].record["process"] for name in ("0", "1", "after", "alone")]
    assert processes[0] == processes[1]
    assert len(set(processes)) == 3
    reasons = {"refuse": "input", "die": "crashed", "sleep": "time", "grow": "memory"}
    assert ended["bad"].reason == reasons[end]
    assert ended["bad"].message
    assert 0 <= ended["1"].cpu_seconds <= ended["0"].cpu_seconds + 0.1
    assert all((Path(t.folder) / "log.txt").exists() for t in (*some, bad, after))


def test_a_process_that_stays_and_is_killed_is_replaced(tmp_path):
    executor = Local(1, warm=False)
    processes = []
    with closing(executor):
        for name in "ab":
            executor.start(task(name, "work", tmp_path, stays=True))
            processes.append(executor.ended()[1].record["process"])
            os.kill(processes[-1], signal.SIGKILL)
            while Path(f"/proc/{processes[-1]}").exists():  # its nursery has not seen it yet
                time.sleep(0.01)
    assert processes[0] != processes[1]


def test_a_lost_nursery_loses_nothing(tmp_path):
    tasks = [
        task("a", "kill nursery once", tmp_path),
        task("b", "work", tmp_path),
        task("c", "work", tmp_path),
    ]
    ended = {t.name: outcome for t, outcome in Local(2, warm=False).run(tasks)}
    assert {n: o.state for n, o in ended.items()} == {"a": "done", "b": "done", "c": "done"}


def test_a_task_that_kills_its_nursery_is_lost_alone(tmp_path):
    tasks = [task("a", "kill nursery", tmp_path), task("b", "work", tmp_path)]
    ended = {t.name: outcome for t, outcome in Local(1, warm=False).run(tasks)}
    assert ended["a"].reason == "lost"
    assert ended["b"].state == "done"


def test_closing_ends_what_runs(tmp_path):
    run = Local(2, warm=False).run([task("a", "work", tmp_path), task("b", "sleep", tmp_path)])
    assert next(run)[0].name == "a"
    started = time.monotonic()
    run.close()
    assert time.monotonic() - started < 4


def test_tasks_end_with_who_asked_for_them(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    code = (
        "from repairsolver.executors.local import Local\n"
        "from repairsolver.executors.task import Task\n"
        f"list(Local(1, warm=False).run([Task('a', '{HERE}:watched', {{}}, {{}}, {str(folder)!r})]))"
    )
    asking = subprocess.Popen([sys.executable, "-c", code])
    noted = folder / "process"
    while not noted.exists():
        assert asking.poll() is None
        time.sleep(0.05)
    process = int(noted.read_text())
    asking.kill()
    asking.wait()
    for _ in range(100):
        if not Path(f"/proc/{process}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists()


def watched(files, options, folder):
    (folder / "part").write_text(str(os.getpid()))
    (folder / "part").rename(folder / "process")
    time.sleep(60)
    return {}


def test_tasks_are_json(tmp_path):
    one = task("a", "work", tmp_path, seconds=3.0, memory=5)
    assert Task.from_json(one.to_json()) == one
    assert Outcome(**json.loads(json.dumps(perform(one)))).record["did"] == "work"


@pytest.mark.parametrize(
    ("name", "jobs", "words"), [("cloud", 1, "known are local, ray"), ("local", 0, "at least 1")]
)
def test_what_cannot_run_is_said(name, jobs, words):
    with pytest.raises(ExperimentError, match=words):
        make_executor(name, jobs)
