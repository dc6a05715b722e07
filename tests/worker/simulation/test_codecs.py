"""A bot whose state has codecs and a Cell, through a handoff, a crash and a rollback in the simulated world."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import Any

import msgspec
import pytest

from neverblink.worker import Cell, Codec, Tick, Worker
from neverblink.worker.testing import Simulation, SimulationError


class Model:
    def __init__(self, seen: int = 0) -> None:
        self.seen = seen

    def learn(self) -> None:
        self.seen += 1


class Book(msgspec.Struct):
    seen: defaultdict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    recent: deque[str] = msgspec.field(default_factory=lambda: deque(maxlen=2))
    kinds: Counter[str] = msgspec.field(default_factory=lambda: Counter[str]())
    model: Cell[Model] = msgspec.field(default_factory=lambda: Cell(Model(), every="1h"))


class Slow(Model):
    """Takes long to encode."""


class Heavy(msgspec.Struct):
    seqs: list[int] = []
    model: Cell[Slow] = msgspec.field(default_factory=lambda: Cell(Slow()))


class Counting(Worker[Book]):
    codecs = [Codec(Model, lambda model: model.seen, Model)]

    def on_event(self, event: Any) -> None:
        state = self.state
        state.seen[event.data] += 1
        state.recent.append(event.data)
        state.kinds.update([event.data])
        with state.model.change() as model:
            model.learn()


class Same(Counting):
    pass


def put(bot: Simulation[Book], *keys: str) -> None:
    for key in keys:
        bot.put(f"{bot.state.model.value.seen}", key)


def test_an_unchanged_deploy_loses_nothing_of_a_defaultdict_or_deque() -> None:
    with Simulation(Counting) as bot:
        put(bot, "BTC", "ETH", "BTC")
        bot.hand_over(Same)
        put(bot, "SOL")
        assert bot.state.seen == {"BTC": 2, "ETH": 1, "SOL": 1}
        assert bot.state.recent == deque(["BTC", "SOL"])
        assert bot.state.kinds.most_common(1) == [("BTC", 2)]
        assert bot.rolled_back == ""


def test_a_handoff_keeps_what_a_cell_has_not_encoded_yet() -> None:
    with Simulation(Counting) as bot:
        put(bot, "a", "b", "c")
        bot.hand_over(Same)
        assert bot.state.model.value.seen == 3
        put(bot, "d")
        bot.roll_back()
        assert bot.state.model.value.seen == 4


def test_a_touch_that_was_forgotten_fails_the_test_by_name() -> None:
    class Forgetting(Counting):
        def on_event(self, event: Any) -> None:
            self.state.model.value.learn()

    with (
        Simulation(Forgetting) as bot,
        pytest.raises(SimulationError, match=r"model\.value.*without a touch.*self\.state\.model\.touch"),
    ):
        bot.put("1", "a")


def test_ticks_lost_to_the_encoding_of_a_cell_name_it_as_their_cause() -> None:
    def encode(model: Slow) -> int:
        if model.seen:
            running[0].spend("2500ms")
        return model.seen

    class Learning(Worker[Heavy]):
        tick = "1s"
        codecs = [Codec(Slow, encode, Slow)]
        causes: list[str] = []

        def on_tick(self, tick: Tick[Heavy]) -> None:
            self.causes += [gap.cause for gap in tick.gaps]
            self.state.seqs.append(tick.seq)
            if len(self.state.seqs) == 2:
                with self.state.model.change() as model:
                    model.learn()

    running: list[Simulation[Heavy]] = []
    with Simulation(Learning) as bot:
        running.append(bot)
        bot.ticks(3)
        assert "encoding the cells of the state took 2.5s" in Learning.causes
