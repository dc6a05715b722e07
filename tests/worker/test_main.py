"""Where a worker begins: finding the bot that is named, looking at it, and running it alone."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neverblink.worker import Worker
from neverblink.worker.main import find
from neverblink.worker.runtime.declaration import BotError

from .standalone_process import LOOPING, StandaloneProcess

BOT = """
import msgspec
from neverblink.worker import Worker, join


class Book(msgspec.Struct):
    count: int = 0


class Counter(Worker[Book]):
    tick = "5ms"

    def on_tick(self, tick):
        self.state.count += 1
        if self.state.count == 3:
            print("looping", flush=True)

    def on_retire(self):
        print("retired", flush=True)

    async def on_stop(self):
        print("stopped after 3" if self.state.count >= 3 else "stopped too early", flush=True)


def loop():
    seat = join(Book, tick="5ms")
    for tick in seat:
        tick.state.count += 1
        if tick.state.count == 3:
            print("looping", flush=True)
    print(f"ended, stopped: {seat.stopped}", flush=True)


async def async_loop():
    seat = join(Book, tick="5ms")
    async for tick in seat:
        tick.state.count += 1
        if tick.state.count == 3:
            print("looping", flush=True)
    print(f"ended, stopped: {seat.stopped}", flush=True)


class Plain:
    pass


number = 5
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module that can be imported for the time of a test, and returns its name."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()

    def write(text: str) -> str:
        name = f"entry_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


# --- finding ----------------------------------------------------------------------------------------------------------


def test_a_worker_and_a_function_are_found(module: Callable[[str], str]) -> None:
    name = module(BOT)
    found: Any = find(f"{name}:Counter")
    assert issubclass(found, Worker)
    assert find(f"{name}:loop").__name__ == "loop"


@pytest.mark.parametrize("target", ["bot", "bot:", ":Counter", "", ":"])
def test_a_target_is_a_module_and_a_name(target: str) -> None:
    with pytest.raises(BotError, match="expected MODULE:NAME, such as bot:Foresight"):
        find(target)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(BotError, match="there is no module nowhere_at_all in "):
        find("nowhere_at_all:Counter")


def test_a_missing_module_that_the_bot_imports_is_the_bots_own_error(module: Callable[[str], str]) -> None:
    name = module("import nowhere_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        find(f"{name}:Counter")


def test_for_an_unknown_name_the_closest_one_is_suggested(
    module: Callable[[str], str],
) -> None:
    name = module(BOT)
    with pytest.raises(BotError, match=r"has no Conter; did you mean Counter\?"):
        find(f"{name}:Conter")
    with pytest.raises(BotError, match="has no Foresight; it has Counter"):
        find(f"{name}:Foresight")


@pytest.mark.parametrize(("wrong", "kind"), [("Plain", "the class Plain"), ("number", "a int")])
def test_an_object_that_is_not_a_bot_is_refused(module: Callable[[str], str], wrong: str, kind: str) -> None:
    name = module(BOT)
    with pytest.raises(BotError, match=f"{wrong} is {kind}, expected a subclass"):
        find(f"{name}:{wrong}")


# --- looking at it ----------------------------------------------------------------------------------------------------


def checked(place: Path, text: str, name: str = "Bot") -> tuple[int, dict[str, Any]]:
    (place / "bot.py").write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "neverblink.worker", "--check", f"bot:{name}"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, json.loads(ran.stdout.splitlines()[-1])


def test_the_check_of_a_good_bot_describes_it(tmp_path: Path) -> None:
    status, found = checked(tmp_path, BOT, "Counter")
    assert status == 0
    assert (found["ok"], found["problem"], found["interval"], found["schema"][0]) == (True, "", 5_000_000, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import sys\nsys.exit(3)\n", "importing bot failed: SystemExit: 3"),
        ("raise RuntimeError('no network')\n", "importing bot failed: RuntimeError: no network"),
        ("def Bot(:\n", "importing bot failed: SyntaxError"),
        ("from neverblink.worker import Worker\nclass Bot(Worker): pass\n", "does not say what its state is"),
        (BOT + "\nclass Bot(Counter):\n    tick = 'soon'\n", 'tick = "soon"'),
        (
            BOT + "\nclass Needy(msgspec.Struct):\n    market: str\n\nclass Bot(Worker[Needy]): pass\n",
            "give market a default",
        ),
        (
            BOT + "\nclass Odd(msgspec.Struct):\n    note: int = 'text'\n\nclass Bot(Worker[Odd]): pass\n",
            "note",
        ),
    ],
)
def test_the_check_reports_an_invalid_bot(tmp_path: Path, text: str, problem: str) -> None:
    status, found = checked(tmp_path, text)
    assert status == 1
    assert not found["ok"]
    assert problem in found["problem"]


def test_without_an_assignment_it_says_how_a_bot_is_started(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "neverblink.worker", "bot:Counter"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert "start a bot with `neverblink up`, or alone with `python bot.py`" in ran.stderr


@pytest.mark.parametrize("arguments", [[], ["--check"], ["--help"], ["a", "b"]])
def test_invalid_arguments_print_the_usage(tmp_path: Path, arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "neverblink.worker", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith(
        "usage: python -m neverblink.worker [--check | --alone | --shell] MODULE:NAME"
    )


# --- alone ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("run", "output"),
    [
        ("Counter.run()", "stopped after 3\n"),
        ("loop()", "ended, stopped: True\n"),
        ("import asyncio; asyncio.run(async_loop())", "ended, stopped: True\n"),
    ],
)
def test_alone_it_stops_for_good_when_it_is_interrupted(
    tmp_path: Path, run: str, output: str, number: signal.Signals
) -> None:
    with StandaloneProcess(tmp_path, f"{BOT}\n{run}\n") as bot:
        bot.wait_for("looping")
        ended = bot.interrupt(number)
    assert (ended.output, ended.status) == (output, 0), ended.errors


def test_a_loop_interrupted_before_its_first_tick_ends(tmp_path: Path) -> None:
    with StandaloneProcess(tmp_path, f"{BOT.replace('5ms', '1h')}\n{LOOPING}\nloop()\n") as bot:
        bot.wait_for("looping")
        ended = bot.interrupt()
    assert ended.output.startswith("ended"), ended.errors
    assert ended.status == 0


def test_an_async_loop_interrupted_before_its_first_tick_ends(tmp_path: Path) -> None:
    begins = "asyncio.get_running_loop().call_soon(lambda: print('looping', flush=True))"
    text = BOT.replace("5ms", "1h").replace("    async for", f"    {begins}\n    async for")
    with StandaloneProcess(tmp_path, f"import asyncio\n{text}\nasyncio.run(async_loop())\n") as bot:
        bot.wait_for("looping")
        ended = bot.interrupt()
    assert ended.output.startswith("ended"), ended.errors
    assert ended.status == 0


def test_alone_a_handler_that_raises_ends_it_with_one_traceback_and_an_error(tmp_path: Path) -> None:
    text = BOT.replace("self.state.count += 1", "raise RuntimeError('no price')")
    with StandaloneProcess(tmp_path, f"{text}\nCounter.run()\n") as bot:
        ended = bot.end()
    assert ended.status == 1
    assert ended.errors.count("RuntimeError: no price") == 1


def test_alone_an_invalid_bot_prints_one_line(tmp_path: Path) -> None:
    with StandaloneProcess(tmp_path, f"{BOT}\nCounter.tick = 'soon'\nCounter.run()\n") as bot:
        ended = bot.end()
    assert ended.status == 1
    assert ended.errors.startswith('neverblink: bot Counter: tick = "soon"')
    assert ended.errors.count("\n") == 1
