"""The benchmark of VNN-COMP families: verdicts compared, rows counted, processes that change nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.vnncomp.instances import FAMILIES, Settings, load_instances, verify_instances
from benchmarks.vnncomp.summary import is_wrong, summarise

DATA = os.environ.get("REPAIRSOLVER_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="REPAIRSOLVER_DATA is not set")


def row(result: str, expected: str, time: str = "1.0") -> dict[str, str]:
    names = {"onnx": "a.onnx", "vnnlib": "b", "timeout": "30.0", "date": "d", "machine": "m"}
    return {"result": result, "expected": expected, "time": time, **names}


@pytest.mark.parametrize(
    ("result", "expected", "wrong"),
    [
        ("unsat", "violated", True),
        ("sat", "holds", True),
        ("unsat", "holds", False),
        ("sat", "disputed", False),
        ("unsat", "unknown", False),
        ("timeout", "violated", False),
    ],
)
def test_only_a_contradiction_is_wrong(result: str, expected: str, wrong: bool) -> None:
    assert is_wrong(row(result, expected)) is wrong


def test_the_summary_counts_what_was_decided_and_known() -> None:
    rows = [
        row("unsat", "holds", "2.0"),
        row("sat", "unknown", "4.0"),
        row("timeout", "holds", "9.0"),
        row("sat", "holds"),
    ]
    found = summarise(rows)
    assert (found["instances"], found["decided"], found["share"]) == (4, 3, 0.75)
    assert (found["unsat"], found["sat"]) == (1, 2)
    assert (found["known"], found["known_and_decided"]) == (3, 2)
    assert found["wrong"] == ["a.onnx b"]
    assert found["median_seconds"] == 3.0


@needs_data
@pytest.mark.parametrize(
    ("family", "count"),
    [
        ("mnist_fc_vnncomp", 90),
        ("mnist_conv_verivital", 60),
        ("cifar10_resnet", 36),
        ("mnist", 72),
        ("collision_detection", 500),
    ],
)
def test_every_family_is_listed_and_its_first_instance_loads(family: str, count: int) -> None:
    folder = Path(DATA or "") / family
    instances = load_instances(family, folder)
    assert family in FAMILIES
    assert len(instances) == count
    network, prop = instances[0].load(folder)
    assert (prop.input_size, prop.output_size) == (network.input_size, network.output_size)


@needs_data
def test_processes_change_no_verdict() -> None:
    family = "collision_detection"
    folder = Path(DATA or "") / family
    some = load_instances(family, folder)[:400:100]
    alone, together = (
        {i.prop: (found["result"], found["boxes"]) for i, found in verify_instances(folder, some, settings)}
        for settings in (Settings(60.0), Settings(60.0, jobs=2))
    )
    assert alone == together
    assert len(alone) == 4
