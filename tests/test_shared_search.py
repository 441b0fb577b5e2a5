"""A search shared out among workers: the same proof as one process finds, whoever works and whoever dies."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

import repairsolver as rs
from repairsolver.bounds.tensors import tensor_graph
from repairsolver.errors import ExperimentError, SoundnessError, WorkerError
from repairsolver.executors import Executor
from repairsolver.executors.ray import on_ray
from repairsolver.executors.task import FAILED, Outcome, Task, perform
from repairsolver.verification.attack import Effort
from repairsolver.verification.engine import verify_property
from repairsolver.verification.query import queries
from repairsolver.verification.shared import driver
from repairsolver.verification.shared.driver import SharedSplitting
from repairsolver.verification.split import InputSplitting


class Here(Executor):
    """Works in this process; the newest task first, so that the order is another one; fails when told to."""

    def __init__(self, jobs: int, fail: tuple[str, ...] = ()) -> None:
        self.jobs, self._tasks, self._fail, self.done = jobs, [], list(fail), 0

    def start(self, task: Task) -> None:
        assert len(self._tasks) < self.jobs
        self._tasks.append(Task.from_json(task.to_json()))

    def ended(self) -> tuple[Task, Outcome]:
        task = self._tasks.pop()
        self.done += 1
        if self._fail:
            return task, Outcome(FAILED, reason=self._fail.pop(0), message="as told")
        return task, Outcome(**perform(task))

    def close(self) -> None:
        self._tasks.clear()


@pytest.fixture(autouse=True)
def _small_packets(monkeypatch):
    for name, size in (("HERE", 8), ("BOXES", 16), ("MOST_BOXES", 64), ("LEAST", 2)):
        monkeypatch.setattr(driver, name, size)


@pytest.fixture(scope="module")
def proved() -> tuple[rs.Network, rs.Property]:
    """A repaired network, whose proof takes some hundred boxes."""
    folder = files("repairsolver.demo")
    net = rs.load_network(folder / "controller.onnx")
    prop = rs.load_property(folder / "head_on.vnnlib", network=net)
    fix = rs.repair(net, prop, decision="min", limits=rs.Limits(seconds=60))
    assert fix.network is not None
    return fix.network, prop


def same(one: rs.Certificate, two: rs.Certificate) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(two, n)) for n in ("axis", "value", "weights"))


def shared(net, prop, executor, **more):
    return verify_property(net, prop, executor=executor, record=True, **more)


def test_the_proof_does_not_depend_on_who_works(proved):
    net, prop = proved
    alone = verify_property(net, prop, record=True)
    one, three = Here(1), Here(3)
    found = [shared(net, prop, executor) for executor in (one, three)]
    assert one.done > 3
    for verdict in found:
        assert verdict.status is rs.VerifyStatus.HOLDS
        assert "packets" in verdict.notes[-1]
        assert rs.check(verdict.certificate, network=net, property=prop).valid
    assert same(found[0].certificate, found[1].certificate)
    assert {v.boxes for v in found} == {len(v.certificate.axis) for v in found}
    assert alone.status is rs.VerifyStatus.HOLDS


def test_packets_leave_no_files_and_grow(proved, monkeypatch):
    """On disk are the packets under way alone; those of packets are taken further, up to the most."""
    net, prop = proved
    monkeypatch.setattr(driver, "BOXES", 2)
    present, budgets = [], []

    class Looking(Here):
        def start(self, task):
            present.append(len(list(Path(task.folder).parent.glob("packet-*.npz"))))
            budgets.append(task.options["boxes"])
            super().start(task)

    assert shared(net, prop, Looking(2)).status is rs.VerifyStatus.HOLDS
    assert max(present) <= 2 < len(present)
    assert {2, 4} <= set(budgets) <= {2, 4, 8, 16, 32, 64}


def test_packets_that_fail_are_examined_again(proved):
    net, prop = proved
    found = shared(net, prop, Here(2, ("crashed", "memory", "crashed", "time")))
    assert found.status is rs.VerifyStatus.HOLDS
    assert same(found.certificate, shared(net, prop, Here(2)).certificate)


@pytest.mark.parametrize("reason", ["lost", "internal", "soundness", "input"])
def test_what_trying_again_does_not_mend_is_said(proved, reason):
    net, prop = proved
    with pytest.raises(WorkerError, match=f"packet of .* boxes.*{reason}.*as told"):
        shared(net, prop, Here(2, (reason,)))


def test_a_packet_that_always_dies_is_given_up(proved):
    net, prop = proved
    with pytest.raises(WorkerError, match="failed 4 times"):
        shared(net, prop, Here(1, ("crashed",) * 50))


def test_violations_stop_the_search(proved):
    """Of the network before its repair, after an attack that finds nothing: workers tell of violations."""
    _, prop = proved
    net = rs.load_network(files("repairsolver.demo") / "controller.onnx")
    verdict = shared(net, prop, Here(2), effort=Effort(samples=1, restarts=1, steps=0, rounds=1))
    assert verdict.status is rs.VerifyStatus.VIOLATED
    assert verdict.counterexample is not None


def test_a_box_that_vanishes_is_an_alarm(proved):
    net, prop = proved
    graph = tensor_graph(net, torch.float64)
    search = InputSplitting(graph, queries(prop, "cpu"), batch=4, record=True)
    sharing = SharedSplitting(search, Here(1), net, prop, "real", 1e9)
    assert not sharing.done
    sharing.state = replace(sharing.state, stack=())
    with pytest.raises(SoundnessError, match="1 boxes were made, 0 examined"):
        _ = sharing.done


def test_an_interrupted_search_goes_on_from_its_tree(proved, tmp_path):
    net, prop = proved
    tree = tmp_path / "tree.npz"

    class Stopping(Here):
        def ended(self):
            if self.done == 3:
                raise KeyboardInterrupt
            return super().ended()

    with pytest.raises(rs.Interrupted) as stopped:
        shared(net, prop, Stopping(2), tree=tree)
    before = stopped.value.result
    assert 0 < before.proved_volume < 1
    resumed = shared(net, prop, Here(2), tree=tree)
    assert resumed.status is rs.VerifyStatus.HOLDS
    assert "Continued" in resumed.notes[0]
    assert rs.check(resumed.certificate, network=net, property=prop).valid


def test_time_that_is_up_leaves_boxes_open(proved):
    net, prop = proved
    verdict = shared(net, prop, Here(1), limits=rs.Limits(seconds=1e-3))
    assert verdict.status is rs.VerifyStatus.TIMEOUT
    assert len(verdict.open_boxes.lower) > 0


def test_local_workers(proved):
    net, prop = proved
    verdict = rs.verify(net, prop, jobs=2, certificate=True)
    assert verdict.status is rs.VerifyStatus.HOLDS
    assert same(verdict.certificate, shared(net, prop, Here(1)).certificate)


def test_bad_arguments(proved):
    net, prop = proved
    with pytest.raises(ValueError, match="jobs=N"):
        rs.verify(net, prop, executor="ray")
    with pytest.raises(ValueError, match="keep no tree"):
        rs.verify(net, prop, jobs=2, kept=rs.Kept())
    with pytest.raises(ExperimentError, match="known are local, ray"):
        rs.verify(net, prop, jobs=2, executor="cloud")
    with pytest.raises(ExperimentError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
        rs.verify(net, prop, jobs=2, executor="ray", address="127.0.0.1:1")


def test_without_ray_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExperimentError, match=r"pip install 'repairsolver\[ray\]'"):
        on_ray(1, "")
