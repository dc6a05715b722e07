"""Events whose type has codecs."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Any

import msgspec
import pytest

from neverblink.worker import Codec, Event, EventError, Worker
from neverblink.worker.runtime.declaration import BotError
from neverblink.worker.testing import Simulation
from neverblink.worker.worker import WorkerBot


class Trade(msgspec.Struct):
    share: Fraction
    levels: deque[int]


class Book(msgspec.Struct):
    shares: list[str] = []


class Trader(Worker[Book]):
    tick = "1s"
    codecs = [Codec(Fraction, encode=str, decode=Fraction)]
    event_type = Trade

    def on_event(self, event: Event) -> None:
        assert type(event.data.levels) is deque
        self.state.shares.append(str(event.data.share + 1))


def test_an_event_has_the_values_that_its_type_declares() -> None:
    with Simulation(Trader) as simulation:
        simulation.ticks(1)
        simulation.put("a", Trade(Fraction(1, 3), deque([1, 2])))
        simulation.ticks(1)
        assert simulation.state.shares == ["4/3"]
        with pytest.raises(EventError, match=r"event 'b'.*Model"):
            simulation.put("b", Model())


class Model:
    """Something that no codec knows."""


class Unknown(msgspec.Struct):
    model: Model


@pytest.mark.parametrize(
    ("event_type", "words"), [(Unknown, "Model, which cannot be encoded"), (Model, "Model")]
)
def test_a_type_of_events_that_nothing_can_encode_is_refused_when_the_class_is_read(
    event_type: Any, words: str
) -> None:
    bot = type("Bot", (Trader,), {"event_type": event_type})
    with pytest.raises(BotError, match=rf"bot Bot: event_type \w+: it .*{words}.*Codec\(Model"):
        WorkerBot(bot)
