"""Fuzz every reader for some seconds: whatever it raises but an error of ours is a finding."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.fuzz_readers.targets import TARGETS
from benchmarks.record import Recorder

RESULTS = Path(__file__).parent / "results" / "readers.csv"
COLUMNS = ("target", "seconds", "runs", "branches", "corpus", "findings", "error")


def main() -> None:
    """One row for each reader; exit code 1 if there are findings."""
    arguments = _arguments()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed)
    for name in arguments.target or TARGETS:
        row = _fuzzed(name, arguments.seconds, arguments.seed, arguments.findings)
        recorder.add(row)
        print(row, flush=True)
    if not any(arguments.findings.iterdir()):
        arguments.findings.rmdir()
    sys.exit(any(row["findings"] != "0" for row in recorder.rows))


def _fuzzed(name: str, seconds: int, seed: int, findings: Path) -> dict[str, object]:
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        command = [
            sys.executable, "-m", "benchmarks.fuzz_readers.one", name, corpus, f"-max_total_time={seconds}",
            f"-seed={seed + 1}", f"-artifact_prefix={findings}/{name}-", "-rss_limit_mb=4096", "-timeout=20",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        kept = len(list(Path(corpus).iterdir()))
    said = done.stderr + done.stdout
    runs = re.findall(r"^#(\d+)", said, re.MULTILINE)
    covered = re.findall(r"\bcov: (\d+)", said)
    raised = re.findall(
        r"^(?:\s*=== Uncaught Python exception: ===\n)?(\w+(?:\.\w+)*: .*)$", said, re.MULTILINE
    )
    return {
        "target": name,
        "seconds": seconds,
        "runs": int(runs[-1]) if runs else 0,
        "branches": int(covered[-1]) if covered else 0,
        "corpus": kept,
        "findings": int(done.returncode != 0),
        "error": raised[0][:200] if done.returncode and raised else said[-300:] if done.returncode else "",
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_readers", description=__doc__)
    parser.add_argument("--target", nargs="+", choices=[*TARGETS], default=[], help="which (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader (default 60)")
    parser.add_argument(
        "--findings", type=Path, default=Path("findings"), help="files that were found go there"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="rows")
    return parser.parse_args()


if __name__ == "__main__":
    main()
