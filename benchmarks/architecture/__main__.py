"""Repairs of random models, real bugs, and the layer rules against real frameworks."""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.architecture.building import runs
from benchmarks.architecture.matching import same_repair
from benchmarks.architecture.onnx_calls import check_onnx
from benchmarks.architecture.rules import COLUMNS as RULE_COLUMNS
from benchmarks.architecture.rules import check_rules
from benchmarks.architecture.scaling import COLUMNS as SCALING_COLUMNS
from benchmarks.architecture.scaling import rows as scaled
from benchmarks.architecture.tuning import COLUMNS as PRICE_COLUMNS
from benchmarks.architecture.tuning import rows as priced
from benchmarks.architecture.tuning import write_prices
from benchmarks.record import Recorder, data_folder
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.repair import ArchitectureRepair, repair_model

RESULTS = Path(__file__).parent / "results"
COLUMNS = (
    "set",
    "id",
    "status",
    "price",
    "edits",
    "inserted",
    "removed",
    "kept_arguments",
    "kept_widths",
    "published_weights",
    "lower_bound",
    "proved",
    "engine",
    "search_seconds",
    "proof_seconds",
    "cpu_seconds",
    "first",
    "first_kind",
    "top3",
    "top3_kind",
    "fewest_known",
    "runs",
    "text",
)
PUBLISHED = {"insert": 15, "remove": 10, "swap": 10}
"""The weights under which ExAIS counts changes: 15 an inserted layer, 10 a changed type, 1 an argument."""
# The random models hold their inputs as literal tensors, which a repair should not touch.
RANDOM = Costs(input_layout=10**6, layout=10**6)


def main() -> None:
    """One row for each model."""
    arguments = _arguments()
    os.environ.setdefault("KERAS_BACKEND", "torch")
    warnings.simplefilter("ignore")
    if arguments.set in ("torch", "keras", "onnx"):
        path = RESULTS / f"rules_{arguments.set}.csv"
        recorder = Recorder(path, RULE_COLUMNS, seed=arguments.seed, resume=arguments.resume)
        if arguments.set == "onnx":
            wrong = check_onnx(recorder, arguments.calls, arguments.seed)
        else:
            wrong = check_rules(recorder, arguments.set, arguments.calls, arguments.seed)
        total = sum(int(row["calls"]) for row in recorder.rows)
        print(f"{total} calls, {wrong} unexplained disagreements")
        return
    if arguments.set == "scaling":
        recorder = Recorder(RESULTS / "scaling.csv", SCALING_COLUMNS, seed=arguments.seed)
        for row in scaled(arguments.seed, arguments.proof, arguments.largest):
            recorder.add(row)
            print(" ".join(map(str, row.values())), flush=True)
        return
    if arguments.set == "prices" and arguments.write:
        print("\n".join(f"{name} {price}" for name, price in write_prices(arguments.seed).items()))
        return
    if arguments.set == "prices":
        recorder = Recorder(RESULTS / "prices.csv", PRICE_COLUMNS, seed=arguments.seed)
        for row in priced(arguments.seed, whole=not arguments.pools):
            recorder.add(row)
        print(_held_out(recorder.rows))
        return
    recorder = Recorder(RESULTS / f"{arguments.set}.csv", COLUMNS, resume=arguments.resume)
    for name, case in islice(_cases(arguments.set), 0, None, arguments.step):
        if not recorder.has(id=name):
            costs = RANDOM if arguments.set == "random" else Costs()
            start = time.process_time()
            fix = repair_model(read_model(case), costs, prove=arguments.proof > 0, seconds=arguments.proof)
            used = {"cpu_seconds": time.process_time() - start}
            recorder.add({"set": arguments.set, "id": name, **_row(fix), **used, **_agreement(fix, case)})
    print(_summary(recorder.rows))


def _held_out(rows: list[dict[str, str]]) -> str:
    """Shares over all held-out folds."""
    lines = []
    for name in dict.fromkeys(row["prices"] for row in rows):
        for suffix, how in (("", "by the whole repair"), ("_pool", "in the pools")):
            ours = [row for row in rows if row["prices"] == name and row[f"first{suffix}"] != ""]
            won, top, count = (
                sum(int(r[k]) for r in ours) for k in (f"first{suffix}", f"top3{suffix}", "cases")
            )
            if count:
                lines.append(
                    f"{name}: accepted first {won / count:.1%}, among three {top / count:.1%}, {how}"
                )
    return "\n".join(lines)


