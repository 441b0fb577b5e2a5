"""Run the family: `python -m benchmarks.service [PART ...] [--jobs N] [--clients N] [--kills N]`."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median, quantiles

from benchmarks.record import Recorder, data_folder
from benchmarks.service.server import Server, serving, slow_property, strike, submit, submit_layers, wait_all

RESULTS = Path(__file__).parent / "results" / "service.csv"
COLUMNS = ("measure", "value", "limit", "detail")
WEB = Path(__file__).parents[2] / "repairsolver" / "service" / "web"


PARTS = ("sizes", "report", "load", "kills")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["sizes", "load", "kills"], help=", ".join(PARTS))
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    recorder = Recorder(options.out, COLUMNS, seed=options.seed, resume=options.resume)
    if "sizes" in options.parts:
        sizes(recorder)
    if "report" in options.parts:
        report(recorder, options.seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if "load" in options.parts:
            with serving(Path(folder) / "load", options.workers) as server:
                load(server, options.jobs, options.clients, recorder)
        if "kills" in options.parts:
            with serving(Path(folder) / "kills", options.workers) as server:
                kills(server, options.kills, options.seed, recorder)


def sizes(recorder: Recorder) -> None:
    """The page."""
    weight = sum(path.stat().st_size for path in WEB.iterdir())
    recorder.add({"measure": "page, bytes", "value": weight, "limit": 1_000_000, "detail": "all its files"})


def report(recorder: Recorder, seed: int) -> None:
    """The report of a repair of N2,1 with property 2."""
    data = data_folder("acasxu")
    network = next(data.glob("**/ACASXU_run2a_2_1_batch_2000.onnx*"))
    prop = next(data.glob("**/prop_2.vnnlib*"))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        command = [
            sys.executable, "-m", "repairsolver.cli.main", "repair", "--quiet", str(network), str(prop), "-o",
            f"{folder}/fixed.onnx", "--decision", "min", "--timeout", "40", "--seed", str(seed),
            "--report", str(page),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        detail = f"N2,1 with property 2, {done.stdout.splitlines()[0]}"
        size = page.stat().st_size
    recorder.add({"measure": "report, bytes", "value": size, "limit": 3_000_000, "detail": detail})


def load(server: Server, jobs: int, clients: int, recorder: Recorder) -> None:
    """All clients submit at once; each asks for the state of its jobs all the time until they have ended."""
    submitting: list[float] = []
    asking: list[float] = []
    ended: list[dict[str, str]] = []

    def work(number: int) -> None:
        with server.client() as client:
            names = []
            for seed in range(number, jobs, clients):
                started = time.perf_counter()
                names.append(submit_layers(client, seed))
                submitting.append(time.perf_counter() - started)
            left = list(names)
            while left:
                for name in list(left):
                    started = time.perf_counter()
                    answer = client.get(f"/api/jobs/{name}")
                    asking.append(time.perf_counter() - started)
                    job = answer.json() if answer.status_code == 200 else {"state": "lost"}
                    if job["state"] not in ("queued", "running"):
                        ended.append(job)
                        left.remove(name)
                    time.sleep(0.02)

    started = time.perf_counter()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = time.perf_counter() - started
    right = sum(job["state"] == "done" and job["answer"] == "repaired" for job in ended)
    detail = f"{jobs} jobs by {clients} clients at once; {total:.1f} s until all had ended"
    recorder.add({"measure": "jobs lost or wrong", "value": jobs - right, "limit": 0, "detail": detail})
    recorder.add({
        "measure": "status call, p95, s", "value": quantiles(asking, n=20)[-1], "limit": 0.1,
        "detail": f"{len(asking)} calls, median {median(asking):.4f}, longest {max(asking):.3f}; {busy()}",
    })  # fmt: skip
    recorder.add({
        "measure": "submission, p95, s", "value": quantiles(submitting, n=20)[-1], "limit": "",
        "detail": f"{len(submitting)} calls, median {median(submitting):.4f}, longest {max(submitting):.3f}",
    })  # fmt: skip


def busy() -> str:
    """What else the machine does: calls wait for a processor like everything on it."""
    return f"{os.getloadavg()[0]:.0f} processes on {os.cpu_count()} cores on average"


def kills(server: Server, count: int, seed: int, recorder: Recorder) -> None:
    """kill -9 at random times while jobs run and wait; every acknowledged job must end with its answer."""
    rng = random.Random(seed)
    slow = slow_property(server.data)
    names: list[str] = []
    expected: list[str] = []
    struck: dict[str, int] = {}
    for strikes in range(count):
        with server.client() as client:
            for number in range(3):
                names.append(submit(client, "verify", {"seconds": 20, "seed": 3 * strikes + number}))
                expected.append("sat")
            names.append(submit(client, "verify", {"seconds": 120, "seed": strikes}, slow))
            expected.append("unsat")
        time.sleep(rng.uniform(0.1, 4.0))
        victim = strike(server, rng)
        struck[victim] = struck.get(victim, 0) + 1
        print(f"{strikes + 1} of {count}: killed {victim}", flush=True)
    with server.client() as client:
        jobs = wait_all(client, names, 900)
    lost = sum(job["state"] == "lost" for job in jobs)
    answered = [job.get("answer") == right for job, right in zip(jobs, expected, strict=True)]
    given_up = sum(job.get("reason") == "crash" for job in jobs)
    restarts = sum(job.get("restarts", 0) for job in jobs)
    killed = ", ".join(f"{victim} {times} times" for victim, times in struck.items())
    detail = f"{len(names)} jobs; killed: {killed}; {restarts} restarts"
    recorder.add({"measure": "jobs lost in kills", "value": lost, "limit": 0, "detail": detail})
    recorder.add({
        "measure": "jobs without their answer after kills", "value": answered.count(False), "limit": 0,
        "detail": f"{given_up} given up since their own process died twice",
    })  # fmt: skip


if __name__ == "__main__":
    main()
