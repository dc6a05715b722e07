"""What of the freqtrade adapter works without freqtrade; the rest is in tests/frameworks/freqtrade."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from neverblink.worker.adapters.freqtrade import only_leading


class Process:
    def __init__(self, leading: bool) -> None:
        self.leading = leading


@pytest.mark.parametrize(
    ("leading", "method", "status"),
    [
        (True, "POST", 200),
        (True, "GET", 200),
        (False, "GET", 200),
        (False, "POST", 503),
        (False, "DELETE", 503),
    ],
)
def test_a_process_that_no_longer_leads_answers_and_changes_nothing(
    leading: bool, method: str, status: int
) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {}

    gated = only_leading(Process(leading), app)
    asyncio.run(gated({"type": "http", "method": method}, receive, send))
    assert sent[0]["status"] == status


def test_websockets_and_the_start_of_the_application_pass() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any: ...

    for kind in ("lifespan", "websocket"):
        asyncio.run(only_leading(Process(leading=False), app)({"type": kind}, nothing, nothing))
    assert seen == ["lifespan", "websocket"]
