"""A standby: a follower on the leader's own code that takes over when the leader dies, without an order."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from neverblink.protocol.journal import Opened
from neverblink.protocol.link import Follow
from neverblink.protocol.seat_events import Role
from neverblink.worker import Event, InDoubt, Tick, Worker, migration
from neverblink.worker.testing import CommandFailed, Simulation


class Book(msgspec.Struct):
    ticks: list[int] = []
    events: list[str] = []
    doubts: list[tuple[str, str]] = []
    commands: list[str] = []


dying: list[Simulation[Any]] = []
"""The simulation whose next handler is to kill its process."""


class Bot(Worker[Book]):
    def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        self.state.doubts += [(doubt.id, doubt.name) for doubt in in_doubt]

    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.ticks.append(tick.seq)

    def on_event(self, event: Event) -> None:
        self.state.events.append(event.key)

    def on_command(self, name: str, args: dict[str, Any]) -> int:
        if dying and name == "decide":
            with self.decision("enter", market="BTC"):
                dying.pop().kill()
        if dying and name == "die":
            dying.pop().kill()
        self.state.commands.append(name)
        return len(self.state.commands)


class Other(Bot):
    """The code of a later release."""


def whole(bot: Simulation[Any]) -> bool:
    ticks = bot.state.ticks
    ran = [frame.seq for frame in bot.frames if frame.kind == "tick"]
    return ticks == ran == list(range(ticks[0], ticks[0] + len(ticks)))


def seats(bot: Simulation[Any]) -> dict[str, tuple[Role, str, bool]]:
    """Of each process that is alive: what it is, whom it follows, and whether it guards."""
    return {
        process.worker: (process.engine.role, process.engine.seat.leader, process.engine.seat.guard)
        for process in bot._alive()  # pyright: ignore[reportPrivateUsage]
    }


def test_a_standby_takes_over_at_the_next_tick_with_the_state_and_waiting_events() -> None:
    with Simulation(Bot) as bot:
        bot.stand_by()
        bot.ticks(3)
        bot.put("fill-1", 1, to="follower")
        bot.put("fill-2", 2, to="leader")
        bot.crash()
        bot.put("fill-3", 3)
        bot.ticks(3)
        assert whole(bot)
        assert sorted(bot.state.events) == ["fill-1", "fill-2", "fill-3"]
        assert seats(bot) == {"s1": (Role.LEADING, "s1", False)}


def test_several_standbys_take_over_one_after_another() -> None:
    with Simulation(Bot) as bot:
        for _ in range(5):
            bot.stand_by()
            bot.ticks(2)
            bot.crash()
        bot.ticks(2)
        assert whole(bot)
        assert len(bot.state.ticks) == 12


def test_a_standby_gets_an_open_decision_in_doubt_and_does_not_repeat_its_command() -> None:
    with Simulation(Bot) as bot:
        bot.stand_by()
        bot.ticks(2)
        dying.append(bot)
        with pytest.raises(CommandFailed, match="died while it ran this command, so it is not run again"):
            bot.send("decide")
        ((id, name),) = bot.state.doubts
        assert name == "enter"
        assert id.split("-")[0] == "1"
        assert bot.state.commands == []
        # Sent once more it runs.
        assert bot.send("decide") == 1
        bot.ticks(2)
        assert whole(bot)


def test_a_command_that_killed_its_worker_is_answered_by_later_successors_too() -> None:
    with Simulation(Bot) as bot:
        bot.stand_by()
        bot.stand_by()
        bot.ticks(2)
        dying.append(bot)
        with pytest.raises(CommandFailed, match="it is not run again"):
            bot.send("die")
        bot.crash()
        assert bot.send("look") == 1
        assert bot.state.commands == ["look"]
        bot.ticks(1)
        assert whole(bot)


def test_a_standby_follows_the_new_leader_after_a_handoff_without_an_order() -> None:
    with Simulation(Bot) as bot:
        bot.stand_by()
        bot.ticks(2)
        bot.hand_over(Other)
        bot.ticks(2)
        assert seats(bot) == {
            "w1": (Role.FOLLOWING, "w2", True),
            "s1": (Role.FOLLOWING, "w2", True),
            "w2": (Role.LEADING, "w2", False),
        }
        bot.conclude()
        bot.ticks(2)
        bot.crash()
        bot.ticks(2)
        assert seats(bot) == {"s1": (Role.LEADING, "s1", False)}
        assert whole(bot)


def test_of_two_guards_one_leads_and_the_other_follows() -> None:
    with Simulation(Bot) as bot:
        bot.stand_by()
        bot.hand_over(Other)
        bot.ticks(2)
        bot.crash()
        bot.ticks(2)
        roles = seats(bot)
        (leader,) = [worker for worker, (role, _, _) in roles.items() if role is Role.LEADING]
        (other,) = roles.keys() - {leader}
        assert roles[other] == (Role.FOLLOWING, leader, True)
        bot.crash()
        bot.ticks(2)
        assert seats(bot) == {other: (Role.LEADING, other, False)}
        assert whole(bot)


def test_a_standby_takes_a_lease_that_stays_free() -> None:
    with Simulation(Bot) as bot:
        bot.stand_by()
        bot.ticks(2)
        standby = bot._processes["s1"]  # pyright: ignore[reportPrivateUsage]
        # The news of the death does not come: it never watched this leader.
        standby.runtime.watched.clear()
        bot.crash()
        assert seats(bot)["s1"][0] is Role.FOLLOWING
        bot.advance("5s")
        assert seats(bot)["s1"][0] is Role.LEADING
        assert whole(bot)


def test_a_standby_leaves_when_it_cannot_read_a_later_releases_state() -> None:
    class Later(msgspec.Struct):
        numbers: list[int] = []

    class Newer(Worker[Later]):
        schema = 2

        @staticmethod
        @migration(1, 2)
        def renamed(root: dict[str, Any]) -> dict[str, Any]:
            return {"numbers": root["ticks"]}

        def on_tick(self, tick: Tick[Later]) -> None:
            self.state.numbers.append(tick.seq)

    with Simulation(Bot) as bot:
        bot.stand_by()
        bot.ticks(2)
        bot.hand_over(Newer)
        bot.ticks(2)
        # The old worker keeps the state of the handoff for a rollback; a spare on the old code is useless.
        assert set(seats(bot)) == {"w1", "w2"}


def test_a_standby_of_a_worker_that_does_not_lead_changes_to_the_leader() -> None:
    with Simulation(Bot) as bot:
        bot.stand_by()
        bot.stand_by()
        second = bot._processes["s2"]  # pyright: ignore[reportPrivateUsage]
        second.engine.ordered(Follow("s1", guard=True))
        bot.ticks(3)
        assert seats(bot)["s2"] == (Role.FOLLOWING, "w1", True)


def test_what_a_lost_message_left_open_is_not_in_doubt_after_a_handoff() -> None:
    with Simulation(Bot) as bot:
        bot.ticks(2)
        bot.hand_over(Other)
        old = next(process for process in bot._alive() if process.worker == "w1")  # pyright: ignore[reportPrivateUsage]
        # It was told that a decision began, and the word of its end was lost with a connection.
        old.engine.replica.note(Opened("2-9-0", 2, 9, "enter", {}, 1), "")
        bot.roll_back()
        bot.ticks(2)
        assert seats(bot) == {"w1": (Role.LEADING, "w1", False)}
        assert bot.state.doubts == []
