"""The interface on a real server: every kind of job, progress, results, and what is refused."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from service_server import NET, PROP, TOKEN, Server, serving

import repairsolver as rs
from repairsolver.service.kinds import KINDS

FILES = {"network": NET, "property": PROP}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("api"), "--upload", "2", "--longest", "600") as started:
        yield started


@pytest.fixture(scope="module")
def repaired(server: Server) -> dict[str, Any]:
    answer = server.submit("repair", FILES, '{"seconds": 5, "decision": "min", "gap": 0.5}')
    assert answer.status_code == 201, answer.text
    job = server.ended(answer.json()["id"])
    assert (job["state"], job["answer"]) == ("done", "repaired"), job
    return job


def fetch(server: Server, job: dict[str, Any], name: str, path: Path) -> Path:
    path.write_bytes(server.client.get(f"/api/jobs/{job['id']}/files/{name}").raise_for_status().content)
    return path


def test_a_repair_is_handed_back_and_holds(server: Server, repaired: dict[str, Any], tmp_path: Path) -> None:
    assert repaired["files"] == [
        "certificate.cert", "repaired.delta.json", "repaired.onnx", "report.html", "result.json",
    ]  # fmt: skip
    fixed = fetch(server, repaired, "repaired.onnx", tmp_path / "fixed.onnx")
    assert rs.verify(fixed, PROP).status is rs.VerifyStatus.HOLDS
    proof = fetch(server, repaired, "certificate.cert", tmp_path / "proof.cert")
    files = {"certificate": proof, "network": fixed, "property": PROP}
    job = server.ended(server.submit("check", files).json()["id"])
    assert (job["state"], job["answer"]) == ("done", "valid"), job
    record = json.loads(fetch(server, repaired, "result.json", tmp_path / "r.json").read_text())
    assert record["repaired_sha256"] == rs.load_network(fixed).sha256
    assert record["network"]["name"] == "controller"
    assert any(row["numbers"].get("lower_bound") for row in record["history"])


def test_gates_and_imitation_are_kinds_of_repair(server: Server, tmp_path: Path) -> None:
    asked = '{"seconds": 30, "decision": "min", "method": "gate", "place": "output", "monitor": true}'
    job = server.ended(server.submit("repair", FILES, asked).json()["id"])
    assert (job["state"], job["answer"]) == ("done", "repaired"), job
    assert "repaired.gates.json" in job["files"]
    gated = rs.load_network(fetch(server, job, "repaired.onnx", tmp_path / "gated.onnx"))
    assert rs.verify(gated, PROP).status is rs.VerifyStatus.HOLDS
    assert rs.remove_gates(gated).model == NET.read_bytes()
    asked = '{"seconds": 30, "decision": "min", "method": "imitation", "variant": "tune"}'
    job = server.ended(server.submit("repair", FILES, asked).json()["id"])
    assert (job["state"], job["answer"]) == ("done", "repaired"), job


@pytest.mark.parametrize(
    "options",
    ['{"monitor": true}', '{"method": "gate", "norm": "linf"}', '{"method": "gate", "variant": "tune"}'],
)
def test_options_of_another_method_fail_with_the_reason(server: Server, options: str) -> None:
    job = server.ended(server.submit("repair", FILES, options).json()["id"])
    assert job["state"] == "failed", job
    assert "does not" in json.dumps(job) or "not use" in json.dumps(job), job


def test_progress_comes_as_events_and_goes_on_where_it_was(server: Server, repaired: dict[str, Any]) -> None:
    def events(last: str) -> list[tuple[str, str, Any]]:
        text = server.client.get(f"/api/jobs/{repaired['id']}/events", headers={"Last-Event-ID": last}).text
        found = re.findall(r"(?:id: (\d+)\n)?event: (\w+)\ndata: (.*)\n\n", text)
        return [(id_, kind, json.loads(data)) for id_, kind, data in found]

    everything = events("0")
    assert [kind for _, kind, _ in everything[-2:]] == ["job", "end"]
    stages = [data["stage"] for _, kind, data in everything if kind == "progress"]
    assert stages[0] == "start"
    assert {"attack", "solve", "bound", "proved"} <= set(stages)
    assert events(everything[2][0])[0] == everything[3]
    for wrong in ("999999999", "1", "x", "-5"):
        assert events(wrong) == everything


def test_the_same_question_is_answered_from_the_store(server: Server, repaired: dict[str, Any]) -> None:
    options = '{"gap": 0.5, "seconds": 5.0, "decision": "min", "seed": 0}'
    again = server.submit("repair", FILES, options)
    assert (again.status_code, again.json()["id"], again.json()["duplicate"]) == (200, repaired["id"], True)
    other = server.submit("repair", FILES, '{"gap": 0.5, "seconds": 8, "seed": 1}')
    assert other.status_code == 201
    assert server.client.post(f"/api/jobs/{other.json()['id']}/cancel").status_code == 200
    fresh = server.submit("verify", FILES, fresh="true")
    assert server.submit("verify", FILES, fresh="true").json()["id"] != fresh.json()["id"]


def test_layer_graphs(server: Server, tmp_path: Path) -> None:
    layers = [
        {"type": "Dense", "args": {"units": 4}},
        {"type": "Conv2D", "args": {"filters": 2, "kernel_size": 3}},
    ]
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"framework": "keras", "input_shape": [8], "layers": layers}))
    job = server.ended(server.submit("architecture", {"model": model}, '{"prove": false}').json()["id"])
    assert (job["state"], job["answer"]) == ("done", "repaired"), job
    assert "repaired.json" in job["files"]
    assert "insert" in fetch(server, job, "report.html", tmp_path / "r.html").read_text()


def test_every_kind_is_described(server: Server) -> None:
    schema = server.client.get("/openapi.json").json()
    for kind in KINDS:
        form = schema["paths"][f"/api/jobs/{kind}"]["post"]["requestBody"]["content"]["multipart/form-data"][
            "schema"
        ]
        assert set(form["properties"]) == {slot.name for slot in KINDS[kind].slots} | {"options"}
    told = {each["name"]: each for each in server.client.get("/api/kinds").json()}
    assert told["repair"]["options"]["properties"]["norm"]["default"] == "l1"


def test_a_job_that_runs_is_cancelled_and_keeps_what_it_reached(server: Server, tmp_path: Path) -> None:
    answer = server.submit("repair", FILES, '{"seconds": 300, "gap": 0.0, "decision": "min"}').json()
    server.reached(answer["id"], "running")
    started = time.monotonic()
    while (
        "proved" not in server.client.get(f"/api/jobs/{answer['id']}").text
        and time.monotonic() - started < 1.0
    ):
        time.sleep(0.1)
    assert server.client.delete(f"/api/jobs/{answer['id']}").status_code == 409
    assert server.client.post(f"/api/jobs/{answer['id']}/cancel").status_code == 200
    job = server.ended(answer["id"])
    assert (job["state"], job["reason"]) == ("cancelled", "cancelled"), job["message"]
    assert server.client.delete(f"/api/jobs/{job['id']}").status_code == 204
    assert server.client.get(f"/api/jobs/{job['id']}").status_code == 404
    assert not (server.data / "jobs" / job["id"]).exists()


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Basic x"}]
)
def test_without_the_token_there_is_nothing(server: Server, header: dict[str, str]) -> None:
    with httpx.Client(base_url=server.url, headers=header) as client:
        for path in (
            "/api/jobs",
            "/api/kinds",
            "/api/jobs/x",
            "/api/jobs/x/events",
            "/api/jobs/x/files/y",
            "/api/nothing",
        ):
            assert client.get(path).status_code == 401
        refused = client.post("/api/jobs/verify", files={"network": b"x" * 100})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert client.get("/api/health").status_code == 200
        assert client.get("/").status_code == 200


def test_other_sites_and_other_names_are_refused(server: Server) -> None:
    def status(**headers: str) -> int:
        return server.client.get("/api/jobs", headers=headers).status_code

    own = server.url.removeprefix("http://")
    assert status(Origin="http://evil.example") == 403
    assert status(Origin="null") == 403
    assert status(Origin=server.url) == 200
    assert status(Host="evil.example") == 400
    assert status(Host=own) == 200
    answer = server.client.options("/api/jobs", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    for path in ("/", "/api/jobs", "/main.js"):
        headers = server.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, "{}", "a file is needed"),
        ({"network": NET}, "{}", "property: a file is needed"),
        ({"network": PROP, "property": PROP}, "{}", "expected a file that ends in .onnx"),
        ({"network": [NET, NET], "property": PROP}, "{}", "at most 1, got 2"),
        (FILES | {"nonsense": NET}, "{}", "nonsense: no such file"),
        (FILES, "{", "not JSON"),
        (FILES, "[" * 60_000, "not JSON"),
        (FILES, "[]", "options"),
        (FILES, '{"seconds": -1, "sede": 3}', "sede"),
        (FILES, '{"sede": 3, "x": 1}', "sede: no such option of 'verify'; x: no such option of 'verify'; "),
        (FILES, '{"sede": 3}', "; options are arithmetic, memory_gb, seconds, seed"),
        (FILES, '{"seconds": 601}', "at most 600"),
        (FILES, '{"seconds": NaN}', "seconds"),
        (FILES, '{"seed": 1e400}', "seed"),
        (FILES, " " * 70_000, "more than"),
    ],
)
def test_wrong_submissions_say_what_is_wrong(
    server: Server, files: dict[str, Any], options: str, message: str
) -> None:
    answer = server.submit("verify", files, options)
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["detail"]
    assert list((server.data / "incoming").iterdir()) == []


def test_what_is_too_large_is_refused(server: Server, tmp_path: Path) -> None:
    large = tmp_path / "large.onnx"
    large.write_bytes(b"\0" * 3_000_000)
    assert server.submit("verify", {"network": large, "property": PROP}).status_code == 413

    def chunks() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="network"; filename="x.onnx"\r\n\r\n'
        for _ in range(30):
            yield b"\0" * 100_000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    try:
        assert server.client.post("/api/jobs/verify", content=chunks(), headers=headers).status_code == 413
    except httpx.WriteError:  # the server had answered and closed before everything was sent
        assert server.client.get("/api/health").status_code == 200


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd.onnx", "/etc/x.onnx", "..\\..\\x.onnx", "a\x00b.onnx", "é" * 500 + ".onnx"]
)
def test_names_of_files_are_only_words(server: Server, name: str) -> None:
    files = [("network", (name, NET.read_bytes())), ("property", ("p.vnnlib", PROP.read_bytes()))]
    answer = server.client.post(
        "/api/jobs/verify", files=files, data={"options": '{"seed": 77}'}, params={"fresh": "true"}
    )
    job = answer.json()
    assert answer.status_code in (201, 422)
    if answer.status_code == 201:
        shown = job["inputs"]["network"][0]["name"]
        assert "/" not in shown
        assert len(shown) <= 200
        stored = server.data / "jobs" / job["id"] / "inputs"
        assert sorted(p.name for p in stored.iterdir()) == ["network.onnx", "property.vnnlib"]
        server.client.post(f"/api/jobs/{job['id']}/cancel")


@pytest.mark.parametrize(
    "path", ["..%2f..%2fserver.lock", "outcome.json", "%2e%2e%2frequest.json", "nothing.onnx"]
)
def test_only_what_a_job_made_can_be_fetched(server: Server, repaired: dict[str, Any], path: str) -> None:
    assert server.client.get(f"/api/jobs/{repaired['id']}/files/{path}").status_code == 404


def test_unknown_jobs(server: Server) -> None:
    for name in ("0" * 32, "..", "%2e%2e", "x"):
        assert server.client.get(f"/api/jobs/{name}/events").status_code == 404
        assert server.client.post(f"/api/jobs/{name}/cancel").status_code in (404, 405)
        assert server.client.delete(f"/api/jobs/{name}").status_code in (404, 405)


def test_the_list_is_paged(server: Server, repaired: dict[str, Any]) -> None:
    page = server.client.get("/api/jobs", params={"most": 1}).json()
    assert len(page["jobs"]) == 1
    older = server.client.get("/api/jobs", params={"before": page["jobs"][0]["number"], "most": 200}).json()
    assert all(job["number"] < page["jobs"][0]["number"] for job in older["jobs"])
    done = server.client.get("/api/jobs", params={"state": "done"}).json()["jobs"]
    assert repaired["id"] in [job["id"] for job in done]
    assert server.client.get("/api/jobs", params={"most": 1000}).status_code == 422


def test_a_browser_that_goes_away_disturbs_nobody(server: Server) -> None:
    job = server.submit("repair", FILES, '{"seconds": 60, "gap": 0.0, "seed": 5}').json()["id"]
    for _ in range(5):
        with server.client.stream("GET", f"/api/jobs/{job}/events") as answer:
            next(answer.iter_bytes())
    assert server.client.get("/api/health").status_code == 200
    server.client.post(f"/api/jobs/{job}/cancel")
    assert server.ended(job)["state"] == "cancelled"


def test_a_packed_network_is_the_same_network(server: Server, tmp_path: Path) -> None:
    packed = tmp_path / "controller.onnx.gz"
    packed.write_bytes(gzip.compress(NET.read_bytes()))
    job = server.ended(server.submit("verify", {"network": packed, "property": PROP}).json()["id"])
    assert job["answer"] == "sat"


def test_a_second_server_on_the_same_folder_is_refused(server: Server) -> None:
    from typer.testing import CliRunner

    from repairsolver.cli.main import app

    done = CliRunner().invoke(app, ["serve", "--data", str(server.data), "--port", "0"])
    assert done.exit_code == 1
    assert "another server uses this folder" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--host", "0.0.0.0"], "needs a token that you choose"), (["--token", "short"], "at least 16")],
)
def test_a_server_is_not_started_without_a_safe_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    from typer.testing import CliRunner

    from repairsolver.cli.main import app

    monkeypatch.delenv("REPAIRSOLVER_TOKEN", raising=False)
    done = CliRunner().invoke(app, ["serve", "--data", str(tmp_path), "--port", "0", *options])
    assert done.exit_code == 1
    assert message in done.stderr


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import repairsolver.cli.serve as command
    from repairsolver.errors import ServiceError

    monkeypatch.setattr(command, "NEEDED", ("fastapi", "no_such_package_here"))
    with pytest.raises(ServiceError, match=r"no_such_package_here.*pip install 'repairsolver\[service\]'"):
        command._require()


def test_a_statement_by_samples_is_made_and_confirmed(server: Server, tmp_path: Path) -> None:
    asked = '{"epsilon": 0.5, "eta": 0.1, "seconds": 20}'
    job = server.ended(server.submit("sample", FILES, asked).json()["id"])
    assert (job["state"], job["answer"]) == ("done", "accepted"), job
    statement = fetch(server, job, "statement.cert", tmp_path / "statement.cert")
    again = server.submit("check", {**FILES, "certificate": statement}).json()["id"]
    assert server.ended(again)["answer"] == "valid"
