"""Searches and sweeps on a Ray cluster of two workers, one of which is killed while it works."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.resources import files

import numpy as np
import pytest

import repairsolver as rs
from repairsolver.executors import Executor
from repairsolver.executors.ray import OnRay, _reachable, on_ray
from repairsolver.verification.engine import verify_property
from repairsolver.verification.shared import driver

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
DEMO = files("repairsolver.demo")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[str]:
    """A cluster of this machine that all tests use; its address."""
    executor = on_ray(2, "")
    yield ray.get_runtime_context().gcs_address
    executor.close()


class Killing(Executor):
    """Kills a worker in the middle: right after it was given its second task."""

    def __init__(self) -> None:
        cluster = on_ray(2, "")
        assert isinstance(cluster, OnRay)
        self.jobs, self._cluster, self._victim, self.killed = 2, cluster, 0, 0

    def start(self, task):
        self._cluster.start(task)
        if self._victim and not self.killed:
            os.kill(self._victim, signal.SIGKILL)
            self.killed = self._victim

    def ended(self):
        found = self._cluster.ended()
        if not self._victim:
            (self._victim,) = self._cluster.processes()
        return found

    def close(self):
        self._cluster.close()


def test_a_cluster_is_known_by_its_answer(cluster):
    _reachable(cluster)


def test_a_killed_worker_loses_no_box(monkeypatch):
    for name, size in (("HERE", 8), ("BOXES", 16), ("LEAST", 2)):
        monkeypatch.setattr(driver, name, size)
    net = rs.load_network(DEMO / "controller.onnx")
    prop = rs.load_property(DEMO / "head_on.vnnlib", network=net)
    fixed = rs.repair(net, prop, decision="min", limits=rs.Limits(seconds=60)).network
    assert fixed is not None
    cluster = Killing()
    found = verify_property(fixed, prop, executor=cluster, record=True)
    assert cluster.killed
    assert found.status is rs.VerifyStatus.HOLDS
    local = rs.verify(fixed, prop, jobs=1, certificate=True)
    for part in ("axis", "value", "weights"):
        assert np.array_equal(getattr(found.certificate, part), getattr(local.certificate, part))
    assert rs.check(found.certificate, network=fixed, property=prop).valid


def test_a_killed_worker_loses_no_instance_and_no_file(tmp_path):
    rows = [
        {"network": DEMO / "controller.onnx", "property": DEMO / "head_on.vnnlib", "seed": seed}
        for seed in range(4)
    ]
    cluster = Killing()
    there = rs.sweep(rows, tmp_path / "there", executor=cluster)
    assert cluster.killed
    here = rs.sweep(rows, tmp_path / "here", jobs=2)
    assert [r["result"] for r in there.rows] == [r["result"] for r in here.rows] == ["sat"] * 4
    for row in there.rows:
        found = [tmp_path / run / "instances" / row["folder"] for run in ("there", "here")]
        assert len({frozenset(path.name for path in folder.iterdir()) for folder in found}) == 1
        assert any(found[0].iterdir())
