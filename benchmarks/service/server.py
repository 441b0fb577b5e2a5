"""A server in a process of its own, and what a benchmark does to it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

import repairsolver

DEMO = Path(repairsolver.__file__).parent / "demo"
TOKEN = "benchmark-token-0123456789"
OPEN = ("queued", "running")


class Server:
    """`repairsolver serve` on a folder, which can be killed and started again."""

    def __init__(self, data: Path, workers: int) -> None:
        self.data, self.workers, self.port = data, workers, 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "repairsolver.cli.main", "serve", "--data", str(self.data),
            "--port", str(self.port), "--workers", str(self.workers),
        ]  # fmt: skip
        environment = {**os.environ, "REPAIRSOLVER_TOKEN": TOKEN}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != "serving":
            raise SystemExit("the server did not start")
        self.url = self.process.stdout.readline().strip().partition("/#")[0]
        self.port = int(self.url.rpartition(":")[2])

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)

    def jobs_alive(self) -> list[int]:
        """The processes of the jobs that run."""
        from repairsolver.service.folder import Folder

        folders = [Folder(path) for path in (self.data / "jobs").iterdir()]
        return [process for folder in folders if folder.alive() and (process := folder.process())]


@contextlib.contextmanager
def serving(data: Path, workers: int) -> Iterator[Server]:
    server = Server(data, workers)
    server.start()
    try:
        yield server
    finally:
        server.kill(signal.SIGTERM)


def submit(client: httpx.Client, kind: str, options: dict[str, Any], prop: Path | None = None) -> str:
    """A job on the bundled network; its name."""
    paths = {"network": DEMO / "controller.onnx", "property": prop or DEMO / "head_on.vnnlib"}
    files = {slot: (path.name, path.read_bytes()) for slot, path in paths.items()}
    answer = client.post(f"/api/jobs/{kind}", files=files, data={"options": json.dumps(options)})
    answer.raise_for_status()
    name: str = answer.json()["id"]
    return name


def submit_layers(client: httpx.Client, number: int) -> str:
    """A small job: two layers that do not fit together; its name."""
    layers = [
        {"type": "Dense", "args": {"units": 4 + number}},
        {"type": "Conv2D", "args": {"filters": 2, "kernel_size": 3}},
    ]
    model = {"framework": "keras", "input_shape": [8], "layers": layers}
    files = {"model": ("model.json", json.dumps(model).encode())}
    answer = client.post("/api/jobs/architecture", files=files, data={"options": '{"prove": false}'})
    answer.raise_for_status()
    name: str = answer.json()["id"]
    return name


def slow_property(folder: Path) -> Path:
    """A property of the bundled network that takes thousands of boxes to prove."""
    lines = [f"(declare-const X_{i} Real)" for i in range(4)] + [
        f"(declare-const Y_{i} Real)" for i in range(5)
    ]
    lines += [f"(assert (>= X_{i} -1.0))\n(assert (<= X_{i} 1.0))" for i in range(4)]
    path = folder / "slow.vnnlib"
    path.write_text("\n".join([*lines, "(assert (>= Y_0 1.23))"]) + "\n")
    return path


def strike(server: Server, rng: random.Random) -> str:
    """Kill the server, the process of a job, or both, and start the server again; what was killed."""
    victim = rng.choice(("server", "job", "both"))
    end = time.monotonic() + 60
    jobs: list[int] = []
    while victim != "server" and not jobs and time.monotonic() < end:
        jobs = server.jobs_alive()
    if victim != "job":
        server.kill()
    for process in jobs[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
    if victim != "job":
        server.start()
    if victim != "server" and not jobs:
        raise SystemExit("no job was running for a minute: nothing to kill")
    return victim


def wait_all(client: httpx.Client, names: list[str], seconds: float) -> list[dict[str, Any]]:
    """The jobs when all have ended, or the time is up."""
    end = time.monotonic() + seconds
    while True:
        jobs = [client.get(f"/api/jobs/{name}") for name in names]
        told = [job.json() if job.status_code == 200 else {"state": "lost"} for job in jobs]
        if all(job["state"] not in OPEN for job in told) or time.monotonic() > end:
            return told
        time.sleep(0.5)
