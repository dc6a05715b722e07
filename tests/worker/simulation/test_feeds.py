"""A bot with feeds, in a simulation: what it applies over handoffs, rollbacks and crashes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from neverblink.worker import Event, Worker
from neverblink.worker.testing import Simulation


class Seen(msgspec.Struct):
    numbers: list[int] = []
    restarts: int = 0
    gaps: list[tuple[int, int]] = []


class Listening(Worker[Seen]):
    def on_event(self, event: Event) -> None:
        self.state.numbers.append(event.data)
        self.state.restarts += event.restarted
        if event.gap is not None:
            self.state.gaps.append(event.gap)


class InBatches(Worker[Seen]):
    def on_events(self, events: list[Event]) -> None:
        self.state.numbers += [event.data for event in events]


class NewCode(Listening):
    pass


def test_what_a_feed_publishes_is_applied_in_order_without_a_put() -> None:
    with Simulation(Listening) as bot:
        bot.ticks(1)
        bot.publish("trades", 1, 2, 3)
        assert bot.state.numbers == [1, 2, 3]


def test_an_event_of_a_feed_has_its_name_and_number() -> None:
    seen: list[Event] = []

    class Named(Worker[Seen]):
        def on_event(self, event: Event) -> None:
            seen.append(event)

    with Simulation(Named) as bot:
        bot.ticks(1)
        bot.publish("trades", {"price": 1.5})
        [event] = seen
        assert (event.stream, event.n, event.key, event.data) == ("trades", 1, "trades/1", {"price": 1.5})
        assert event.at == bot.now


def test_the_data_has_the_type_that_the_bot_declares() -> None:
    class Trade(msgspec.Struct):
        price: float

    seen: list[Any] = []

    class Typed(Worker[Seen]):
        event_type = Trade

        def on_event(self, event: Event) -> None:
            seen.append(event.data)

    with Simulation(Typed) as bot:
        bot.ticks(1)
        bot.publish("trades", {"price": 1.5})
        assert seen == [Trade(1.5)]


def test_a_batch_has_the_events_of_a_feed() -> None:
    with Simulation(InBatches) as bot:
        bot.ticks(1)
        bot.publish("trades", *range(100))
        assert bot.state.numbers == list(range(100))
        assert len([frame for frame in bot.frames if frame.kind == "event"]) < 100


def test_frames_have_the_range_that_was_applied_and_no_data() -> None:
    with Simulation(InBatches) as bot:
        bot.ticks(1)
        bot.publish("trades", *range(100))
        frames = [frame for frame in bot.frames if frame.kind == "event"]
        ranges = [done for frame in frames for done in frame.traffic.feeds]
        assert (ranges[0].feed, ranges[0].first, ranges[-1].last) == ("trades", 1, 100)
        assert all(later.first == before.last + 1 for before, later in pairwise(ranges))
        assert all(frame.traffic.received == frame.traffic.applied == () for frame in frames)


def test_nothing_is_lost_doubled_or_reordered_over_a_handoff_a_rollback_and_a_crash() -> None:
    with Simulation(Listening) as bot:
        bot.ticks(1)
        bot.publish("trades", 1, 2)
        bot.hand_over(NewCode)
        bot.publish("trades", 3, 4)
        bot.roll_back()
        bot.publish("trades", 5)
        bot.stand_by()
        bot.publish("trades", 6)
        bot.crash()
        bot.publish("trades", 7)
        assert bot.state.numbers == [1, 2, 3, 4, 5, 6, 7]
        assert (bot.state.restarts, bot.state.gaps) == (0, [])


def test_an_event_whose_turn_did_not_end_is_applied_by_the_successor() -> None:
    with Simulation(Listening) as bot:

        class Dying(Listening):
            def on_event(self, event: Event) -> None:
                super().on_event(event)
                if event.data == 2:
                    bot.kill()

        bot.ticks(1)
        bot.hand_over(Dying)
        bot.publish("trades", 1, 2, 3)
        bot.ticks(3)
        assert type(bot.leader) is Listening
        assert bot.state.numbers == [1, 2, 3]


def test_the_first_event_after_a_restart_of_a_feed_says_so() -> None:
    with Simulation(Listening) as bot:
        bot.ticks(1)
        bot.publish("trades", 1)
        bot.restart_feed("trades")
        bot.publish("trades", 2, 3)
        assert bot.state.numbers == [1, 2, 3]
        assert (bot.state.restarts, bot.state.gaps) == (1, [])


def test_a_bot_sees_that_a_feed_is_stale() -> None:
    with Simulation(Listening) as bot:
        bot.ticks(1)
        bot.publish("trades", 1)
        view = bot.leader.feeds["trades"]
        assert (view.n, view.waiting, view.connected, view.stale) == (1, 0, True, False)
        bot.advance("6s")
        assert view.stale
        assert view.age >= 6_000_000_000
        bot.publish("trades", 2)
        assert not view.stale


def test_events_that_are_put_and_those_of_feeds_are_applied_by_their_time() -> None:
    seen: list[str] = []

    class Both(Worker[Seen]):
        tick = "10s"

        def on_event(self, event: Event) -> None:
            seen.append(event.key)

        def on_tick(self, tick: Any) -> None:
            bot.put("first", 1)
            bot.publish("trades", 1)

    with Simulation(Both) as bot:
        bot.ticks(1)
        bot.advance("1s")
        assert sorted(seen) == ["first", "trades/1"]


def test_a_bot_may_have_an_attribute_of_that_name() -> None:
    class Own(Worker[Seen]):
        def on_start(self) -> None:
            self.feeds = {"mine": 1}  # pyright: ignore

    with Simulation(Own) as bot:
        bot.ticks(1)
        assert bot.leader.feeds == {"mine": 1}


def test_a_feed_that_is_not_configured_is_named() -> None:
    from neverblink.protocol.feed_queue import FeedQueues
    from neverblink.worker.model.feed_view import FeedViews

    with pytest.raises(KeyError, match=r"\[feeds\.nosuch\]"):
        FeedViews((), FeedQueues(), lambda: 0)["nosuch"]
