"""Prove ACAS Xu properties in both arithmetics: boxes, seconds, and the size of the rounding."""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from statistics import median

from benchmarks.acasxu_verify.instances import Instance, load_instances
from benchmarks.record import Recorder, data_folder

RESULTS = Path(__file__).parent / "results" / "margins.csv"
COLUMNS = (
    "network",
    "property",
    "real",
    "float32",
    "real_boxes",
    "float32_boxes",
    "real_seconds",
    "float32_seconds",
    "checked",
    "median_error",
    "largest_error",
    "timeout",
)
REJECTED = 3


def main() -> None:
    """One row for each instance that is known to hold; exit code 3 if a certificate is rejected."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.float32_margin", description=__doc__)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for each proof (default 60)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WHAT", help="N2,9 or prop_8 or 'N2,9 prop_8'"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    arguments = parser.parse_args()
    folder = data_folder("acasxu")
    # Threads of the BLAS only wait in the checker's small products.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    recorder = Recorder(arguments.out, COLUMNS, resume=arguments.resume)
    for instance in load_instances(folder):
        wanted = not arguments.only or any(
            set(w.split()) <= set(instance.short.split()) for w in arguments.only
        )
        done = recorder.has(network=instance.network, property=instance.prop)
        if wanted and instance.expected == "holds" and not done:
            recorder.add(_measure(folder, instance, arguments.timeout))
            row = recorder.rows[-1]
            print(
                f"{instance.short:14} {row['real']:8} {row['float32']:8} {row['largest_error']}", flush=True
            )
    print(_summary(recorder.rows))
    if any(row["checked"] == "invalid" for row in recorder.rows):
        raise SystemExit(REJECTED)


def _measure(folder: Path, instance: Instance, timeout: float) -> dict[str, object]:
    import repairsolver as rs
    from benchmarks.float32_margin.errors import errors_of
    from repairsolver.results import Arithmetic

    network = rs.load_network(folder / "onnx" / instance.network)
    prop = rs.load_property(folder / "vnnlib" / instance.prop, network=network)
    row: dict[str, object] = {"network": instance.network, "property": instance.prop, "timeout": timeout}
    kinds: tuple[Arithmetic, ...] = ("real", "float32")
    for kind in kinds:
        started = time.perf_counter()
        limits = rs.Limits(seconds=timeout)
        verdict = rs.verify(network, prop, limits=limits, certificate=True, arithmetic=kind)
        seconds = round(time.perf_counter() - started, 3)
        row |= {kind: verdict.status.value, f"{kind}_boxes": verdict.boxes, f"{kind}_seconds": seconds}
    if verdict.certificate is None:
        return row | {"checked": "none", "median_error": "", "largest_error": ""}
    errors = errors_of(network, prop, verdict.certificate)
    if errors is None:
        return row | {"checked": "invalid", "median_error": math.nan, "largest_error": math.nan}
    return row | {"checked": "valid", "median_error": median(errors), "largest_error": max(errors)}


def _summary(rows: list[dict[str, str]]) -> str:
    both = [r for r in rows if r["real"] == "holds" and r["float32"] == "holds"]
    if not both:
        return "No instance was proved in both."
    count = {kind: sum(int(r[f"{kind}_boxes"]) for r in both) for kind in ("real", "float32")}
    spent = {kind: sum(float(r[f"{kind}_seconds"]) for r in both) for kind in ("real", "float32")}
    errors = median(float(r["median_error"]) for r in both), max(float(r["largest_error"]) for r in both)
    return (
        f"proved in real arithmetic: {sum(r['real'] == 'holds' for r in rows)}, for float32: {len(both)}, "
        f"certificates valid: {sum(r['checked'] == 'valid' for r in rows)}\n"
        f"boxes: {count['real']} and {count['float32']}\n"
        f"seconds: {spent['real']:.1f} and {spent['float32']:.1f}\n"
        f"rounding at the leaves: median {errors[0]:.3g}, largest {errors[1]:.3g}"
    )


if __name__ == "__main__":
    main()
