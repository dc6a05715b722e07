"""The order of handlers in docs/authors/turns.md is what the shipped code does; `--rewrite` draws it again.

The diagram comes from the table of the machine `Seat`: every rule is tried on every kind of seat. The stories come from
simulations, which run the shipped engine.
"""

# A task adds itself to the calls of the simulation.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, cast

import msgspec

from neverblink.protocol import seat, seat_events
from neverblink.protocol.link import CancelYield, Follow, Lead, Retire, Stop, YieldTo
from neverblink.protocol.seat import Seat
from neverblink.protocol.seat_events import Role
from neverblink.worker import Tick, Worker
from neverblink.worker.testing import HandoverFailed, Simulation

PAGE = Path(__file__).parents[2] / "docs" / "authors" / "turns.md"

# --- the machine ---

EVENTS: tuple[Any, ...] = (
    seat_events.Started(),
    Follow("other"),
    Follow("third"),
    seat_events.CaughtUp(),
    seat_events.Stale(),
    seat_events.StreamUnreadable("unreadable"),
    seat_events.Received(2, "other"),
    Lead(),
    seat_events.LeaderGone("other"),
    seat_events.LedBy("third"),
    seat_events.Silent("silent"),
    seat_events.SeatTimerFired("lease"),
    seat_events.SeatTimerFired("retry"),
    *(
        seat_events.LeaseTaken(epoch, cause)
        for epoch in (2, 9)
        for cause in ("first", "handoff", "takeback", "failover")
    ),
    seat_events.LeaseRefused("third", "handoff"),
    seat_events.LeaseRefused("", "failover"),
    YieldTo(2, "other"),
    CancelYield(2),
    seat_events.Boundary(),
    seat_events.YieldRefused(2, "task reader"),
    seat_events.SuccessorTook("other", 2),
    seat_events.SuccessorDeclined(1),
    Retire(),
    Stop(),
    seat_events.Fell("raised"),
)


def seats(role: Role) -> Iterator[Seat]:
    for loaded, guard, dismissed, stopping, ordered in product((False, True), repeat=5):
        if dismissed and role is not Role.YIELDING:
            # Only a worker that yields is dismissed before it leaves.
            continue
        yield Seat(
            "me",
            role,
            "other",
            1,
            loaded=loaded,
            guard=guard,
            dismissed=dismissed,
            stopping=stopping,
            order=YieldTo(2, "other") if ordered else None,
            settled=1,
        )


def handlers(before: Role, commands: list[Any]) -> str:
    """What the bot runs because of these commands."""
    found: list[str] = []
    for command in commands:
        match command:
            case seat_events.StartLeading():
                found.append("on_lead")
            case seat_events.SendFinal():
                found.append("on_yielding")
            case seat_events.Connect() if before is Role.YIELDING:
                found.append("on_yield")
            case seat_events.ExitProcess(how="retire"):
                found.append("on_retire")
            case seat_events.ExitProcess(how="stop"):
                found.append("on_stop")
            case _:
                pass
    return ", ".join(found)


def diagram() -> str:
    ways: dict[tuple[Role, Role], list[str]] = {}
    tried: set[tuple[Role, type]] = set()
    for role, event in product(seat.RULES, EVENTS):
        kind = cast("type[Any]", type(event))
        rule = seat.RULES[role].get(kind)
        if rule is None:
            continue
        tried.add((role, kind))
        for each in seats(role):
            commands = each.step(event)
            assert each.role in rule.leads_to
            if each.role is not role:
                ways.setdefault((role, each.role), []).append(handlers(role, commands))
    wanted = {(role, event) for role, answers in seat.RULES.items() for event in answers}
    assert tried == wanted, "EVENTS lacks an event of the machine's table"
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> joining: on_start"]
    for (before, after), ran in ways.items():
        some = " or ".join(dict.fromkeys(text for text in ran if text))
        lines.append(f"    {before.value} --> {after.value}" + (f": {some}" if some else ""))
    return "\n".join([*lines, f"    {Role.RETIRED.value} --> [*]", "```"])


# --- stories ---


class Book(msgspec.Struct):
    ticks: int = 0


class Old(Worker[Book]):
    def on_load(self, state: Book) -> None: ...

    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.ticks += 1


class New(Old):
    pass


class Exclusive(Old):
    """A bot with a task and an `on_yielding`. The task adds itself to the calls of the simulation."""

    simulation: Simulation[Book]

    def on_start(self) -> None:
        self.while_leading(self.session)

    async def session(self) -> None:
        self.add("*task begins*")
        try:
            await asyncio.Event().wait()
        finally:
            self.add("*task ends*")

    def add(self, what: str) -> None:
        processes = self.simulation._processes
        worker = next(name for name, process in processes.items() if process.bot.worker is self)
        self.simulation.calls.append((worker, what))

    def on_yielding(self) -> None: ...


class NewExclusive(Exclusive):
    pass


