"""A state of types that msgspec does not know, in real processes: through deployments, a kill and the journal."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from .bots import bot
from .live import Live

FIRST = """
from collections import Counter, OrderedDict, defaultdict, deque

import numpy as np

from neverblink.worker import Cell, Codec


class Model:
    def __init__(self, seen=0):
        self.seen = seen
"""

STATE = """
    ticks: int = 0
    seen: defaultdict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    books: defaultdict[str, defaultdict[str, list[int]]] = msgspec.field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    recent: deque[int] = msgspec.field(default_factory=lambda: deque(maxlen=3))
    kinds: Counter[str] = msgspec.field(default_factory=Counter)
    order: OrderedDict[str, int] = msgspec.field(default_factory=OrderedDict)
    levels: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((2, 3), order="F"))
    spread: float = 0.0
    model: Cell[Model] = msgspec.field(default_factory=lambda: Cell(Model(), every="1h"))
"""

HANDLERS = """
    codecs = [Codec(Model, encode=lambda model: model.seen, decode=Model)]

    def on_tick(self, tick):
        self.state.ticks += 1

    def on_command(self, name, args):
        state = self.state
        if name == "write":
            state.seen["BTC"] += 1
            state.books["BTC"]["bid"].append(state.seen["BTC"])
            state.recent.append(state.seen["BTC"])
            state.kinds.update("ab")
            state.order["z"] = 1
            state.order.setdefault("a", 2)
            state.levels[1, 2] += 1.5
            state.spread = np.std(state.levels)
            with state.model.change() as model:
                model.seen += 1
        return {
            "pid": os.getpid(),
            "ticks": state.ticks,
            "value": {
                "seen": dict(state.seen),
                "books": {key: dict(book) for key, book in state.books.items()},
                "recent": [list(state.recent), state.recent.maxlen],
                "kinds": state.kinds.most_common(),
                "order": list(state.order),
                "levels": [state.levels.tolist(), bool(state.levels.flags.f_contiguous)],
                "spread": float(state.spread),
                "model": state.model.value.seen,
            },
        }
"""

BOT = bot(HANDLERS, first=FIRST, state=STATE, tick="20ms")


def value(live: Live, name: str) -> dict[str, Any]:
    return live.ask("send", name=name)["value"]["value"]


def test_an_unchanged_deploy_and_a_rollback_lose_nothing_of_values_with_codecs(live: Live) -> None:
    live.up(live.code("v0", BOT))
    live.listen()
    for _ in range(5):
        value(live, "write")
    before = value(live, "read")
    assert before["recent"] == [[3, 4, 5], 3]
    assert before["model"] == 5
    old = live.book()["pid"]
    number = live.begin(live.code("v1", BOT + "# the same\n", probation="30s"))
    live.phase(number, "probation")
    assert live.book()["pid"] != old
    assert value(live, "read") == before
    # A key that is not there yet, an item that pushes another out, and an array that is written in place.
    written = value(live, "write")
    assert written["seen"] == {"BTC": 6}
    assert written["recent"] == [[4, 5, 6], 3]
    assert written["levels"][0][1][2] == 9.0
    live.ask("rollback")
    live.ended(number)
    assert live.book()["pid"] == old
    assert value(live, "read") == written
    live.down()
    assert live.audit()["doubled"] == 0


@pytest.mark.deep
def test_after_a_kill_the_journal_has_every_value_with_a_codec(live: Live) -> None:
    live.up(live.code("v0", BOT))
    value(live, "write")
    before = value(live, "read")
    value(live, "write")
    killed = live.book()["pid"]
    os.kill(killed, signal.SIGKILL)
    live.ticks_on()
    assert live.book()["pid"] != killed
    after = value(live, "read")
    # The cell was encoded with the first state, and says that it may be an hour older than the rest.
    assert (before["model"], after["model"]) == (1, 0)
    assert after["seen"] == {"BTC": 2}
    assert after["recent"] == [[1, 2], 3]
    assert after["levels"] != before["levels"]
    shown = live.run("state", "show", "recent")
    assert shown.code == 0, shown
    assert "maxlen" in shown.out
