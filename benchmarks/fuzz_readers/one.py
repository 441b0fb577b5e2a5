"""Fuzz one reader until the time is up; libFuzzer ends this process, and says how far it came on stderr."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

from benchmarks.fuzz_readers.targets import TARGETS
from repairsolver.errors import RepairSolverError


def main() -> None:
    """Arguments: name of the target, folder of its corpus, then those of libFuzzer."""
    name, corpus, *rest = sys.argv[1:]
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds()):
        (Path(corpus) / f"seed{number}").write_bytes(seed)
    # what is imported already is not instrumented
    for module in [m for m in sys.modules if any(m.startswith(p) for p in target.instrumented)]:
        del sys.modules[module]
    with atheris.instrument_imports(include=list(target.instrumented)):
        read = target.reader()
    folder = Path(tempfile.mkdtemp())
    file = folder / f"file{target.ending}"

    def once(data: bytes) -> None:
        file.write_bytes(data)
        with contextlib.suppress(RepairSolverError):
            read(file)

    atheris.Setup([sys.argv[0], corpus, *rest], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
