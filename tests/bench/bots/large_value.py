"""A bot whose state has one large value, in the way that BENCH_VALUE names; see `tests/bench/codecs.py`.

The value is as large as a model of an online learner: some 175 KB as a pickle.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from neverblink.worker import Cell, Tick, Worker, pickled

KIND = os.environ.get("BENCH_VALUE", "none")
WEIGHTS = int(os.environ.get("BENCH_WEIGHTS", "7000"))


class Model:
    """A model with some thousand weights, of which each step changes one."""

    def __init__(self) -> None:
        self.weights = {f"feature {at}": at / 7 for at in range(WEIGHTS)}

    def learn(self, at: int) -> None:
        self.weights[f"feature {at % WEIGHTS}"] += 0.5


class Without(msgspec.Struct):
    ticks: int = 0


class Plain(msgspec.Struct):
    ticks: int = 0
    model: Model = msgspec.field(default_factory=Model)


class Held(msgspec.Struct):
    ticks: int = 0
    model: Cell[Model] = msgspec.field(default_factory=lambda: Cell(Model()))


class Seldom(msgspec.Struct):
    ticks: int = 0
    model: Cell[Model] = msgspec.field(default_factory=lambda: Cell(Model(), every="1s"))


STATES = {"none": Without, "plain": Plain, "cell": Held, "seldom": Seldom}
Book = STATES[KIND.split(" ")[0]]


class Large(Worker[Book]):  # pyright: ignore[reportInvalidTypeArguments]
    tick = os.environ.get("BENCH_TICK", "20ms")
    codecs = [pickled(Model)]

    def on_tick(self, tick: Tick[Any]) -> None:
        state: object = self.state
        state.ticks += 1  # pyright: ignore[reportAttributeAccessIssue]
        if KIND.endswith("changed"):
            if isinstance(state, Plain):
                state.model.learn(tick.seq)
            elif isinstance(state, (Held, Seldom)):
                with state.model.change() as model:
                    model.learn(tick.seq)
