"""The handlers of real processes run in the order that a simulation shows."""

from __future__ import annotations

import pytest

from ..matrix import cases
from .live import Live

_BOT = """
import os
import msgspec
from neverblink.worker import Worker

def say(text):
    os.write(1, f"order {text}\\n".encode())

class Book(msgspec.Struct):
    ticks: int = 0

class Bot(Worker[Book]):
    tick = "100ms"

    def on_start(self):
        say(f"{NAME} on_start")

    def on_load(self, state):
        say(f"{NAME} on_load")

    def on_lead(self, in_doubt):
        say(f"{NAME} on_lead {self.led_before}")

    def on_yield(self):
        say(f"{NAME} on_yield")

    def on_retire(self):
        say(f"{NAME} on_retire")

    def on_stop(self):
        say(f"{NAME} on_stop")

    def on_tick(self, tick):
        self.state.ticks += 1

    def on_command(self, name, args):
        return msgspec.to_builtins(self.state)
"""


def _code(name: str) -> str:
    return f"NAME = {name!r}\n{_BOT}"


def _order(live: Live, name: str) -> list[str]:
    """The handlers that the process of this code ran; repeated `on_load` are one, as they depend on the timing."""
    ran = [line.removeprefix(name).strip() for line in live.printed("order") if line.startswith(name)]
    return [handler for handler, before in zip(ran, ["", *ran], strict=False) if handler != before]


@pytest.mark.parametrize("how", cases(["stands", "rolled back"], "rolled back"))
def test_a_process_that_led_yields_before_it_retires_or_leads_again(live: Live, how: str) -> None:
    live.up(live.code("v0", _code("old")))
    begun = live.begin(live.code("v1", _code("new"), probation="1s" if how == "stands" else "30s"))
    live.phase(begun, "probation")
    live.ticks_on()
    if how == "rolled back":
        assert live.run("rollback").code == 0
    assert live.ended(begun)["outcome"] == ("done" if how == "stands" else "rolled_back")
    live.ticks_on()
    live.down()
    old, new = _order(live, "old"), _order(live, "new")
    first = ["on_start", "on_load", "on_lead False"]
    if how == "stands":
        assert old == [*first, "on_yield", "on_retire"]
        assert new == [*first, "on_stop"]
    else:
        assert old == [*first, "on_yield", "on_load", "on_lead True", "on_stop"]
        assert new == [*first, "on_yield", "on_retire"]


def test_a_handler_with_a_typo_is_named_by_check_and_in_the_log_of_the_start(live: Live) -> None:
    code = live.code("v0", f"{_code('old')}\n    def on_tik(self, tick):\n        pass\n")
    named = "on_tik is never called: did you mean on_tick?"
    checked = live.run("check", code)
    assert checked.code == 0, checked
    assert named in checked.out
    live.up(code)
    logged = live.run("logs", "--level", "warning")
    assert f"WARNING: bot Bot: {named}" in logged.out, logged
