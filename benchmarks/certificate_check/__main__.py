"""Prove ACAS Xu properties with a certificate, check it, and compare the processor time of both."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from benchmarks.acasxu_verify.instances import Instance, load_instances
from benchmarks.record import Recorder, data_folder

RESULTS = Path(__file__).parent / "results" / "certificates.csv"
COLUMNS = (
    "network",
    "property",
    "verdict",
    "methods",
    "boxes",
    "proving_cpu_seconds",
    "checking_cpu_seconds",
    "ratio",
    "bytes",
    "answer",
)
# A few hundred to tens of thousands of boxes.
SOME = ("N1,1 prop_3", "N3,3 prop_9", "N4,2 prop_2", "N3,3 prop_2")


def main() -> None:
    """One row for each instance that holds; exit code 3 if a certificate is rejected."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every instance that is known to hold, not four")
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    folder = data_folder("acasxu")
    # Threads of the BLAS only wait in the checker's small products, and waiting counts as processor time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    recorder = Recorder(arguments.out, COLUMNS, resume=arguments.resume)
    for instance in load_instances(folder):
        wanted = instance.expected == "holds" if arguments.all else instance.short in SOME
        if wanted and not recorder.has(network=instance.network, property=instance.prop):
            recorder.add(_measure(folder, instance, arguments.timeout))
            row = recorder.rows[-1]
            print(f"{instance.short:14} {row['verdict']:8} {row['answer']:8} {row['ratio']}", flush=True)
    if any(row["answer"] == "invalid" for row in recorder.rows):
        raise SystemExit(3)


def _measure(folder: Path, instance: Instance, timeout: float) -> dict[str, object]:
    import repairsolver as rs
    from repairsolver.certificate.format import from_bytes, to_bytes

    network = rs.load_network(folder / "onnx" / instance.network)
    prop = rs.load_property(folder / "vnnlib" / instance.prop, network=network)
    started = time.process_time()
    verdict = rs.verify(network, prop, limits=rs.Limits(seconds=timeout), certificate=True)
    proving = time.process_time() - started
    row: dict[str, object] = {
        "network": instance.network,
        "property": instance.prop,
        "verdict": verdict.status.value,
        "methods": " + ".join(verdict.methods),
        "boxes": verdict.boxes,
        "proving_cpu_seconds": round(proving, 3),
    }
    if verdict.certificate is None:
        return row | {"checking_cpu_seconds": "", "ratio": "", "bytes": "", "answer": "none"}
    data = to_bytes(verdict.certificate)
    started = time.process_time()
    found = rs.check(from_bytes(data), network=network, property=prop)
    checking = time.process_time() - started
    return row | {
        "checking_cpu_seconds": round(checking, 3),
        "ratio": round(checking / proving, 3),
        "bytes": len(data),
        "answer": "valid" if found.valid else "invalid",
    }


if __name__ == "__main__":
    main()
