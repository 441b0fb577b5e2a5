"""What the options of workers mean, and what a place of a cluster refuses; no cluster is needed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from repairsolver.cli.workers import answers_alone, completed, workers
from repairsolver.errors import ExperimentError
from repairsolver.executors import ray as ray_executor
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


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "it said nothing in 0.5 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it answered b'HTTP/1.1 "),
        (b"SSH", "it answered b'SSH'"),
    ],
)
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_port_where_something_else_listens_is_refused_soon(monkeypatch, answer, told, scheme) -> None:
    monkeypatch.setattr(ray_executor, "PATIENCE", 0.5)
    started = time.monotonic()
    with listening(answer) as port, pytest.raises(ExperimentError, match="6379") as refused:
        ray_executor._reachable(f"{scheme}127.0.0.1:{port}")
    assert time.monotonic() - started < 5
    assert f"what listens at {scheme}127.0.0.1:{port} is no Ray cluster: expected gRPC" in str(refused.value)
    assert told in str(refused.value)


def test_whoever_speaks_grpc_is_left_to_ray(monkeypatch) -> None:
    with listening(ray_executor.SETTINGS) as port:
        ray_executor._reachable(f"127.0.0.1:{port}")
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with listening(b"") as port:
        ray_executor._reachable(f"127.0.0.1:{port}")


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """A port that answers whoever comes with these bytes, and then stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        come = []

        def serve() -> None:
            with suppress(OSError):  # closed
                come.append(server.accept()[0])
                come[0].sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)
        for connection in come:
            connection.close()


def test_places_of_another_version_do_nothing() -> None:
    task = Task("a", "os:abort", {}, {}, "nowhere")
    told, files = Place().do(task.to_json(), {}, "0.0.0")
    assert (told["state"], told["reason"], files) == ("failed", "input", [])
    assert "expected 0.0.0" in told["message"]
