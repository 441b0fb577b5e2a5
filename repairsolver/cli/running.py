"""What every command does around its work: progress, errors and interrupts on stderr, exit codes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer
from rich.console import Console

from repairsolver.cli.progress import ProgressReport
from repairsolver.errors import RepairSolverError, SoundnessError, told

INPUT_ERROR, SOUNDNESS_ALARM, TIMEOUT, INTERRUPTED = 1, 3, 124, 130


@contextmanager
def running(*, quiet: bool = False, debug: bool = False) -> Iterator[ProgressReport]:
    """Run a command's work; yields the callback for progress events.

    Errors that repairsolver or the operating system raise on purpose become one message and an exit
    code; with `debug` they keep their traceback. Anything else is a bug and shows itself. SIGTERM is
    treated as Ctrl-C meanwhile.
    """
    console = Console(stderr=True)
    progress = ProgressReport(console, quiet=quiet)
    try:
        with progress, terminable():
            yield progress
    except KeyboardInterrupt:
        reached = "; reached:" if progress.started else " before anything was reached"
        console.print(f"[bold]interrupted[/bold]{reached}")
        progress.summary()
        raise typer.Exit(INTERRUPTED) from None
    except SoundnessError as error:
        _show(console, "soundness alarm", error, debug)
        raise typer.Exit(SOUNDNESS_ALARM) from None
    except (RepairSolverError, OSError) as error:
        _show(console, "error", error, debug)
        raise typer.Exit(INPUT_ERROR) from None


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, where signals can be caught: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(console: Console, kind: str, error: Exception, debug: bool) -> None:
    if debug:
        console.print_exception()
    console.print(f"[bold red]{kind}:[/bold red] ", end="")
    console.print(_told(error), markup=False, highlight=False, soft_wrap=True)


def _told(error: Exception) -> str:
    """An error's message; what the system says of a file, by its name and with what to look at."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {told(error)}"
    return str(error)
