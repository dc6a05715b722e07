"""Whatever is written, and whenever the bot is handed over: a follower's tables are the leader's, order included."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neverblink.worker import Event, Table, Worker
from neverblink.worker.testing import Simulation

from ...hypothesis_profile import examples


class Row(msgspec.Struct, frozen=True):
    value: int


class Book(msgspec.Struct):
    rows: Table[str, Row] = msgspec.field(default_factory=Table)
    plain: dict[str, int] = {}
    count: int = 0
    events: int = 0


KEYS = st.sampled_from([f"k{number}" for number in range(8)])
WRITE = st.one_of(
    st.tuples(st.just("set"), KEYS, st.integers(0, 9)),
    st.tuples(st.just("delete"), KEYS, st.just(0)),
    st.tuples(st.just("move"), KEYS, st.integers(0, 9)),
    st.tuples(st.just("popitem"), KEYS, st.just(0)),
    st.tuples(st.just("clear"), KEYS, st.just(0)),
    st.tuples(st.just("replace"), KEYS, st.integers(0, 9)),
    st.tuples(st.just("sort"), KEYS, st.just(0)),
)
TURN = st.lists(WRITE, max_size=6)
STEP = st.one_of(
    TURN, TURN, TURN, st.sampled_from(["hand over", "roll back", "crash", "conclude", "tick", "kill"])
)


def write(book: Book, what: str, key: str, value: int) -> None:
    rows = book.rows
    match what:
        case "set":
            rows[key] = Row(value)
            book.plain[key] = value
        case "delete":
            rows.pop(key, None)
            book.plain.pop(key, None)
        case "move":
            rows.pop(key, None)
            rows[key] = Row(value)
        case "popitem":
            if rows:
                rows.popitem()
        case "clear":
            rows.clear()
        case "replace":
            book.rows = Table({key: Row(value), "new": Row(value)})
        case _:
            book.rows = Table(sorted(rows.items()))


class Bot(Worker[Book]):
    # Its own feed brings nothing of what only the other process receives.
    hold_events = "0s"
    doomed = False
    simulation: Simulation[Book]

    def on_tick(self, tick: Any) -> None:
        self.state.count += 1
        self.state.rows[f"tick {self.state.count % 3}"] = Row(self.state.count)

    def on_event(self, event: Event) -> None:
        self.state.events += 1
        for what, key, value in event.data:
            write(self.state, what, key, value)
        if Bot.doomed:
            Bot.doomed = False
            Bot.simulation.kill()


class Other(Bot):
    pass


def same(bot: Simulation[Book]) -> None:
    """The follower, if there is one, has what the leader has, and got there by the same frames."""
    engines = [worker._session._engine for worker in workers(bot)]  # type: ignore[reportPrivateUsage]
    states = [worker.state for worker in workers(bot)]
    for state in states[1:]:
        assert list(state.rows.items()) == list(states[0].rows.items())
        assert list(state.plain.items()) == list(states[0].plain.items())
        assert state == states[0]
    assert len({engine.replica.digest for engine in engines}) == 1
    assert len({engine.replica.number for engine in engines}) == 1


def workers(bot: Simulation[Book]) -> list[Any]:
    try:
        return [bot.leader, bot.follower]
    except Exception:
        return [bot.leader]


@settings(max_examples=examples(60))
@given(st.lists(STEP, max_size=25), st.integers(0, 600))
def test_leader_and_follower_are_equal_at_every_boundary(steps: list[Any], size: int) -> None:
    with Simulation(Bot) as bot:
        Bot.simulation, Bot.doomed = bot, False
        bot.put("fill", [("set", f"row {number}", number % 10) for number in range(size)])
        for number, step in enumerate(steps):
            followed = len(workers(bot)) == 2
            match step:
                case "hand over":
                    bot.hand_over(Other if type(bot.leader) is Bot else Bot)
                case "roll back" if followed:
                    bot.roll_back()
                case "crash" if followed:
                    bot.crash()
                case "kill" if followed:
                    Bot.doomed = True
                    bot.put(f"event {number}", [("set", "k0", 1)])
                case "conclude":
                    bot.conclude()
                case "tick":
                    bot.ticks(1)
                case list():
                    bot.put(f"event {number}", step)
                case _:
                    pass
            same(bot)


@settings(max_examples=examples(25))
@given(st.lists(TURN, min_size=4, max_size=12), st.integers(2200, 5000))
@example([[("sort", "k0", 0), ("set", "k0", 0)], [], [], []], 2200)
def test_rows_that_change_while_they_are_copied_keep_their_order(turns: list[Any], size: int) -> None:
    """A copy goes in chunks, and here events come in between: the last is from another time than the first."""
    copied_at: list[int] = []

    class Reads(Bot):
        async def on_start(self) -> None:
            self.feed = asyncio.create_task(self.listen())

        async def listen(self) -> None:
            for number, turn in enumerate(turns):
                self.inbox.put(f"event {number}", turn)
                await asyncio.sleep(0)

        def on_load(self, state: Book) -> None:
            copied_at.append(state.events)

    with Simulation(Bot) as bot:
        bot.put("fill", [("set", f"row {number}", number % 10) for number in range(size)])
        bot.ticks(1)
        bot.hand_over(Reads)
        assert copied_at[0] > 1, "nothing came during the copy, so this tests nothing"
        same(bot)
        bot.ticks(2)
        same(bot)
        assert bot.state.events == 1 + len(turns)
