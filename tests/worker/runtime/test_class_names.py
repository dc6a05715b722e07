"""The names in a bot's class: a typo and a shadowed name are named, a handler that cannot be called is refused."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import msgspec
import pytest

from neverblink.worker import Tick, Window, Worker, command
from neverblink.worker.check import check
from neverblink.worker.runtime.declaration import BotError
from neverblink.worker.testing import Simulation
from neverblink.worker.worker import WorkerBot


class Book(msgspec.Struct):
    n: int = 0


class Plain(Worker[Book]):
    pass


def bot(**names: Any) -> WorkerBot:
    return WorkerBot(type("Fox", (Plain,), names))


def method(*parameters: str) -> Any:
    """A function with these parameters after self."""
    return eval(f"lambda {', '.join(['self', *parameters])}: None")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("on_tik", "on_tick"),
        ("on_ticks", "on_tick"),
        ("onTick", "on_tick"),
        ("on_evnt", "on_event"),
        ("on_retired", "on_retire"),
        ("on_stopp", "on_stop"),
        ("on_timers", "on_timer"),
        ("on_loaded", "on_load"),
    ],
)
def test_a_handler_with_a_typo_is_named_with_what_was_meant(name: str, meant: str) -> None:
    assert bot(**{name: method("value")}).warnings == (f"{name} is never called: did you mean {meant}?",)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("window", [Window("5m", opens="0s", closes="1s")], "windows"),
        ("overun", "catch-up", "overrun"),
        ("shema", 2, "schema"),
        ("event_typ", Book, None),
        ("setings", 3, "settings"),
    ],
)
def test_an_attribute_with_a_typo_is_named_with_what_was_meant(
    name: str, value: Any, meant: str | None
) -> None:
    expected = (f"{name} is not used: did you mean {meant}?",) if meant else ()
    assert bot(**{name: value}).warnings == expected


def test_a_method_that_the_bot_calls_itself_is_not_taken_for_a_typo() -> None:
    class Feed(Worker[Book]):
        windowed: ClassVar[int] = 3

        def on_start(self) -> None:
            self.subscribe(self.on_ticks)

        def subscribe(self, callback: Any) -> None:
            self.callback = callback

        def on_ticks(self, ticks: Any) -> None: ...

        def on_trade(self, trade: Any) -> None: ...

        @command
        def on_timed(self) -> None:
            """An operator's command."""
            self.windowed  # noqa: B018

    assert WorkerBot(Feed).warnings == ()


@pytest.mark.parametrize(
    "name", ["set_timer", "cancel_timer", "decision", "inbox", "paused", "leading", "run"]
)
def test_a_name_of_neverblinks_own_is_named_where_the_bot_replaces_it(name: str) -> None:
    text = f"{name} is a name of neverblink's own, and the bot replaces it: choose another name"
    assert bot(**{name: method()}).warnings == (text,)
    assert bot(**{name: property(method())}).warnings == (text,)
    assert bot(**{name: 3}).warnings == (text,)


def test_an_attribute_of_the_object_and_a_mixin_can_replace_a_name_too() -> None:
    class Assigns(Worker[Book]):
        def __init__(self) -> None:
            self.decision = None  # pyright: ignore[reportAttributeAccessIssue]

    class Mixin:
        def set_timer(self) -> None: ...

        def on_tik(self) -> None: ...

    class Mixed(Mixin, Worker[Book]):  # pyright: ignore[reportIncompatibleMethodOverride]
        pass

    [warning] = WorkerBot(Assigns).warnings
    assert warning.startswith("decision is a name of neverblink's own")
    assert [warning.split()[0] for warning in WorkerBot(Mixed).warnings] == ["set_timer", "on_tik"]


def test_a_method_that_calls_the_one_it_overrides_extends_it() -> None:
    class Logged(Worker[Book]):
        def set_timer(self, name: str, **when: Any) -> None:
            print(name)
            super().set_timer(name, **when)

    assert WorkerBot(Logged).warnings == ()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("on_tick", method(), "write def on_tick(self, tick)"),
        ("on_lead", method(), "write def on_lead(self, in_doubt)"),
        ("on_load", method("state", "extra"), "write def on_load(self, state)"),
        ("on_state", method(), "write def on_state(self, changed)"),
        ("on_command", method("name"), "write def on_command(self, name, args)"),
        ("on_stop", None, "on_stop is None: write def on_stop(self), or leave it out"),
        ("on_tick", staticmethod(method()), None),
    ],
)
def test_a_handler_that_cannot_be_called_is_refused_with_how_to_write_it(
    name: str, value: Any, message: str | None
) -> None:
    if message is None:
        assert bot(**{name: value}).warnings == ()
        return
    with pytest.raises(BotError) as caught:
        bot(**{name: value})
    assert "bot Fox: " in caught.value.message
    assert message in caught.value.message


@pytest.mark.parametrize(
    "value",
    [method("tick", "more=3"), method("*args"), method("*", "tick=None") if False else method("tick")],
)
def test_a_handler_may_have_optional_parameters(value: Any) -> None:
    assert bot(on_tick=value).warnings == ()


def test_a_decorated_handler_is_looked_at_as_it_is_called() -> None:
    def logged(handler: Any) -> Any:
        @functools.wraps(handler)
        def wrapper(*args: Any) -> Any:
            return handler(*args)

        return wrapper

    assert bot(on_tick=logged(method("tick"))).warnings == ()
    with pytest.raises(BotError, match="on_tick"):
        bot(on_tick=logged(method()))


class Mistyped(Worker[Book]):
    def on_tik(self, tick: Tick[Book]) -> None: ...


def test_check_and_a_simulation_name_it() -> None:
    found = check(f"{__name__}:Mistyped")
    assert found.ok
    assert found.warnings == ("on_tik is never called: did you mean on_tick?",)
    said = "bot Mistyped: on_tik is never called: did you mean on_tick"
    with pytest.warns(UserWarning, match=said), Simulation(Mistyped) as simulation:
        simulation.ticks(1)