class Bereft(Exclusive):
    """Its successor dies in its `on_yielding`."""

    def on_yielding(self) -> None:
        self.simulation._end(self.simulation._processes["w2"], "killed")


class WithOnState(Old):
    def on_state(self, changed: frozenset[str]) -> None: ...


class Unloadable(Old):
    def on_load(self, state: Book) -> None:
        raise ValueError


class Dying(Old):
    def on_tick(self, tick: Tick[Book]) -> None:
        raise ValueError


def started(bot: Simulation[Book]) -> None:
    bot.ticks(1)


def deployed(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    bot.hand_over(New)
    bot.ticks(2)
    bot.conclude()


def deployed_with_on_state(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    bot.hand_over(WithOnState)
    bot.ticks(2)
    bot.conclude()


def rolled_back(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    bot.hand_over(New)
    bot.ticks(2)
    calls = bot.roll_back()
    assert ("w1", "on_lead") in calls
    assert bot.leader.led_before
    bot.ticks(1)


def deployed_with_tasks(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    bot.hand_over(NewExclusive)
    bot.ticks(2)
    bot.conclude()


def rolled_back_with_tasks(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    bot.hand_over(NewExclusive)
    bot.ticks(2)
    bot.roll_back()
    bot.ticks(1)


def given_up(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    with suppress(HandoverFailed):
        bot.hand_over(NewExclusive)
    bot.ticks(1)


def stopped_with_tasks(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    bot.stop()


def failed(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    bot.hand_over(Dying)
    bot.ticks(2)
    assert bot.leader.led_before


def aborted(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    with suppress(HandoverFailed):
        bot.hand_over(Unloadable)
    bot.ticks(1)


def crashed(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    bot.stand_by()
    bot.ticks(2)
    bot.crash()
    assert not bot.leader.led_before
    bot.ticks(1)


def stopped(bot: Simulation[Book]) -> None:
    bot.ticks(1)
    bot.stand_by()
    bot.ticks(1)
    bot.stop()


STORIES = {
    "The bot starts, or is started again from its journal": started,
    "A deployment": deployed,
    "A deployment of a bot with `on_state`": deployed_with_on_state,
    "A rollback in the probation": rolled_back,
    "The new code raises in its first tick": failed,
    "The new code raises in the rehearsal": aborted,
    "The leader is killed, and a standby takes over": crashed,
    "The bot is stopped while a standby follows": stopped,
    "A deployment of a bot with a task and `on_yielding`": deployed_with_tasks,
    "A rollback of it": rolled_back_with_tasks,
    "Its successor dies during `on_yielding`": given_up,
    "It is stopped": stopped_with_tasks,
}
_FIRST: dict[Any, type[Worker[Book]]] = {
    deployed_with_tasks: Exclusive,
    rolled_back_with_tasks: Exclusive,
    given_up: Bereft,
    stopped_with_tasks: Exclusive,
}
_NAMES = {"w1": "old", "w2": "new", "s1": "standby"}


def story(play: Any) -> list[str]:
    """What ran, as lines of one process each; ticks of a process in a row are one."""
    bot = Exclusive.simulation = Simulation(_FIRST.get(play, Old))
    with bot:
        play(bot)
        calls = list(bot.calls)
    alone = {worker for worker, _ in calls} == {"w1"}
    lines: list[tuple[str, list[str]]] = []
    for worker, handler in calls:
        if not lines or lines[-1][0] != worker:
            lines.append((worker, []))
        if lines[-1][1][-1:] != [handler]:
            lines[-1][1].append(handler)
    return [f"{'' if alone else _NAMES[worker] + ': '}{', '.join(ran)}" for worker, ran in lines]


def table() -> str:
    rows = ["| what happens | handlers, in order |", "|---|---|"]
    rows += [f"| {title} | {'<br>'.join(story(play))} |" for title, play in STORIES.items()]
    return "\n".join(rows)


def test_the_page_shows_the_order_of_handlers_as_it_is(rewrite: bool) -> None:
    page = PAGE.read_text(encoding="utf-8")
    drawn = f"{table()}\n\n{diagram()}"
    before, begin, rest = page.partition("<!-- order of handlers -->")
    assert begin, "docs/authors/turns.md: expected a line <!-- order of handlers -->"
    shown, end, after = rest.partition("<!-- end -->")
    assert end, "docs/authors/turns.md: expected <!-- end --> after the order of handlers"
    if rewrite:
        PAGE.write_text(f"{before}{begin}\n{drawn}\n{end}{after}", encoding="utf-8")
    else:
        assert shown.strip() == drawn, (
            "docs/authors/turns.md shows another order: pytest --rewrite draws it again"
        )


def test_every_handler_that_is_not_a_turn_of_its_own_is_in_it() -> None:
    drawn = table()
    for handler in (
        "on_start",
        "on_load",
        "on_state",
        "on_lead",
        "on_tick",
        "on_yielding",
        "on_yield",
        "on_retire",
        "on_stop",
    ):
        assert handler in drawn
