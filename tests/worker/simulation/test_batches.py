"""`on_events`: what waits comes in one turn, in order, and nothing of a turn that raises is kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from neverblink.worker import InboxBound, Worker
from neverblink.worker.engine.batch_limit import MOST_EVENTS, BatchLimit
from neverblink.worker.runtime.declaration import BotError
from neverblink.worker.testing import Simulation
from neverblink.worker.worker import WorkerBot


class Book(msgspec.Struct):
    keys: list[str] = []
    turns: int = 0
    gaps: list[list[int]] = []
    late: list[str] = []


class Bot(Worker[Book]):
    tick = "1s"
    bad = ""

    def on_events(self, events: list[Any]) -> None:
        self.state.turns += 1
        for event in events:
            if event.key == self.bad:
                raise ValueError(f"{event.key} is bad")
            self.state.keys.append(event.key)
            if event.gap:
                self.state.gaps.append(list(event.gap))
            if event.late:
                self.state.late.append(event.key)


class Decides(Bot):
    def on_events(self, events: list[Any]) -> None:
        with self.decision("enter", events=len(events)) as decision:
            self.state.keys.append(decision.id)


class Bad(Bot):
    bad = "k2"


def test_all_that_waits_comes_in_one_turn_and_in_order() -> None:
    with Simulation(Bot) as bot:
        bot.put_all([(f"k{n}", n) for n in range(50)])
        bot.ticks(1)
        assert bot.state.keys == [f"k{n}" for n in range(50)]
        assert bot.state.turns == 1


def test_a_decision_can_be_taken_in_a_batch() -> None:
    with Simulation(Decides) as bot:
        bot.put_all([(f"k{n}", n) for n in range(3)])
        bot.ticks(1)
        assert len(bot.state.keys) == 1


def test_a_batch_that_raises_leaves_nothing_and_the_next_process_gets_the_same_events() -> None:
    with Simulation(Bot) as bot:
        bot.ticks(1)
        bot.hand_over(Bad)
        bot.put_all([(f"k{n}", n) for n in range(4)])
        bot.ticks(2)
        assert bot.state.keys == ["k0", "k1", "k2", "k3"]
        assert "k2 is bad" in bot.rolled_back or bot.rolled_back


def test_numbers_order_what_was_put_and_a_gap_is_told_after_the_bound() -> None:
    with Simulation(Bot) as bot:
        for n in (1, 3, 2, 6):
            bot.put(f"n{n}", {}, stream="s", n=n)
        bot.ticks(1)
        assert bot.state.keys == ["n1", "n2", "n3"]
        bot.ticks(2)
        assert bot.state.keys == ["n1", "n2", "n3", "n6"]
        assert bot.state.gaps == [[4, 5]]
        bot.put("n4", {}, stream="s", n=4)
        bot.put("again", {}, stream="s", n=6)
        bot.ticks(1)
        assert bot.state.keys[-1] == "n4"
        assert bot.state.late == ["n4"]


def test_the_numbers_applied_survive_a_handoff_and_a_rollback() -> None:
    class New(Bot): ...

    with Simulation(Bot) as bot:
        bot.put("n1", {}, stream="s", n=1)
        bot.ticks(1)
        bot.hand_over(New)
        bot.put("n3", {}, stream="s", n=3, to="leader")
        bot.put("n2", {}, stream="s", n=2, to="follower")
        bot.put("another key", {}, stream="s", n=1)
        bot.ticks(1)
        assert bot.state.keys == ["n1", "n2", "n3"]
        bot.roll_back()
        bot.put("once more", {}, stream="s", n=3)
        bot.put("n4", {}, stream="s", n=4)
        bot.ticks(1)
        assert bot.state.keys == ["n1", "n2", "n3", "n4"]
        assert bot.state.gaps == []


def test_a_bot_with_on_event_and_on_events_is_refused_with_the_mend() -> None:
    class Both(Bot):
        def on_event(self, event: Any) -> None: ...

    with pytest.raises(BotError, match="has both on_event and on_events: keep on_events"):
        WorkerBot(Both)


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"hold_events": 5}, "hold_events"),
        ({"hold_events": "soon"}, "hold_events"),
        ({"inbox_bound": 7}, "inbox_bound is a int"),
        ({"inbox_bound": {"events": 0}}, "events=0"),
        ({"inbox_bound": {"bytes": "1GB"}}, "bytes='1GB': expected a size of up to 48MiB"),
        ({"inbox_bound": {"bytes": "much"}}, "much"),
        ({"inbox_bound": {"when_full": "wait"}}, "when_full='wait': expected one of refuse"),
    ],
)
def test_a_bad_declaration_is_refused_and_named(attributes: dict[str, Any], problem: str) -> None:

    bound = attributes.get("inbox_bound")
    if isinstance(bound, dict):
        attributes = {"inbox_bound": InboxBound(**bound)}  # pyright: ignore[reportUnknownArgumentType]
    with pytest.raises(BotError, match=problem):
        WorkerBot(type("Declared", (Bot,), attributes))


# --- how large a batch is ---


def test_a_batch_grows_until_it_takes_too_long_and_shrinks_when_it_does() -> None:
    limit = BatchLimit(100_000_000)
    for _ in range(20):
        taken = limit.events(10**9)
        limit.took(taken, taken * 10_000 + 300_000)
    assert 250 <= limit.events(10**9) <= 1000
    for _ in range(20):
        taken = limit.events(10**9)
        limit.took(taken, taken * 50_000_000)
    assert limit.events(10**9) == 1
    for _ in range(30):
        taken = limit.events(10**9)
        limit.took(taken, taken * 100)
    assert limit.events(10**9) == MOST_EVENTS


def test_a_batch_just_before_a_tick_is_smaller() -> None:
    limit = BatchLimit(100_000_000)
    full = limit.events(10**9)
    assert 1 <= limit.events(limit.longest // 4) <= full // 4
    assert limit.events(-5) == full


def test_the_log_says_what_the_inbox_could_not_keep_or_put_in_order(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Small(Bot):
        inbox_bound = InboxBound(events=2, when_full="drop-oldest")

    with Simulation(Small) as bot:
        bot.put_all([(f"k{n}", n) for n in range(5)])
        bot.ticks(3)
    with Simulation(Bot) as bot:
        bot.put("n1", {}, stream="s", n=1)
        bot.put("n4", {}, stream="s", n=4)
        bot.ticks(15)
        bot.put("again", {}, stream="s", n=4)
        bot.ticks(15)
    said = capfd.readouterr().err
    assert "the inbox was full (at most 2 events and 33,554,432 bytes wait): 3 events were dropped" in said
    assert "2 numbers of event streams did not come within hold_events" in said
    assert "last 2 to 3 of stream 's'" in said
    assert "because an event with their number was applied before: last event 'again', number 4" in said
