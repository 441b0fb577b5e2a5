"""The command line: one file per command; the logic lives in the library."""

import sys
from types import TracebackType


def _quiet_interrupts() -> None:
    """Ctrl-C while modules are still being loaded is no error either: one line, no traceback."""
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("interrupted before anything was reached", file=sys.stderr)
        else:
            shown(kind, error, trace)

    sys.excepthook = hook


_quiet_interrupts()
