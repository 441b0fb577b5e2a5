"""Signals that wait for the end of a block."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from repairsolver.cli.running import terminable
from repairsolver.interrupts import held


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of the process are what they were."""
    before = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before


def raised(done: list[str], *kinds: signal.Signals) -> None:
    """Work that is interrupted after each step."""
    with held():
        for kind in kinds:
            signal.raise_signal(kind)
            done.append(kind.name)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end(kind: signal.Signals) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), terminable():
        raised(done, kind)
    assert done == [kind.name]


def test_a_second_signal_does_not_wait() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        raised(done, signal.SIGINT, signal.SIGINT)
    assert done == ["SIGINT"]


def test_an_error_of_the_block_comes_through() -> None:
    def fail() -> None:
        with held():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()


def test_what_has_no_handler_in_python_is_left_alone() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with held():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_hold_nothing() -> None:
    seen = []

    def work() -> None:
        with held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