def _cases(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if name == "random":
        for line in (data_folder("exais") / "random_models.jsonl").read_text().splitlines():
            case = json.loads(line)
            yield str(case["id"]), case
    elif name == "real":
        for case in json.loads((data_folder("exais") / "real_bugs.json").read_text()):
            yield case["id"], case
    else:
        for case in json.loads((data_folder("arch_bugs") / "cases.json").read_text())["cases"]:
            yield case["id"], case


def _row(fix: ArchitectureRepair) -> dict[str, object]:
    numbers = sum(len(layer.args) for layer in fix.model.layers)
    changed = sum(edit.operation == "set" for edit in fix.edits)
    return {
        "status": fix.status,
        "price": fix.cost,
        "edits": sum(edit.cost > 0 for edit in fix.edits),
        "inserted": sum(edit.operation == "insert" for edit in fix.edits),
        "removed": sum(edit.operation == "remove" for edit in fix.edits),
        "kept_arguments": 1 - changed / max(numbers, 1),
        "kept_widths": _widths_kept(fix),
        "published_weights": sum(PUBLISHED.get(edit.operation, 1) for edit in fix.edits if edit.cost),
        "lower_bound": fix.lower_bound,
        "proved": fix.proved,
        "engine": fix.engine,
        "search_seconds": fix.seconds[0],
        "proof_seconds": fix.seconds[1],
        "runs": _runs(fix),
        "text": "; ".join(map(str, fix.edits)),
    }


def _widths_kept(fix: ArchitectureRepair) -> bool:
    """Whether no width of the user was changed (one that given weights imply is not the user's)."""
    roles = {
        (layer.name, argument.name): argument.role
        for layer in fix.model.layers
        for argument in fix.model.rule(layer).arguments
    }
    dear = Costs().roles["width"]
    sets = [edit for edit in fix.edits if edit.operation == "set" and edit.cost >= dear]
    return not any(roles.get((edit.layer, edit.name)) == "width" for edit in sets)


def _runs(fix: ArchitectureRepair) -> str:
    """yes, what went wrong, or "" where the framework is not installed."""
    if find_spec(fix.model.framework) is None:
        return ""
    return runs(fix.model) or "yes"


def _agreement(fix: ArchitectureRepair, case: dict[str, Any]) -> dict[str, object]:
    """Whether the accepted repair comes first, or among the first three: exactly, or but for its numbers."""
    accepted = case.get("fix_edits")
    if accepted is None:
        return dict.fromkeys(("first", "first_kind", "top3", "top3_kind", "fewest_known"), "")
    ranked = [fix.edits, *fix.alternatives][:3]
    exact = [same_repair(edits, accepted, values=True) for edits in ranked]
    alike = [same_repair(edits, accepted, values=False) for edits in ranked]
    return {
        "first": exact[0],
        "first_kind": alike[0],
        "top3": any(exact),
        "top3_kind": any(alike),
        "fewest_known": case["known_min_edits"],
    }


def _summary(rows: list[dict[str, str]]) -> str:
    count = len(rows)

    def mean(name: str) -> float:
        return sum(float(row[name]) for row in rows) / count

    def share(name: str) -> str:
        return f"{sum(row[name] == 'True' for row in rows)} of {count}"

    done = sum(row["status"] in ("repaired", "valid") for row in rows)
    run, tried = (sum(test(row["runs"]) for row in rows) for test in ("yes".__eq__, bool))
    lines = [
        f"built and run in torch or Keras: {run} of {tried} tried",
        f"valid after repair: {done} of {count}; proved cheapest: {share('proved')}",
        f"search: mean {mean('search_seconds'):.3f} s; proof: mean {mean('proof_seconds'):.2f} s; "
        f"CPU: mean {mean('cpu_seconds'):.2f} s, most {max(float(row['cpu_seconds']) for row in rows):.2f} s",
        f"price by the published weights: {mean('published_weights'):.1f}",
        f"kept arguments: {mean('kept_arguments'):.4f}; "
        f"widths kept: {share('kept_widths')}; slowest: {max(_seconds(row) for row in rows):.2f} s",
        f"inserted layers: {mean('inserted'):.2f}; removed: {mean('removed'):.2f}; price {mean('price'):.1f}",
    ]
    if rows[0]["first"]:
        names = ("first", "first_kind", "top3", "top3_kind")
        lines += [f"accepted repair, {name}: {share(name)}" for name in names]
        more = sum(int(row["edits"]) > int(row["fewest_known"]) for row in rows)
        lines.append(f"more edits than the fewest known: {more}")
    return "\n".join(lines)


def _seconds(row: dict[str, str]) -> float:
    return float(row["search_seconds"]) + float(row["proof_seconds"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.architecture", description=__doc__)
    parser.add_argument(
        "set", choices=("random", "bugs", "real", "torch", "keras", "onnx", "scaling", "prices")
    )
    parser.add_argument(
        "--proof", type=float, default=5.0, help="seconds for each engine that proves; 0: no proof"
    )
    parser.add_argument("--step", type=int, default=1, help="take every so many of the models")
    parser.add_argument(
        "--calls", type=int, default=1000, help="calls for each layer type (torch, keras), or in all (onnx)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--largest", type=int, default=300, help="most layers (scaling)")
    parser.add_argument(
        "--write", action="store_true", help="prices: fit them to all cases, into the package"
    )
    parser.add_argument(
        "--pools", action="store_true", help="prices: rank held-out bugs in their pools only (faster)"
    )
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
