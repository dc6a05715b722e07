"""A bot's sockets in a simulation: each process has its own, under any name."""

from __future__ import annotations

import socket

import msgspec

from neverblink.worker import Worker
from neverblink.worker.testing import Simulation


class Book(msgspec.Struct):
    ticks: int = 0


class Listening(Worker[Book]):
    def on_start(self) -> None:
        self.api = self.sockets["api"]

    def on_tick(self, tick: object) -> None:
        self.state.ticks += 1


class NewCode(Listening):
    pass


def test_each_process_of_a_simulation_has_a_socket_of_its_own() -> None:
    with Simulation(Listening) as bot:
        bot.ticks(1)
        assert isinstance(bot.leader, Listening)
        first = bot.leader.api.getsockname()
        with socket.create_connection(first, 5):
            bot.leader.api.accept()[0].close()
        bot.hand_over(NewCode)
        assert isinstance(bot.leader, NewCode)
        assert bot.leader.api.getsockname() != first
        assert bot.leader.sockets.address("api").startswith("127.0.0.1:")


class Older(Worker[Book]):
    def on_start(self) -> None:
        self.sockets = {"mine": 1}  # type: ignore[misc,assignment]

    def on_tick(self, tick: object) -> None:
        self.state.ticks += len(self.sockets)


def test_a_bot_may_have_an_attribute_of_that_name() -> None:
    with Simulation(Older) as bot:
        bot.ticks(2)
        assert bot.state.ticks == 2
