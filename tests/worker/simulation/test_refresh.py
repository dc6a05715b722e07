"""What a bot derives from the state is as new as the state whenever it comes to lead, at a small and bounded cost."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from neverblink.worker import Table, Tick, Window, Worker, migration
from neverblink.worker.testing import HandoverFailed, Simulation


class Book(msgspec.Struct):
    prices: list[float] = []
    rows: Table[str, int] = msgspec.field(default_factory=Table)
    other: int = 0


class Bot(Worker[Book]):
    """Keeps a sum beside the state, as `on_load` builds it."""

    windows = [Window("1m", opens="10s", closes="40s")]

    def __init__(self) -> None:
        self.total = -1.0
        self.calls: list[str] = []

    def on_load(self, state: Book) -> None:
        self.calls.append("on_load")
        self.total = sum(state.prices)

    def on_lead(self, in_doubt: object) -> None:
        self.calls.append("on_lead")
        assert self.total == sum(self.state.prices)

    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.prices.append(1.0)
        self.total += 1.0
        assert self.total == sum(self.state.prices)


class New(Bot):
    pass


class Told(Bot):
    """Renews what `on_state` says has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: list[frozenset[str]] = []

    def on_state(self, changed: frozenset[str]) -> None:
        self.calls.append("on_state")
        self.changed.append(changed)
        if "prices" in changed:
            self.total = sum(self.state.prices)

    def on_tick(self, tick: Tick[Book]) -> None:
        super().on_tick(tick)
        if tick.seq % 2:
            self.state.rows[str(tick.seq)] = 1


class NewTold(Told):
    pass


def worker(bot: Simulation[Book]) -> Any:
    return bot.leader


def following(bot: Simulation[Book]) -> Any:
    return bot.follower


def test_what_on_load_built_is_current_on_lead_though_a_window_held_the_handoff() -> None:
    with Simulation(Bot) as bot:
        bot.ticks(15)
        bot.hand_over(New)
        assert len(bot.state.prices) > 40
        bot.ticks(1)
        assert worker(bot).total == sum(bot.state.prices)
        assert worker(bot).calls == ["on_load", "on_load", "on_lead"]


def test_it_is_current_again_after_a_rollback_a_second_deploy_and_a_crash() -> None:
    with Simulation(Bot) as bot:
        bot.ticks(1)
        bot.hand_over(New, ticks=0)
        bot.ticks(3)
        bot.roll_back()
        bot.ticks(3)
        bot.hand_over(New, ticks=0)
        bot.ticks(3)
        bot.conclude()
        bot.stand_by()
        bot.ticks(3)
        bot.crash()
        bot.ticks(3)
        assert worker(bot).total == sum(bot.state.prices) == 16


def test_without_a_frame_in_between_nothing_runs_a_second_time() -> None:
    class Still(Worker[Book]):
        calls: list[str]

        def on_start(self) -> None:
            self.calls = []

        def on_load(self, state: Book) -> None:
            self.calls.append("on_load")

        def on_lead(self, in_doubt: object) -> None:
            self.calls.append("on_lead")

    with Simulation(Still) as bot:
        bot.ticks(3)
        bot.hand_over(type("NewStill", (Still,), {}))
        assert worker(bot).calls == ["on_load", "on_lead"]


def test_on_state_names_the_fields_and_tables_that_changed_and_no_others() -> None:
    with Simulation(Told) as bot:
        bot.ticks(15)
        bot.hand_over(NewTold)
        new = worker(bot)
        assert new.calls[0] == "on_load"
        assert new.calls[-1] == "on_lead"
        assert new.calls.count("on_load") == 1
        assert set(new.changed) == {frozenset({"prices"}), frozenset({"prices", "rows"})}
        bot.ticks(2)


