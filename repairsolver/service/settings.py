"""What a server is told at its start."""

from __future__ import annotations

import ipaddress
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from repairsolver.errors import ServiceError

LEAST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a server listens, what it keeps where, and what jobs may spend.

    Args:
        data: folder of the jobs and, by default, of the database; one server at a time.
        host, port: where it listens.
        token: what every request must carry; "" for a random one.
        workers: jobs at once.
        database: URL of another database than `sqlite:///DATA/jobs.sqlite`, such as PostgreSQL.
        memory_gb: memory of one job's process.
        longest: the longest time limit of a job, in seconds.
        upload_mb: the largest submission.
        waiting: the most jobs that may wait.
        names: further names that the server is called by, for the Host header.
        threads: processors that one job uses.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8321
    token: str = field(default="", repr=False)
    workers: int = 1
    database: str = ""
    memory_gb: float = 4.0
    longest: float = 24 * 3600.0
    upload_mb: float = 256.0
    waiting: int = 10_000
    names: tuple[str, ...] = ()
    threads: int = 1

    @property
    def url(self) -> str:
        """Of the database."""
        return self.database or f"sqlite:///{self.data / 'jobs.sqlite'}"

    @property
    def memory(self) -> int:
        """Of one job, in bytes."""
        return int(self.memory_gb * 1e9)

    @property
    def upload(self) -> int:
        """Of one submission, in bytes."""
        return int(self.upload_mb * 1e6)

    @property
    def hosts(self) -> list[str]:
        """What may stand in the Host header."""
        return [*{"localhost", "127.0.0.1", "[::1]", self.host, *self.names}]


def loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def secured(settings_token: str, host: str) -> str:
    """The token to use: the one given, or a random one on loopback.

    Raises:
        ServiceError: a server that others can reach needs a token of its own; or it is too short.
    """
    if settings_token:
        if (
            len(settings_token) < LEAST_TOKEN
            or not settings_token.isascii()
            or not settings_token.isprintable()
        ):
            raise ServiceError(f"a token needs at least {LEAST_TOKEN} printable ASCII characters")
        return settings_token
    if not loopback(host):
        raise ServiceError(
            f"--host {host} can be reached from other machines, which needs a token that you choose: set the "
            "variable REPAIRSOLVER_TOKEN, or give --token-file"
        )
    return secrets.token_urlsafe(32)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
