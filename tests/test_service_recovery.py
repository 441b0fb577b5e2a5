"""Sudden ends: of the server, of a job's process, of both, of the disk's room. Nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from service_server import NET, PROP, TOKEN, Server, serving, slow_property

from repairsolver.service.app import create_app
from repairsolver.service.dispatcher import Dispatcher
from repairsolver.service.folder import Folder, take_lock
from repairsolver.service.settings import Settings
from repairsolver.service.store import State, Store, question
from repairsolver.service.worker import failure, work

FILES = {"network": NET, "property": PROP}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests, on one folder, however often they kill it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPAIRSOLVER_TREE_SECONDS", "0.2")
        with serving(tmp_path_factory.mktemp("recovery")) as started:
            yield started


def slow_job(server: Server, folder: Path) -> str:
    """A new job that takes seconds."""
    files = {"network": NET, "property": slow_property(folder)}
    name: str = server.submit("verify", files, fresh="true").json()["id"]
    return name


def quick_job(server: Server) -> str:
    """A new job that takes no time."""
    name: str = server.submit("verify", FILES, fresh="true").json()["id"]
    return name


def process_of(server: Server, job: str, before: int | None = None) -> int:
    """The process of a job, once it works on it; another one than before."""
    folder = Folder(server.data / "jobs" / job)
    end = time.monotonic() + 90
    while folder.process() in (None, before) or b"split" not in newest_run(folder):
        assert time.monotonic() < end
        time.sleep(0.02)
    process = folder.process()
    assert process is not None
    return process


def newest_run(folder: Folder) -> bytes:
    return folder.events.read_bytes().rpartition(b'"start"')[2] if folder.events.exists() else b""


def test_jobs_survive_every_sudden_end(server: Server, tmp_path: Path) -> None:
    """One job is slow; the server, then the job's process is killed, then the server stopped; others wait."""
    first = slow_job(server, tmp_path)
    waiting = [quick_job(server) for _ in range(3)]
    folder = Folder(server.data / "jobs" / first)
    process = process_of(server, first)
    os.kill(process, signal.SIGSTOP)  # it would not wait for us
    server.kill()
    os.kill(process, 0)  # the job's process lives on
    server.start()
    assert server.job(first)["state"] == "running"
    assert folder.process() == process
    os.killpg(process, signal.SIGKILL)
    folder.events.write_bytes(
        folder.events.read_bytes() + b'{"stage": "spl'
    )  # as a kill within a line leaves it
    process_of(server, first, process)
    assert server.job(first)["restarts"] == 1
    server.kill(signal.SIGTERM)
    assert folder.tree.exists()
    server.start()
    job = server.ended(first)
    assert (job["state"], job["answer"], job["restarts"]) == ("done", "unsat", 1), job
    assert [server.ended(name)["answer"] for name in waiting] == ["sat"] * 3
    record = server.client.get(f"/api/jobs/{first}/files/result.json").json()
    assert record["status"] == "holds"
    assert any("tree" in note for note in record["notes"]), record["notes"]
    assert not folder.tree.exists()
    assert all(json.loads(line) for line in folder.events.read_text().splitlines())


def test_a_process_that_dies_twice_is_given_up_and_the_next_job_runs(server: Server, tmp_path: Path) -> None:
    name = slow_job(server, tmp_path)
    process = process_of(server, name)
    os.killpg(process, signal.SIGKILL)
    os.killpg(process_of(server, name, process), signal.SIGKILL)
    job = server.ended(name)
    assert (job["state"], job["reason"]) == ("failed", "crash"), job
    assert server.ended(quick_job(server))["answer"] == "sat"


def test_after_a_kill_a_job_goes_on_from_what_it_saved_meanwhile(server: Server, tmp_path: Path) -> None:
    """Server and process get SIGKILL at work, so that nobody saves at the end: only the clock has."""
    name = slow_job(server, tmp_path)
    folder = Folder(server.data / "jobs" / name)
    end = time.monotonic() + 90
    while not folder.tree.exists():
        assert time.monotonic() < end, server.job(name)
        time.sleep(0.005)
    process = folder.process()
    assert process is not None
    server.kill()
    os.killpg(process, signal.SIGKILL)
    with np.load(folder.tree, allow_pickle=False) as tree:
        saved = sum(tree[name].size for name in tree.files if name != "head")
    assert saved > 0
    assert not folder.results.exists()
    server.start()
    job = server.ended(name)
    assert (job["state"], job["answer"]) == ("done", "unsat"), job
    notes = server.client.get(f"/api/jobs/{name}/files/result.json").json()["notes"]
    assert any(note.startswith("Continued from ") for note in notes), notes


def test_the_end_of_the_nursery_ends_no_job(server: Server, tmp_path: Path) -> None:
    name = slow_job(server, tmp_path)
    process = process_of(server, name)
    os.kill(process, signal.SIGSTOP)
    nursery = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(nursery, signal.SIGKILL)
    os.kill(process, signal.SIGCONT)
    job = server.ended(name)
    assert server.ended(quick_job(server))["answer"] == "sat"
    assert (job["answer"], job["restarts"]) == ("unsat", 0)


