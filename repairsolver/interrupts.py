"""Ctrl-C where work must not be cut in two: signals wait until it is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

KINDS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held() -> Iterator[None]:
    """Have SIGINT and SIGTERM wait for the end of the block; a second one is delivered at once.

    An exception out of a signal handler may come between any two steps of Python's own code: within a
    thread pool it leaves locks broken, and threads that nobody waits for. Only signals with a handler in
    Python wait, and only in the main thread, which alone gets them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {kind: handler for kind in KINDS if callable(handler := signal.getsignal(kind))}
    waiting: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        waiting.append(number)
        if len(waiting) > 1:
            handlers[signal.Signals(number)](number, frame)

    for kind in handlers:
        signal.signal(kind, note)
    try:
        yield
    finally:
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
    if waiting:
        handlers[signal.Signals(waiting[0])](waiting[0], None)
