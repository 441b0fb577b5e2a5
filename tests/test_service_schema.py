"""The interface against its own OpenAPI description: requests made from it, and requests that break it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from service_server import TOKEN, Server, serving

schemathesis = pytest.importorskip("schemathesis", reason="the extra `test` is not installed")
positive_data_acceptance = pytest.importorskip("schemathesis.specs.openapi.checks").positive_data_acceptance
EXAMPLES = 8
CAN_BE_BROKEN = ("POST /api/jobs/verify", "POST /api/jobs/repair", "GET /api/jobs ")
"""Operations with something in them that a request can break; the paths take any text."""

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("schema"), "--workers", "1") as started:
        yield started


def test_every_answer_is_one_that_is_described(server: Server) -> None:
    """No request makes the server fail, and no answer is undescribed, whatever the request."""
    interface = schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers=HEADERS)
    asked: Counter[str] = Counter()

    def check(case: Any) -> None:
        asked[case.operation.label] += 1
        # a description cannot say which bytes are a network, so that files made from it may be refused
        case.call_and_validate(headers=HEADERS, excluded_checks=[positive_data_acceptance])

    quick = settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    for result in interface.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:
            if mode.is_negative and not operation.label.startswith(CAN_BE_BROKEN):
                continue
            seed(1)(quick(given(case=operation.as_strategy(generation_mode=mode))(check)))()
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert len(asked) == sum(len(methods) for methods in described.values())
    assert server.client.get("/api/health").json()["status"] == "ok"