def test_after_a_crash_of_everything_nothing_is_lost(tmp_path: Path, store: Store) -> None:
    """What a server finds at its start: results, no process, no files, and a folder that was never a job."""
    jobs = tmp_path / "jobs"
    for name in ("finished", "dead", "empty", "waiting"):
        store.add(name, name, request())
    for _ in range(3):
        store.claim()
    for name in ("finished", "dead", "waiting", "stray"):
        request_in(jobs / name)
    Folder(jobs / "finished").finish({"state": "done", "reason": "", "message": "", "answer": "sat"})
    (jobs / "empty").mkdir()
    Dispatcher(Settings(tmp_path), store, jobs)._recover()
    rows = {name: store.get(name) or {} for name in ("finished", "dead", "empty", "waiting")}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"finished": "done", "dead": "queued", "empty": "failed", "waiting": "queued"}
    assert rows["finished"]["answer"] == "sat"
    assert not (jobs / "stray").exists()
    assert (store.claim() or {})["id"] == "dead"


@contextlib.contextmanager
def small_disk(size: int) -> Iterator[None]:
    """A limit on the size of files stands for a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    app = create_app(Settings(tmp_path, token=TOKEN))
    files = {"network": ("x.onnx", b"\0" * 3_000_000), "property": ("p.vnnlib", b"")}

    async def post() -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as client:
            return await client.post("/api/jobs/verify", files=files)

    with small_disk(2_000_000):
        refused = asyncio.run(post())
    assert refused.status_code == 507, refused.text
    assert "disk" in refused.json()["detail"]
    assert list((tmp_path / "incoming").iterdir()) == []
    assert asyncio.run(post()).status_code == 201
    app.state.desk.store.close()


def request_in(folder: Path, property_: Path = PROP) -> Folder:
    """The folder of a job to verify the bundled network."""
    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs" / "network.onnx").write_bytes(NET.read_bytes())
    (folder / "inputs" / "property.vnnlib").write_bytes(property_.read_bytes())
    files = {slot: [{"name": stored, "stored": stored}] for slot, stored in
             (("network", "network.onnx"), ("property", "property.vnnlib"))}  # fmt: skip
    (folder / "request.json").write_text(
        json.dumps({"kind": "verify", "options": {"seconds": 20}, "files": files})
    )
    return Folder(folder)


def test_a_job_without_room_for_its_results_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = request_in(tmp_path / "job")
    monkeypatch.chdir(tmp_path)
    with small_disk(30_000), pytest.raises(OSError, match="File too large"):
        work(folder)
    assert folder.outcome() is None
    assert work(folder) == 0
    outcome = folder.outcome()
    assert outcome is not None
    assert (outcome["state"], outcome["answer"]) == ("done", "sat")


def test_results_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.begin()
    (folder.unfinished / "result.json").write_text("{}")
    assert (folder.outcome(), folder.made()) == (None, [])
    folder.begin()
    assert list(folder.unfinished.iterdir()) == []
    folder.finish({"state": "done"})
    assert folder.outcome() == {"state": "done"}


def test_a_lock_tells_whether_a_process_lives(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert not folder.alive()
    lock = take_lock(folder)
    assert lock is not None
    assert folder.alive()
    assert take_lock(folder) is None
    os.close(lock)
    assert not folder.alive()


def test_torn_events_are_cut_off(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.events.write_bytes(b'{"stage": "a"}\n{"sta')
    folder.begin()
    assert folder.events.read_bytes() == b'{"stage": "a"}\n'
    folder.events.write_bytes(b'{"sta')
    folder.begin()
    assert folder.events.read_bytes() == b""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory"),
        (RecursionError("maximum recursion depth exceeded"), "input"),
        (KeyError("x"), "internal"),
    ],
)
def test_failures_have_a_reason(error: Exception, reason: str) -> None:
    assert failure(error)["reason"] == reason
    assert failure(error)["message"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    yield opened
    opened.close()


def request(kind: str = "verify") -> dict[str, Any]:
    return {"kind": kind, "options": {}, "files": {}}


def test_one_question_has_one_job_at_a_time(store: Store) -> None:
    assert store.add("a", "q", request()) is not None
    assert store.add("b", "q", request()) is None
    assert store.claim() is not None
    store.end("a", State.FAILED, reason="crash")
    assert store.same("q") is None
    assert store.add("c", "q", request()) is not None


def test_the_oldest_is_first_and_keeps_its_place(store: Store) -> None:
    for name in "abc":
        store.add(name, name, request())
    first = store.claim()
    assert first is not None
    store.requeue(first["id"], crashes=1)
    again = store.claim()
    assert again is not None
    assert (again["id"], again["crashes"]) == ("a", 1)
    assert store.cancel("b") is not None
    last = store.claim()
    assert last is not None
    assert last["id"] == "c"
    assert store.claim() is None


def test_what_has_ended_stays_as_it_ended(store: Store) -> None:
    store.add("a", "q", request())
    store.claim()
    store.end("a", State.DONE, answer="sat")
    store.end("a", State.FAILED)
    store.cancel("a")
    store.requeue("a", crashes=0)
    row = store.get("a")
    assert row is not None
    assert (row["state"], row["answer"]) == ("done", "sat")
    assert store.remove("a")
    assert not store.remove("a")


def test_questions_differ_by_everything_that_matters() -> None:
    base = question("verify", {"network": ["a"], "property": ["b"]}, {"seed": 0})
    assert base == question("verify", {"property": ["b"], "network": ["a"]}, {"seed": 0})
    others = [
        question("repair", {"network": ["a"], "property": ["b"]}, {"seed": 0}),
        question("verify", {"network": ["b"], "property": ["a"]}, {"seed": 0}),
        question("verify", {"network": ["a"], "property": ["b"]}, {"seed": 1}),
    ]
    assert len({base, *others}) == 4
