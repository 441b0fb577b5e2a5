"""The nursery as the server sees it, and what is known of other processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class Nursery:
    """The process that forks jobs; started when it is first needed, and again if it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def order(self, job: str, folder: Path, memory: int, threads: int) -> None:
        """Have the process of a job started."""
        order = {"job": job, "folder": str(folder.resolve()), "memory": memory, "threads": threads}
        line = json.dumps(order).encode() + b"\n"
        try:
            self._write(line)
        except BrokenPipeError:
            self.close()
            self._write(line)

    def open(self) -> subprocess.Popen[bytes]:
        """Start the nursery, if it does not run, so that it is warm when it is needed."""
        self._process = self._process or _born()
        return self._process

    def news(self) -> list[dict[str, Any]]:
        """What the nursery said since the last call; see there."""
        if self._process is None or self._process.stdout is None:
            return []
        read = self._process.stdout.read(65536)
        if read == b"" and self._process.poll() is not None:
            self.close()
        if not read:
            return []
        *lines, self._rest = (self._rest + read).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """End the nursery; the jobs live on."""
        process, self._process, self._rest = self._process, None, b""
        if process is not None and process.stdin is not None and process.stdout is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _write(self, line: bytes) -> None:
        process = self.open()
        assert process.stdin is not None
        process.stdin.write(line)


def _born() -> subprocess.Popen[bytes]:
    """A nursery; what jobs use of the processors is decided for each, so that nothing grabs them all."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    secrets = {"REPAIRSOLVER_TOKEN"}
    environment = {k: v for k, v in os.environ.items() if k not in secrets} | threads
    command = [sys.executable, "-m", "repairsolver.service.nursery"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return process
