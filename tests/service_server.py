"""A real server in a process of its own, and a client with its token."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

import repairsolver as rs

DEMO = Path(rs.__file__).parent / "demo"
NET, PROP = DEMO / "controller.onnx", DEMO / "head_on.vnnlib"
TOKEN = "a-token-for-tests-0123456789"
OPEN = ("queued", "running")


class Server:
    """`repairsolver serve` on a folder; started again after a kill it goes on there."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data, self.options, self.port = data, options, 0
        self.process: subprocess.Popen[str] | None = None
        self.command = [sys.executable, "-m", "repairsolver.cli.main"]

    def start(self) -> Server:
        command = [
            *self.command, "serve", "--data", str(self.data), "--port", str(self.port), *self.options,
        ]  # fmt: skip
        environment = {**os.environ, "REPAIRSOLVER_TOKEN": TOKEN}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == "serving"
        self.address = self.process.stdout.readline().strip()
        self.url = self.address.split("/#")[0]
        self.port = int(self.url.rpartition(":")[2])
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
        )
        return self

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.client.close()
        self.process.send_signal(number)
        self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def submit(
        self, kind: str, files: Mapping[str, Path | Sequence[Path]], options: str = "{}", **query: str
    ) -> httpx.Response:
        with contextlib.ExitStack() as stack:
            parts = [
                (slot, (path.name, stack.enter_context(path.open("rb"))))
                for slot, paths in files.items()
                for path in ([paths] if isinstance(paths, Path) else paths)
            ]
            return self.client.post(f"/api/jobs/{kind}", files=parts, data={"options": options}, params=query)

    def job(self, name: str) -> dict[str, Any]:
        answer = self.client.get(f"/api/jobs/{name}")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def ended(self, name: str, seconds: float = 150.0) -> dict[str, Any]:
        """The job when it has ended."""
        end = time.monotonic() + seconds
        while (job := self.job(name))["state"] in OPEN:
            assert time.monotonic() < end, job
            time.sleep(0.05)
        return job

    def reached(self, name: str, state: str, seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while self.job(name)["state"] != state:
            assert time.monotonic() < end, self.job(name)
            time.sleep(0.02)


@contextlib.contextmanager
def serving(data: Path, *options: str) -> Iterator[Server]:
    server = Server(data, *options).start()
    try:
        yield server
    finally:
        if server.process is not None:
            server.kill(signal.SIGTERM)


def slow_property(folder: Path) -> Path:
    """A property of the bundled network that holds, and takes thousands of boxes (seconds) to prove."""
    lines = [f"(declare-const X_{i} Real)" for i in range(4)] + [
        f"(declare-const Y_{i} Real)" for i in range(5)
    ]
    lines += [f"(assert (>= X_{i} -1.0))\n(assert (<= X_{i} 1.0))" for i in range(4)]
    path = folder / "slow.vnnlib"
    path.write_text("\n".join([*lines, "(assert (>= Y_0 1.5))"]) + "\n")
    return path
