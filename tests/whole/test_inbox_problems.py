"""A full inbox, and a number that a stream skips, become events and lines in the log: a real process."""

from __future__ import annotations

import pytest

from .bots import bot
from .live import Live

LOSES = """
    hold_events = "100ms"
    inbox_bound = InboxBound(events=3)

    def on_tick(self, tick):
        self.state.ticks += 1

    def on_event(self, event):
        pass

    def on_command(self, name, args):
        refused = 0
        if name == "skip":
            for n in 1, 4:
                self.inbox.put(f"trade-{n}", n, stream="trades", n=n)
        elif name == "flood":
            for n in range(10):
                try:
                    self.inbox.put(f"fill-{n}", n)
                except InboxFull:
                    refused += 1
        return {"pid": os.getpid(), "ticks": self.state.ticks, "refused": refused}
    """
BOT = bot(LOSES, first="from neverblink.worker import InboxBound, InboxFull")


def test_a_skipped_number_and_a_full_inbox_are_events_of_the_bot(live: Live) -> None:
    live.up(live.code("v0", BOT))
    live.listen()
    live.ask("send", name="skip")
    gap = live.event(type="inbox-problem", kind="gap", state="began")
    assert gap["missing"] == 2
    assert "2 numbers given up, last trades: 2 to 3" in gap["text"]
    refused = live.ask("send", name="flood")["value"]["refused"]
    assert refused > 0
    full = live.event(type="inbox-problem", kind="full", state="began")
    seen = live.status_with(lambda status: status["inbox"]["refused"])["inbox"]
    assert full["refused"] == seen["refused"] == refused
    assert full["dropped"] == 0
    assert "at most 3 events" in full["text"]
    assert seen["missing"] == 2
    logged = live.run("logs", "--worker", "supervisor").out
    assert gap["text"] in logged
    assert full["text"] in logged
    live.ticks_on()


@pytest.mark.deep
def test_an_event_says_when_nothing_is_lost_any_more(live: Live) -> None:
    live.up(live.code("v0", BOT))
    live.listen()
    live.ask("send", name="skip")
    refused = live.ask("send", name="flood")["value"]["refused"]
    over = live.event(type="inbox-problem", kind="gap", state="over")
    assert over["missing"] == 2
    assert live.event(type="inbox-problem", kind="full", state="over")["refused"] == refused
