"""Commands that a bot declares, and the halt: refused before the bot sees them, or run once in a turn of their own."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import pytest

from neverblink.worker import Worker, command
from neverblink.worker.runtime.declaration import BotError
from neverblink.worker.testing import CommandFailed, Simulation
from neverblink.worker.worker import WorkerBot


class Holdings(msgspec.Struct):
    held: dict[str, float] = {}
    flattened: int = 0


class Trading(Worker[Holdings]):
    @command
    def buy(self, market: str, size: Annotated[float, msgspec.Meta(gt=0)] = 1.0) -> float:
        """Buy some.

        More of it here.
        """
        self.state.held[market] = self.state.held.get(market, 0.0) + size
        return self.state.held[market]

    @command
    async def slowly(self) -> str:
        await asyncio.sleep(0)
        return "done"

    async def on_halt(self) -> dict[str, float]:
        await asyncio.sleep(0)
        assert self.paused
        held = dict(self.state.held)
        if "JAM" in held:
            raise RuntimeError("the exchange does not answer")
        self.state.held.clear()
        self.state.flattened += 1
        return held


class Listening(Trading):
    def on_command(self, name: str, args: dict[str, Any]) -> Any:
        return [name, args]


def test_a_declared_command_gets_typed_arguments() -> None:
    with Simulation(Trading) as bot:
        assert bot.send("buy", market="BTC", size=2) == 2.0
        assert bot.send("buy", market="BTC") == 3.0
        assert isinstance(bot.state.held["BTC"], float)
        assert bot.send("slowly") == "done"


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("buy", {}, "buy: missing required field `market`|buy: .*required field `market`"),
        ("buy", {"market": 7}, r"buy: expected text, got a whole number - at `market`"),
        ("buy", {"market": "BTC", "size": 0}, r"Expected `float` > 0.0 - at `size`"),
        ("buy", {"market": "BTC", "sise": 1}, r"unknown field `sise` \(buy takes market, size\)"),
        ("slowly", {"x": 1}, "slowly takes no arguments"),
        ("byu", {}, r"this bot has no command 'byu': did you mean buy\?"),
        ("report", {}, "it knows buy, slowly"),
        ("on_halt", {}, "this bot has no command 'on_halt'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_and_nothing_runs(
    name: str, args: dict[str, Any], why: str
) -> None:
    with Simulation(Trading) as bot:
        with pytest.raises(CommandFailed, match=why):
            bot.send(name, **args)
        assert bot.state == Holdings()
        bot.ticks(1)


def test_an_undeclared_command_goes_to_on_command() -> None:
    with Simulation(Listening) as bot:
        assert bot.send("anything", x=1) == ["anything", {"x": 1}]
        assert bot.send("buy", market="BTC") == 1.0


def test_a_worker_reports_its_commands() -> None:
    offers = WorkerBot(Trading).offers()
    assert [(item.name, item.help) for item in offers.commands] == [("buy", "Buy some."), ("slowly", "")]
    assert offers.commands[0].args["required"] == ["market"]
    assert offers.commands[0].args["properties"]["size"]["default"] == 1.0
    assert offers.halts
    assert not offers.listens
    assert WorkerBot(Listening).offers().listens


def test_a_halt_pauses_the_bot_and_calls_on_halt_and_the_bot_ticks_on() -> None:
    with Simulation(Trading) as bot:
        bot.send("buy", market="BTC")
        assert bot.halt() == {"BTC": 1.0}
        assert bot.leader.paused
        assert bot.state == Holdings({}, 1)
        bot.ticks(2)
        bot.hand_over(Listening)
        assert bot.leader.paused
        bot.resume()
        assert not bot.leader.paused
        assert bot.state.flattened == 1


def test_a_halt_that_fails_is_reported_and_the_bot_stays_paused() -> None:
    with Simulation(Trading) as bot:
        bot.send("buy", market="JAM")
        with pytest.raises(CommandFailed, match="the exchange does not answer"):
            bot.halt()
        assert bot.leader.paused
        bot.ticks(1)


def test_a_halt_that_killed_the_process_is_not_run_again_and_the_bot_stays_paused() -> None:
    with Simulation(Trading) as bot:

        class Dying(Trading):
            async def on_halt(self) -> Any:
                self.state.flattened += 1
                bot.kill()

        bot.hand_over(Dying)
        with pytest.raises(CommandFailed, match="is not run again"):
            bot.halt()
        assert bot.leader.paused
        assert bot.state.flattened == 0


def test_a_halt_pauses_a_bot_without_on_halt() -> None:
    class Plain(Worker[Holdings]):
        pass

    with Simulation(Plain) as bot:
        assert bot.halt() is None
        assert bot.leader.paused
    assert not WorkerBot(Plain).offers().halts


unannotated: Any = eval("lambda self, market: None")


def starred(self: Any, *markets: str) -> None: ...


def opaque(self: Any, market: asyncio.Lock) -> None: ...


def own(self: Any) -> None: ...


@pytest.mark.parametrize(
    ("name", "function", "why"),
    [
        ("sell", unannotated, "its parameter market has no annotation"),
        ("sell", starred, "cannot be passed by name"),
        ("sell", opaque, "Lock"),
        ("halt", own, "the name is one of neverblink's own commands"),
    ],
)
def test_a_command_with_an_invalid_signature_is_refused_when_the_class_is_read(
    name: str, function: Any, why: str
) -> None:
    cls: Any = type("Bad", (Worker,), {name: command(function), "__orig_bases__": (Worker[Holdings],)})
    with pytest.raises(BotError, match=f"bot Bad: command {name}: .*{why}"):
        WorkerBot(cls)
