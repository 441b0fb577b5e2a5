"""The table of jobs, in SQLite or in the database of a URL.

A queue library was looked for first. Those that keep their queue in SQLite give a job away when a worker
takes it (huey deletes its row, and pickles what it stores; APScheduler pickles, too), so that a worker's
death loses it; those that wait for an acknowledgement (Celery, RQ, Dramatiq, SAQ, taskiq, procrastinate) need
a broker or a server. Here a row is a job from its submission to its deletion, whatever dies in between, and
SQLAlchemy speaks to SQLite and to PostgreSQL alike.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from repairsolver import __version__

Row = dict[str, Any]


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (State.QUEUED, State.RUNNING)
KEPT = (State.QUEUED, State.RUNNING, State.DONE)
"""States that answer an identical submission."""

METADATA = sa.MetaData()
_KEPT = sa.text("state IN ('queued', 'running', 'done')")
JOBS = sa.Table(
    "jobs",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("reason", sa.String(32), nullable=False, default=""),
    sa.Column("message", sa.Text, nullable=False, default=""),
    sa.Column("answer", sa.String(32), nullable=False, default=""),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("started", sa.Float),
    sa.Column("ended", sa.Float),
    sa.Column("crashes", sa.Integer, nullable=False, default=0),
    sa.Column("stop", sa.Boolean, nullable=False, default=False),
    sa.Index("one_of_a_kind", "digest", unique=True, sqlite_where=_KEPT, postgresql_where=_KEPT),
)


class Store:
    """The jobs. Every method is one transaction, and may be called from any thread.

    Args:
        url: of the database, as SQLAlchemy has it.
    """

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, pool_size=10, max_overflow=40)
        self.embedded = self._engine.dialect.name == "sqlite"
        if self.embedded:
            event.listen(self._engine, "connect", _tuned)
        METADATA.create_all(self._engine)

    def add(self, id_: str, digest: str, request: Mapping[str, Any]) -> Row | None:
        """A new job; None if there is one that answers the same question."""
        values = {
            "id": id_, "kind": request["kind"], "digest": digest, "state": State.QUEUED,
            "request": json.dumps(dict(request)), "created": time.time(),
        }  # fmt: skip
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(JOBS).values(values))
        except sa.exc.IntegrityError:
            return None
        return self.get(id_)

    def get(self, id_: str) -> Row | None:
        """The job with this name."""
        return self._one(sa.select(JOBS).where(JOBS.c.id == id_))

    def same(self, digest: str) -> Row | None:
        """The job that answers this question, or will."""
        return self._one(sa.select(JOBS).where(JOBS.c.digest == digest, JOBS.c.state.in_(KEPT)))

    def page(self, *, state: str | None = None, before: int | None = None, most: int = 50) -> list[Row]:
        """Jobs, the newest first."""
        query = sa.select(JOBS).order_by(JOBS.c.number.desc()).limit(most)
        if state is not None:
            query = query.where(JOBS.c.state == state)
        if before is not None:
            query = query.where(JOBS.c.number < before)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def count(self, states: Sequence[str]) -> int:
        """How many jobs are in these states."""
        query = sa.select(sa.func.count()).select_from(JOBS).where(JOBS.c.state.in_(states))
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def names(self) -> set[str]:
        """The names of all jobs."""
        with self._engine.connect() as connection:
            return set(connection.execute(sa.select(JOBS.c.id)).scalars())

    def running(self) -> list[Row]:
        """Jobs that were started, the oldest first."""
        query = sa.select(JOBS).where(JOBS.c.state == State.RUNNING).order_by(JOBS.c.number)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def stopped(self) -> set[str]:
        """Running jobs that someone wants to end."""
        query = sa.select(JOBS.c.id).where(JOBS.c.state == State.RUNNING, JOBS.c.stop)
        with self._engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def claim(self) -> Row | None:
        """The oldest job that waits, now running."""
        oldest = sa.select(JOBS.c.id).where(JOBS.c.state == State.QUEUED).order_by(JOBS.c.number).limit(1)
        with self._engine.begin() as connection:
            id_ = connection.execute(oldest).scalar()
            if id_ is None or not _moved(
                connection, id_, State.QUEUED, state=State.RUNNING, started=time.time()
            ):
                return None
        return self.get(id_)

    def requeue(self, id_: str, *, crashes: int) -> None:
        """Let a running job wait again; at its old place, since the oldest is taken first."""
        with self._engine.begin() as connection:
            _moved(connection, id_, State.RUNNING, state=State.QUEUED, crashes=crashes, started=None)

    def end(self, id_: str, state: State, *, reason: str = "", message: str = "", answer: str = "") -> None:
        """Note how a running job ended."""
        values = {
            "state": state,
            "reason": reason,
            "message": message,
            "answer": answer,
            "ended": time.time(),
        }
        with self._engine.begin() as connection:
            _moved(connection, id_, State.RUNNING, **values)

    def cancel(self, id_: str) -> Row | None:
        """End a waiting job at once, and ask for the end of a running one; the job as it is then."""
        with self._engine.begin() as connection:
            ended = {"state": State.CANCELLED, "reason": "cancelled", "ended": time.time()}
            if not _moved(connection, id_, State.QUEUED, **ended):
                _moved(connection, id_, State.RUNNING, stop=True)
        return self.get(id_)

    def remove(self, id_: str) -> bool:
        """Forget a job that has ended; whether it had."""
        query = sa.delete(JOBS).where(JOBS.c.id == id_, JOBS.c.state.not_in(OPEN))
        with self._engine.begin() as connection:
            return bool(connection.execute(query).rowcount)

    def close(self) -> None:
        self._engine.dispose()

    def _one(self, query: sa.Select[Any]) -> Row | None:
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else dict(row)


def new_name() -> str:
    """A name for a job that nobody guesses."""
    return uuid.uuid4().hex


def question(kind: str, files: Mapping[str, Sequence[str]], options: Mapping[str, Any]) -> str:
    """What identical submissions share: SHA-256 of kind, hashes of the files by slot, options and version."""
    import hashlib

    told = [kind, {slot: list(hashes) for slot, hashes in sorted(files.items())}, dict(options), __version__]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _moved(connection: sa.Connection, id_: str, was: State, **values: Any) -> bool:
    """Change a job that is in this state; whether it was."""
    query = sa.update(JOBS).where(JOBS.c.id == id_, JOBS.c.state == was).values(values)
    return bool(connection.execute(query).rowcount)


def _tuned(connection: Any, record: Any) -> None:
    """SQLite: readers beside a writer, commits that survive a power cut, patience with other writers."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=15000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
