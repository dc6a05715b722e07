"""A bug wrote a value that the next process would not read as it was written: real processes."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from .bots import bot
from .live import Live

STATE = """
    ticks: int = 0
    price: float = 0.0
    groups: dict[str, list[int]] = {}
    orders: list[int] = []
    copied: list[int] = []
    """

WRONG = """
    def on_tick(self, tick):
        self.state.ticks += 1

    def on_command(self, name, args):
        from collections import defaultdict
        state = self.state
        if name == "none":
            state.price = None
        elif name == "right":
            state.price = 1.5
        elif name == "default":
            state.groups = defaultdict(list, {"a": [1]})
        elif name == "share":
            state.orders = state.copied = [1]
        return {"pid": os.getpid(), "ticks": state.ticks}
    """

BOT = bot(WRONG, state=STATE, tick="20ms")

WITHIN_TICKS = 25
"""The bound for a state of this size: half a second, a part in fifty of which reads it back ten times."""


def write(live: Live, name: str) -> int:
    """Have the bot write it; return the tick after which it did."""
    return live.ask("send", name=name)["seq"]


def problem_of(live: Live, *fields: str) -> dict[str, Any]:
    """The first problem that is reported for one of these fields."""
    event = live.event(
        lambda item: item["problem"] is not None and item["field"] in fields, type="state-problem"
    )
    return event["problem"]


@pytest.mark.parametrize(
    ("name", "fields", "kind"),
    [
        ("none", "price", "unreadable"),
        pytest.param("default", "groups", "differs", marks=pytest.mark.deep),
        pytest.param("share", "orders copied", "shared", marks=pytest.mark.deep),
    ],
)
def test_the_leader_tells_of_it_within_the_bound(live: Live, name: str, fields: str, kind: str) -> None:
    live.up(live.code("v0", BOT))
    live.listen()
    wrote = write(live, name)
    problem = problem_of(live, *fields.split())
    field = problem["field"]
    assert problem["kind"] == kind
    assert 0 <= problem["seq"] - wrote <= WITHIN_TICKS
    [seen] = [
        item
        for item in live.status_with(lambda status: status["problems"])["problems"]
        if item["field"] == field
    ]
    assert seen["path"] == field
    shown = live.run("status")
    assert f"field {field}" in shown.out
    assert seen["mend"] in " ".join(shown.out.split())
    live.ticks_on()


@pytest.mark.deep
def test_it_is_told_when_the_value_is_right_again(live: Live) -> None:
    live.up(live.code("v0", BOT))
    live.listen()
    write(live, "none")
    seen = live.status_with(lambda status: status["problems"] and status["problems"][0]["lines"])
    assert all(line.startswith("bot.py:") for line in seen["problems"][0]["lines"])
    write(live, "right")
    live.event(lambda event: event["problem"] is None, type="state-problem", field="price")
    live.status_with(lambda status: not status["problems"])


UNENCODABLE = """
    def on_tick(self, tick):
        self.state.ticks += 1
        if self.state.ticks == 5 and not os.path.exists("{mark}"):
            open("{mark}", "w").close()
            self.state.price = type("float64", (float,), {{"__module__": "numpy", "item": float}})(1.5)
    """


def test_after_a_value_that_does_not_go_into_bytes_the_bot_goes_on_from_the_boundary_before(
    live: Live,
) -> None:
    code = bot(UNENCODABLE.format(mark=live.tmp / "written"), state=STATE, tick="50ms")
    live.up(live.code("v0", code))
    failed = live.status_with(lambda status: status["failure"] and status["worker"])["failure"]
    assert "state field price: 1.5 (numpy.float64) cannot be encoded: write x.item()" in failed["reason"]
    assert failed["reason"].startswith("tick ")
    assert "bot.py:" in failed["reason"]
    live.audit()
    live.ticks_on()


MENDED = BOT.replace("price: float = 0.0", "price: float | None = 0.0")


def test_a_deployment_is_refused_before_it_begins_and_goes_ahead_when_it_is_meant(live: Live) -> None:
    code = live.code("v0", BOT)
    live.up(code)
    live.listen()
    write(live, "none")
    problem_of(live, "price")
    before = len(live.ask("history")["deployments"])
    for command in (["deploy", live.code("v1", f"{BOT}# 1\n")], ["restart"]):
        refused = live.run(*command)
        assert refused.code == 3, refused
        assert "state field price: expected float, found None" in refused.err
        assert "--as-read" in refused.err
    assert len(live.ask("history")["deployments"]) == before
    # Code with the same mistake is found out in the rehearsal, and code that declares what is there takes over.
    again = live.run("deploy", live.code("v1-again", f"{BOT}# 1\n"), "--as-read")
    assert again.code == 3, again
    assert "price" in again.out
    mended = live.run("deploy", live.code("v2", MENDED), "--as-read")
    assert mended.code == 0, mended
    live.status_with(lambda status: not status["problems"])
    assert live.run("audit", "--json").json["missed"] == 0


@pytest.mark.deep
def test_a_dry_run_says_so_and_finds_out_whether_the_new_code_reads_it(live: Live) -> None:
    live.up(live.code("v0", BOT))
    live.listen()
    write(live, "none")
    problem_of(live, "price")
    bad = live.run("deploy", live.code("v1", f"{BOT}# 1\n"), "--dry-run")
    assert bad.code == 3, bad
    good = live.run("deploy", live.code("v2", MENDED), "--dry-run")
    assert good.code == 0, good
    assert "state field price" in good.out + good.err


def test_a_bot_whose_state_cannot_be_read_goes_on_from_the_newest_that_can_when_told_to(live: Live) -> None:
    code = live.code("v0", BOT)
    live.up(code)
    live.listen()
    good = write(live, "right")
    wrote = write(live, "none")
    problem_of(live, "price")
    live.ticks_on()
    leader = live.book()["pid"]
    os.kill(leader, signal.SIGKILL)
    planned = live.event(type="start-planned")
    for words in ("'price'", "a bug wrote a value of another one", "neverblink up --last-readable"):
        assert words in planned["reason"], planned
    assert "@migration" not in planned["reason"]
    live.down()
    live.up(code, "--last-readable")
    status = live.status_with(lambda status: status["worker"])
    assert status["paused"]
    assert status["pause"]["op"] == "journal"
    told = status["journal"]["recovered"]
    assert "are left out, because this code cannot read them" in told
    assert "price" in told
    state = live.ask("state", path="price")["value"]
    assert state == 1.5
    assert good <= wrote
    live.ask("resume")
    live.ticks_on()
    # The chain is whole; the values that were written are not.
    found = live.run("audit", "--json")
    assert found.code == 1, found.out
    assert {one["invariant"] for one in found.json["broken"]} == {9}, found.json["broken"]
    [wrong] = found.json["values"]["wrong"]
    assert wrong["field"] == "price"
    assert found.json["values"]["read"] > 10
    # The next start does not go back any more.
    os.kill(live.book()["pid"], signal.SIGKILL)
    live.status_with(
        lambda status: status["worker"] and status["worker"] != "w1" and status["state"] == "running"
    )
    live.ticks_on()


@pytest.mark.deep
def test_last_readable_changes_nothing_for_a_bot_whose_state_can_be_read(live: Live) -> None:
    code = live.code("v0", BOT)
    live.up(code)
    before = live.book()["ticks"]
    live.down()
    live.up(code, "--last-readable")
    status = live.status_with(lambda status: status["worker"])
    assert not status["paused"]
    assert status["journal"]["recovered"] == ""
    assert live.book()["ticks"] >= before


@pytest.mark.deep
def test_audit_proves_that_what_was_written_can_be_read(live: Live) -> None:
    live.up(live.code("v0", BOT))
    live.ticks_on()
    live.deploy(live.code("v1", f"{BOT}# 1\n"))
    live.ticks_on()
    found = live.run("audit")
    assert found.code == 0, found.out
    assert "proven  every value that was written can be read as its type" in found.out
    assert "read back as their types" in found.out


@pytest.mark.deep
def test_a_wrong_value_that_was_overwritten_before_the_leader_died_costs_nothing(live: Live) -> None:
    live.up(live.code("v0", BOT))
    live.listen()
    write(live, "none")
    problem_of(live, "price")
    write(live, "right")
    live.event(lambda one: one["problem"] is None, type="state-problem", field="price")
    before = live.book()
    os.kill(before["pid"], signal.SIGKILL)
    status = live.status_with(
        lambda status: status["worker"] not in ("", "w1") and status["state"] == "running"
    )
    assert not status["paused"]
    assert live.ask("state", path="price")["value"] == 1.5
    assert live.book()["ticks"] > before["ticks"]


def test_check_finds_a_default_that_does_not_survive(live: Live) -> None:
    state = """
        ticks: int = 0
        groups: dict[str, list[int]] = msgspec.field(default_factory=lambda: defaultdict(list))
        """
    source = bot(state=state, first="from collections import defaultdict")
    found = live.run("check", live.code("v0", source), "--no-rehearsal")
    assert found.code == 1, found
    assert "state field groups: defaultdict" in found.out + found.err