def test_a_follower_calls_on_state_ten_times_a_second_at_most_and_on_load_never() -> None:
    class Fast(Told):
        tick = "10ms"
        windows = []

    class FastLoad(Bot):
        tick = "10ms"
        windows = []

    with Simulation(Fast) as bot:
        bot.stand_by()
        follower = following(bot)
        before = len(follower.calls)
        bot.ticks(1000)
        assert 95 <= len(follower.calls) - before <= 101
        bot.crash()
        bot.ticks(1)
        assert worker(bot).total == sum(bot.state.prices)
    with Simulation(FastLoad) as bot:
        bot.stand_by()
        before = len(following(bot).calls)
        bot.ticks(1000)
        assert len(following(bot).calls) == before
        bot.crash()
        assert worker(bot).calls[before:] == ["on_load", "on_lead"]


def test_the_first_leader_is_kept_current_too_while_it_follows_in_the_probation() -> None:
    with Simulation(Told) as bot:
        bot.ticks(1)
        old = worker(bot)
        bot.hand_over(NewTold)
        bot.ticks(3)
        assert old.calls.count("on_state") >= 3
        assert old.total == sum(bot.state.prices)
        bot.roll_back()
        assert old.total == sum(bot.state.prices)


def test_the_first_leader_loads_again_before_a_rollback_while_the_new_code_still_leads() -> None:
    class Knows(Bot):
        def on_load(self, state: Book) -> None:
            super().on_load(state)
            self.calls[-1] += " leading" if self.leading else " following"

    with Simulation(Knows) as bot:
        bot.ticks(1)
        bot.hand_over(New)
        bot.ticks(3)
        bot.roll_back()
        assert worker(bot).calls == ["on_load leading", "on_lead", "on_load following", "on_lead"]


def test_fields_have_the_names_of_the_followers_own_schema() -> None:
    class Renamed(msgspec.Struct):
        quotes: list[float] = []

    class NewNames(Worker[Renamed]):
        schema = 2

        @migration(1, 2)
        @staticmethod
        def renamed(root: dict[str, Any]) -> dict[str, Any]:
            return {"quotes": root["prices"]}

        def on_start(self) -> None:
            self.changed: set[str] = set()

        def on_state(self, changed: frozenset[str]) -> None:
            self.changed |= changed

    with Simulation(Bot) as bot:
        bot.ticks(15)
        bot.hand_over(NewNames)
        assert worker(bot).changed == {"quotes"}


def test_a_refresh_that_raises_ends_the_deployment_before_the_handoff() -> None:
    class Raising(Bot):
        def on_load(self, state: Book) -> None:
            if len(self.calls) == 1:
                raise ValueError("no such price")
            super().on_load(state)

    with Simulation(Bot) as bot:
        bot.ticks(15)
        with pytest.raises(HandoverFailed, match="on_load raised ValueError: no such price"):
            bot.hand_over(Raising)
        bot.ticks(2)
        assert type(bot.leader) is Bot
        assert worker(bot).total == sum(bot.state.prices)


def test_a_state_that_is_one_value_is_refreshed_too() -> None:
    class Single(Worker[dict[str, float]]):
        def on_load(self, state: dict[str, float]) -> None:
            self.size = len(state)

        def on_tick(self, tick: Tick[dict[str, float]]) -> None:
            self.state[str(tick.seq)] = 1.0
            self.size += 1
            assert self.size == len(self.state)

    with Simulation(Single) as bot:
        bot.ticks(2)
        bot.stand_by()
        bot.ticks(2)
        bot.crash()
        bot.ticks(2)


def test_the_first_tick_of_each_leadership_says_so() -> None:
    class Firsts(Worker[Book]):
        def on_tick(self, tick: Tick[Book]) -> None:
            self.state.prices.append(float(tick.first))

    with Simulation(Firsts) as bot:
        bot.ticks(3)
        bot.hand_over(type("NewFirsts", (Firsts,), {}), ticks=0)
        bot.ticks(2)
        bot.roll_back()
        bot.ticks(2)
        assert bot.state.prices == [1, 0, 0, 1, 0, 1, 0]
