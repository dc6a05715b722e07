"""What a program can do over HTTP, and how the web process comes and goes."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise
from typing import Any

import pytest

from tests.whole.live import Live

from ..processes import wait_for_end
from .served import SOURCE, Served


def web_process(live: Live) -> int:
    found = [process for process in live_processes(live) if "neverblink.supervisor.web" in process[1]]
    assert len(found) == 1, found
    return found[0][0]


def live_processes(live: Live) -> list[tuple[int, list[str]]]:
    return [(process.pid, process.cmdline()) for process in live.processes()]


def test_a_command_is_the_same_over_http_and_the_socket(served: Served) -> None:
    done = served.do("pause", why="lunch", who="anna")
    assert done["paused"] is True
    assert done["seq"] > 0
    assert served.get("/api/status")["state"] == "paused"
    served.do("resume")
    newest = served.get("/api/audit?limit=2")["commands"]
    assert [item["op"] for item in newest] == ["resume", "pause"]
    assert newest[1]["who"] == "anna (token a-operator)"
    assert newest[1]["why"] == "lunch"
    assert served.do("send", name="book")["value"]["ticks"] > 0


def test_a_refusal_of_the_supervisor_is_passed_on(served: Served) -> None:
    served.do("lock", why="release freeze")
    try:
        answer = served.ask("POST", "/api/deploy", b'{"release":"current"}')
        assert (answer.status, answer.code) == (423, "locked")
        assert "release freeze" in answer.json["error"]["message"]
    finally:
        served.do("unlock")


def test_a_deployment_over_http_misses_no_tick(served: Served) -> None:
    code = served.live.code("v2", SOURCE + "\n# new\n")
    with served.events() as stream:
        assert next(stream)[0] == "begin"
        begun = served.do("deploy", path=str(code), why="over http")
        phases: list[str] = []
        leads: list[dict[str, Any]] = []
        ended: dict[str, Any] = {}
        while not (ended and leads):
            kind, _, data = next(stream)
            if kind == "phase":
                phases.append(data["phase"])
            if kind == "lead":
                leads.append(data)
            if kind == "deployment-ended":
                ended = data
    assert (ended["deployment"], ended["outcome"]) == (begun["deployment"], "done")
    # On a slow machine a phase may be over before its event arrives.
    assert phases[0] == "rehearsing"
    assert "probation" in phases
    end = time.monotonic() + 20
    while (seen := served.get("/api/ticks?limit=1000"))["ticks"][-1][5] != 2:
        assert time.monotonic() < end, "the page shows no tick of the new code"
    assert [lead["deployment"] for lead in seen["leads"]][-1] == begun["deployment"]
    assert leads == [seen["leads"][-1]]
    ticks = seen["ticks"]
    assert {tick[5] for tick in ticks} == {1, 2}
    for before, after in pairwise(ticks):
        # A slow machine may make the bot skip a tick; then the journal records it and the strip shows it.
        assert after[0] - after[6] - after[7] == before[0] + 1
    assert sum(tick[7] for tick in ticks[1:]) <= served.live.audit()["missed"]
    story = served.get(f"/api/history/{begun['deployment']}")
    assert story["outcome"] == "done"
    assert story["why"] == "over http"
    assert served.get("/api/releases")["current"] == begun["release"]


def test_events_resume_after_the_last_event_id(served: Served) -> None:
    with served.events("?topics=command") as stream:
        assert next(stream)[0] == "begin"
        served.do("pause")
        kind, first, data = next(stream)
        assert (kind, data["op"]) == ("command", "pause")
    served.do("resume")
    with served.events("?topics=command", **{"Last-Event-ID": first}) as stream:
        assert next(stream)[0] == "begin"
        assert next(stream)[2]["op"] == "resume"
    with served.events(**{"Last-Event-ID": "another-web-process-1"}) as stream:
        assert next(stream)[0] == "reset"


def test_listeners_of_a_removed_token_are_disconnected(served: Served) -> None:
    served.tokens["viewer"], kept = (
        served.live.run("token", "add", "gone", "--json").json["token"],
        served.tokens["viewer"],
    )
    try:
        with served.events() as stream:
            assert next(stream)[0] == "begin"
            served.live.run("token", "remove", "gone")
            # It ends by itself: if it were not cut off, this would never end.
            for _ in stream:
                pass
    finally:
        served.tokens["viewer"] = kept


def test_logs_are_paged(served: Served) -> None:
    page = served.get("/api/logs?worker=w1&lines=3")
    assert len(page["lines"]) == 3
    assert {line["worker"] for line in page["lines"]} == {"w1"}
    supervisor = served.get("/api/logs?worker=supervisor&lines=1000")
    assert any("leads (first)" in line["text"] for line in supervisor["lines"])
    served.do("send", name="book")
    after = served.get(f"/api/logs?worker=supervisor&after={supervisor['next']}")
    assert [line for line in after["lines"] if "send by" in line["text"]]
    refused = served.ask("GET", "/api/logs?after=nonsense")
    assert (refused.status, refused.code) == (422, "bad-input")


def test_a_web_process_that_dies_is_restarted_without_affecting_a_tick(served: Served) -> None:
    died = web_process(served.live)
    leader = served.get("/api/status")["worker"]
    os.kill(died, signal.SIGKILL)
    wait_for_end(died)
    served.answers()
    assert web_process(served.live) != died
    assert served.get("/api/status")["worker"] == leader
    # Who comes back to another process has to look at everything anew.
    with served.events(**{"Last-Event-ID": "0-1"}) as stream:
        assert next(stream)[0] == "reset"


def test_the_web_process_ends_with_a_killed_supervisor_and_starts_with_the_next(apart: Served) -> None:
    live = apart.live
    code = apart.code("v1")
    up = live.up(code)
    apart.answers()
    died = web_process(live)
    up.kill()
    up.ends()
    wait_for_end(died)
    with pytest.raises(ConnectionRefusedError):
        apart.ask("GET", "/api/status")
    live.start("up", "--project", code)
    apart.answers()
    # It has the ticks from before, too: they are in the journal.
    ticks = apart.get("/api/ticks?limit=20000")["ticks"]
    again = web_process(live)
    assert ticks[0][0] < ticks[-1][0]
    replaced = live.up(code, "--replace")
    wait_for_end(again)
    apart.answers()
    live.audit()
    last = web_process(live)
    assert live.ask("down")["stopped"]
    assert replaced.ends().code == 0
    wait_for_end(last)
