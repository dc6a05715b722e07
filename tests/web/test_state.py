"""The bot's state over HTTP: who may look at it, who may change it."""

from __future__ import annotations

import json
from typing import Any

from .served import Served


def ask(served: Served, op: str, body: dict[str, Any], role: str = "operator") -> Any:
    return served.ask("POST", f"/api/{op}", json.dumps(body).encode(), role=role)


def test_a_viewer_sees_the_state_and_only_an_operator_changes_it(served: Served) -> None:
    page = served.get("/api/state", role="viewer")
    assert [field["name"] for field in page["fields"]] == ["ticks"]
    before = page["point"]["number"]
    assert served.get("/api/state?path=ticks", role="viewer")["value"] > 0

    refused = ask(served, "state-set", {"path": "ticks", "value": 5, "confirm": "fox"}, "viewer")
    assert (refused.status, refused.code) == (403, "role")
    done = ask(served, "state-set", {"path": "ticks", "value": 1_000_000, "confirm": "fox"})
    assert (done.status, done.json["new"]) == (200, 1_000_000)
    assert served.get("/api/state?path=ticks", role="viewer")["value"] >= 1_000_000

    found = served.get(f"/api/state-diff?a=frame:{before}", role="viewer")
    assert [change["path"] for change in found["changes"]] == ["ticks"]
    preview = ask(served, "state-restore", {"at": f"frame:{before}", "dry_run": True})
    assert (preview.status, preview.json["total"]) == (200, 1)
    restored = ask(served, "state-restore", {"at": f"frame:{before}", "confirm": "fox"})
    assert restored.status == 200, restored
    assert served.get("/api/state?path=ticks", role="viewer")["value"] < 1_000_000


def test_a_path_or_a_point_that_is_not_there_is_answered_as_such(served: Served) -> None:
    for query, status, words in (
        ("path=tick", 404, "did you mean ticks?"),
        ("at=frame:99999999999", 404, "has not run yet"),
        ("at=yesterday", 422, "not a point of the bot's life"),
        ("limit=0", 422, "limit"),
    ):
        answer = served.ask("GET", f"/api/state?{query}")
        assert answer.status == status, answer
        assert words in answer.json["error"]["message"]
