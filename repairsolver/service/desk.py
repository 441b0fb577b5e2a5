"""Where submissions become jobs: the folders, the table and the dispatcher together."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fastapi import HTTPException
from starlette.concurrency import run_in_threadpool

from repairsolver.errors import ServiceError
from repairsolver.service.dispatcher import Dispatcher
from repairsolver.service.folder import Folder, sync
from repairsolver.service.settings import Settings
from repairsolver.service.store import Store
from repairsolver.service.uploads import Submission

T = TypeVar("T")


class Desk:
    """Takes submissions, and knows the jobs: what the routes share.

    Raises:
        ServiceError: another server uses the folder.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.jobs, self.incoming = settings.data / "jobs", settings.data / "incoming"
        for folder in (self.jobs, self.incoming):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _alone(settings.data)
        self.store = Store(settings.url)
        self.dispatcher = Dispatcher(settings, self.store, self.jobs)

    def start(self) -> None:
        """Clear what was never a job, and go to work."""
        for folder in self.incoming.iterdir():
            shutil.rmtree(folder)
        self.dispatcher.start()

    def stop(self) -> None:
        self.dispatcher.stop()
        self.store.close()
        os.close(self._lock)

    async def read(self, look: Callable[[], T]) -> T:
        """What a look at the store finds; SQLite answers sooner than a thread would start."""
        return look() if self.store.embedded else await run_in_threadpool(look)

    def folder(self, job: str) -> Folder:
        return Folder(self.jobs / job)

    def known(self, job: str) -> dict[str, Any]:
        """A job by its name.

        Raises:
            HTTPException: 404, there is none.
        """
        row = self.store.get(job)
        if row is None:
            raise HTTPException(404, "no such job; it may have been deleted")
        return row

    def submit(self, made: Submission, fresh: bool) -> tuple[dict[str, Any], bool]:
        """The job of a submission, and whether it is new."""
        arrived = self.incoming / made.name
        digest = made.digest if not fresh else f"{made.digest[:32]}{made.name}"
        if (same := self.store.same(digest)) is not None:
            shutil.rmtree(arrived)
            return same, False
        os.replace(arrived, self.jobs / made.name)
        sync(self.jobs)
        row = self.store.add(made.name, digest, made.request)
        if row is None:
            shutil.rmtree(self.jobs / made.name)
            return self._other(digest), False
        self.dispatcher.wake()
        return row, True

    def _other(self, digest: str) -> dict[str, Any]:
        row = self.store.same(digest)
        if row is None:
            raise HTTPException(409, "the same job was being submitted; try again")
        return row

    def remove(self, job: str) -> None:
        """Delete a job that has ended, with its files.

        Raises:
            HTTPException: 404, there is none; 409, it has not ended.
        """
        self.known(job)
        if not self.store.remove(job):
            raise HTTPException(409, "the job has not ended: cancel it first")
        shutil.rmtree(self.jobs / job)


def _alone(data: Path) -> int:
    """An open file whose lock says that a server uses the folder."""
    handle = os.open(data / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ServiceError(
            f"{data}: another server uses this folder; stop it, or choose another --data"
        ) from None
    return handle
