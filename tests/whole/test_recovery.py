"""A bot recovers from its journal, after its leader died and after it was stopped."""

from __future__ import annotations

import os
import signal

import pytest

from ..matrix import cases
from .bots import COUNTER, bot
from .live import Live

DIES = {
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "aborts": "os.abort()",
    "exits": "os._exit(3)",
}

MORTAL = """
    def on_lead(self, in_doubt):
        say(f"leads {{os.getpid()}} {{[(d.id, d.name, d.args) for d in in_doubt]}}")

    def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {{tick.seq}}")

    def on_event(self, event):
        self.state.events += 1

    def on_command(self, name, args):
        import signal
        if name == "die" and not os.path.exists("{once}"):
            open("{once}", "w").close()
            with self.decision("enter", market="BTC") as decision:
                say(f"dies {{decision.id}}")
                {how}
        if name == "put":
            self.inbox.put(args["key"], 1)
        return {{"pid": os.getpid(), **msgspec.to_builtins(self.state)}}
    """
STATE = "ticks: int = 0\nevents: int = 0"


@pytest.mark.parametrize("how", cases(DIES, "is killed"))
def test_a_leader_that_dies_in_a_decision_is_succeeded_and_the_decision_is_in_doubt(
    live: Live, how: str
) -> None:
    live.up(
        live.code("v0", bot(MORTAL.format(how=DIES[how], once=live.tmp / "once"), tick="20ms", state=STATE))
    )
    live.ask("send", name="put", args={"key": "fill-1"})
    before = live.ask("send", name="book")["value"]
    # It is not run again, but its sender gets an error.
    error = live.answer(live.send("send", name="die"))["error"]
    assert (error["code"], "it is not run again" in error["message"]) == ("failed", True), error
    live.ticks_on()
    after = live.ask("send", name="book")["value"]
    assert after["pid"] != before["pid"]
    assert after["ticks"] > before["ticks"]
    assert after["events"] == 1
    (doomed,) = live.printed("dies")
    assert f"('{doomed}', 'enter'" in live.printed("leads")[1]
    (outage,) = live.status()["outages"]
    assert (outage["worker"], outage["successor"], outage["deaths"]) == ("w1", "w2", 1)
    assert [(doubt["id"], doubt["name"]) for doubt in outage["in_doubt"]] == [(doomed, "enter")]
    assert outage["missed"] >= 1
    assert "went on after" in live.run("status").out
    assert live.ask("acknowledge", who="anna", why="seen")["acknowledged"][0]["id"] == 1
    assert live.status()["outages"] == []
    live.down()
    report = live.audit()
    assert report["doubled"] == 0
    assert report["ok"], report
    (death,) = live.run("audit", "--json").json["deaths"]
    assert (death["worker"], death["missed"]) == ("w1", outage["missed"])
    assert death["reason"] == outage["cause"]
    assert report["missing"][0]["cause"] == "w1 died"


def test_a_leader_that_is_killed_between_two_turns_is_succeeded_at_once(live: Live) -> None:
    live.up(live.code("v0", COUNTER))
    old = live.book()
    os.kill(old["pid"], signal.SIGKILL)
    live.ticks_on()
    new = live.book()
    assert new["pid"] != old["pid"]
    assert new["ticks"] > old["ticks"]
    live.down()
    report = live.audit()
    assert (report["ok"], report["doubled"]) == (True, 0)


def test_a_stopped_bot_resumes_with_its_last_state(live: Live) -> None:
    code = live.code("v0", COUNTER)
    live.up(code)
    live.ticks_on()
    before = live.book()["ticks"]
    live.down()
    live.up(code)
    live.ticks_on()
    assert live.book()["ticks"] > before
    live.down()
    report = live.audit()
    assert (report["ok"], report["doubled"]) == (True, 0)
