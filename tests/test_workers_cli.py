"""What the options of workers mean, and what a place of a cluster refuses; no cluster is needed."""

from __future__ import annotations

import pytest

from repairsolver.cli.workers import answers_alone, completed, workers
from repairsolver.executors.ray import Place
from repairsolver.executors.task import Task


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["verify", "a", "b", "--ray"], ["verify", "a", "b", "--ray=local"]),
        (["bench", "--ray", "--jobs", "2"], ["bench", "--ray=local", "--jobs", "2"]),
        (["bench", "--ray", "host:1", "-q"], ["bench", "--ray", "host:1", "-q"]),
        (["bench", "--ray=auto"], ["bench", "--ray=auto"]),
        ([], []),
    ],
)
def test_ray_needs_no_address(given: list[str], meant: list[str]) -> None:
    assert completed(given) == meant


def test_stdout_is_kept_for_answers(capsys: pytest.CaptureFixture[str]) -> None:
    for ray in (None, "local"):
        with answers_alone(ray):
            print("(raylet) a worker died")
        assert bool(capsys.readouterr().out) == (ray is None)


def test_a_cluster_has_at_least_one_worker() -> None:
    assert workers(None, None) == {"jobs": None}
    assert workers(3, None) == {"jobs": 3}
    assert workers(None, "auto") == {"jobs": 1, "executor": "ray", "address": "auto"}


def test_places_of_another_version_do_nothing() -> None:
    task = Task("a", "os:abort", {}, {}, "nowhere")
    told, files = Place().do(task.to_json(), {}, "0.0.0")
    assert (told["state"], told["reason"], files) == ("failed", "input", [])
    assert "expected 0.0.0" in told["message"]
