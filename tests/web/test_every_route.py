"""Every route, asked in every way that its description allows and in many that it does not: no answer is a 500."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from neverblink.protocol.commands import Code
from neverblink.supervisor.web.errors import STATUS
from neverblink.supervisor.web.openapi import describe
from neverblink.supervisor.web.operations import OPERATIONS
from neverblink.supervisor.web.tokens import Tokens
from tests.whole.live import WITHIN

from .served import Served


def test_every_fault_has_a_status() -> None:
    assert set(get_args(Code)) <= set(STATUS)


def test_openapi_describes_exactly_the_existing_routes(served: Served) -> None:
    document = served.get("/openapi.json", role="")
    assert document["openapi"] == "3.1.0"
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert described == {(operation.path, "post" if operation.changes else "get") for operation in OPERATIONS}
    ids = [item["operationId"] for methods in document["paths"].values() for item in methods.values()]
    assert len(set(ids)) == len(ids)
    # A body is the very command that goes over the socket.
    deploy = document["components"]["schemas"]["Deploy"]["properties"]
    assert {"path", "release", "wait", "dry_run", "why"} <= set(deploy)
    assert not {"op", "id"} & set(deploy)


def test_openapi_lists_the_possible_refusals_of_each_operation() -> None:
    document = describe("1")["paths"]

    def codes(path: str, method: str = "get") -> set[str]:
        answers = document[path][method]["responses"]
        assert answers.pop("200")["description"] == "Done."
        for status, answer in answers.items():
            assert {STATUS[code] for code in answer["description"].split(", ")} == {int(status)}
        return {code for answer in answers.values() for code in answer["description"].split(", ")}

    token = {"host", "no-token", "bad-token", "too-many", "failed"}
    asked = token | {"unreachable", "silent"}
    change = asked | {"role", "origin", "bad-request", "too-large", "not-json"}
    bot = {"busy", "down", "boundary"}
    assert codes("/openapi.json") == {"host", "bad-input"}
    assert codes("/api/me") == codes("/api/ticks") == token | {"bad-input"}
    assert codes("/api/status") == asked | {"bad-input"}
    assert codes("/api/history/{deployment}") == asked | {"bad-input", "not-found"}
    assert codes("/api/unlock", "post") == change
    assert codes("/api/lock", "post") == change | {"bad-input", "locked"}
    assert codes("/api/pause", "post") == change | bot
    assert codes("/api/send", "post") == change | bot | {"bad-input", "not-found"}
    handoff = change | bot | {"bad-input", "not-found", "aborted", "rolled-back"}
    assert codes("/api/rollback", "post") == handoff
    assert codes("/api/deploy", "post") == handoff | {"locked"}
    # One that nothing can be refused with is not in use. The method is refused where there is no operation.
    assert {"method"} == set(STATUS) - set().union(*(operation.codes for operation in OPERATIONS))


@pytest.mark.deep
def test_no_route_fails_for_any_request(served: Served) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="no schemathesis here: bin/test installs it")
    generation = pytest.importorskip("schemathesis.generation")
    # One token may ask only so often.
    tokens = Tokens(served.live.home / "tokens")
    turn = cycle([tokens.add(f"t{number}", "operator") for number in range(40)])
    codes: Counter[int] = Counter()
    checks = [
        schemathesis.checks.not_a_server_error,
        schemathesis.checks.content_type_conformance,
        schemathesis.checks.response_schema_conformance,
        schemathesis.checks.status_code_conformance,
    ]
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == "/api/events":
            # It never ends; what it takes is what the others take.
            continue
        for mode in generation.GenerationMode:
            _try(operation.as_strategy(generation_mode=mode), turn, checks, codes)
    # What was locked or paused is as it was.
    served.ask("POST", "/api/unlock", b"{}")
    served.ask("POST", "/api/resume", b"{}")
    assert codes[200] > 30
    assert codes[422] + codes[400] > 30
    assert not [code for code in codes if code >= 500], codes
    assert served.get("/api/status")["worker"]


def _try(cases: Any, turn: Iterator[str], checks: list[Any], codes: Counter[int]) -> None:
    @seed(1)
    @settings(
        max_examples=5,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(cases)
    def ask(case: Any) -> None:
        answer = case.call(headers={"Authorization": f"Bearer {next(turn)}"}, timeout=WITHIN)
        codes[answer.status_code] += 1
        case.validate_response(answer, checks=checks)

    ask()
