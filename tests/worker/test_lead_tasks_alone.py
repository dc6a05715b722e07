"""Tasks bound to the lead in a bot that runs alone: they begin with the bot, and end before it stops."""

from __future__ import annotations

from pathlib import Path

import pytest

from .standalone_process import StandaloneProcess

_HEAD = """
import asyncio
import msgspec
from neverblink.worker import Worker, join


class Book(msgspec.Struct):
    count: int = 0


def say(text):
    print(text, flush=True)


def send(stop):
    say("begins")
    stop.wait()
    say("ends")


async def read():
    say("begins")
    try:
        await asyncio.Event().wait()
    finally:
        say("ends")
"""

_CLASS = """
class Bot(Worker[Book]):
    tick = "20ms"

    def on_start(self):
        self.while_leading({target})

    def on_stop(self):
        say("stops")


Bot.run()
"""

_LOOP = """
{define}
    loop = join(Book, tick="20ms")
    loop.while_leading({target})
    {iterate} tick in loop:
        assert loop.leading
    say("stops")


{call}
"""


@pytest.mark.parametrize(
    "body",
    [
        _CLASS.format(target="read"),
        _CLASS.format(target="send"),
        _LOOP.format(define="def main():", target="send", iterate="for", call="main()"),
        _LOOP.format(
            define="async def main():", target="read", iterate="async for", call="asyncio.run(main())"
        ),
    ],
    ids=["task of a class", "thread of a class", "thread of a loop", "task of an async loop"],
)
def test_a_task_ends_before_the_bot_stops(tmp_path: Path, body: str) -> None:
    with StandaloneProcess(tmp_path, _HEAD + body) as bot:
        bot.wait_for("begins")
        ended = bot.interrupt()
    assert (ended.status, ended.output.splitlines(), ended.errors) == (0, ["ends", "stops"], "")


def test_a_coroutine_function_in_a_plain_loop_is_refused_with_the_mend(tmp_path: Path) -> None:
    body = _LOOP.format(define="def main():", target="read", iterate="for", call="main()")
    with StandaloneProcess(tmp_path, _HEAD + body) as bot:
        ended = bot.end()
    assert ended.status != 0
    assert "iterate with `async for`, or pass a plain function" in ended.errors


def test_a_task_declared_in_the_middle_of_a_loop_is_refused(tmp_path: Path) -> None:
    body = _LOOP.format(define="def main():", target="send", iterate="for", call="main()").replace(
        "assert loop.leading", "tick.first or loop.while_leading(send, name='late')"
    )
    with StandaloneProcess(tmp_path, _HEAD + body) as bot:
        ended = bot.end()
    assert ended.status != 0
    assert "call it before the loop, or in a tick that is tick.first" in ended.errors
