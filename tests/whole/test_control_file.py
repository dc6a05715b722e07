"""control.json and a writer that races: each command once, none lost, none twice.

The contract is the writer's half: it waits for the answer to its id before it puts another command in the place of the
file, or it adds to the list. 200 commands in an ordinary run; ten thousand:

    .venv/bin/python -m pytest tests/whole/test_control_file.py --times 50
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .bots import bot
from .live import WITHIN, Live

SOURCE = """
    def on_tick(self, tick):
        self.state.ticks += 1

    def on_command(self, name, args):
        if name == "add":
            n = str(args["n"])
            self.state.seen[n] = self.state.seen.get(n, 0) + 1
            return n
        return msgspec.to_builtins(self.state)
    """
STATE = "ticks: int = 0\nseen: dict[str, int] = {}"


class Writer:
    """Writes commands, and disturbs the file in other ways meanwhile."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home = home
        self.control = home / "control.json"
        self.random = random.Random(seed)
        self.before = b"[]"
        self.did: Counter[str] = Counter()

    def answers(self) -> dict[str, Any]:
        try:
            status = json.loads((self.home / "status.json").read_bytes())
        except FileNotFoundError:
            return {}
        return {answer["id"]: answer for answer in status["control"]["answers"]}

    def ask(self, *numbers: int) -> None:
        """Ask for these, in one file, and wait for the answers; a wild rewriter is at it all the time."""
        asked = [{"id": f"n{n}", "op": "send", "name": "add", "args": {"n": n}} for n in numbers]
        data = json.dumps(asked if len(asked) > 1 or self.random.random() < 0.5 else asked[0]).encode()
        self.write(data)
        until = time.monotonic() + 3 * WITHIN
        while not {f"n{n}" for n in numbers} <= (answers := self.answers()).keys():
            assert time.monotonic() < until, f"no answer to {numbers}: {answers}"
            self.disturb(data)
        assert all(answers[f"n{n}"]["status"] == "ok" for n in numbers), answers
        self.before = data

    def write(self, data: bytes) -> None:
        if self.random.random() < 0.5:
            new = self.home / "control.json.new"
            new.write_bytes(data)
            new.replace(self.control)
            self.did["replaced"] += 1
        else:
            # In two halves, and in place.
            with self.control.open("wb", buffering=0) as file:
                half = self.random.randrange(len(data) + 1)
                file.write(data[:half])
                file.write(data[half:])
            self.did["written in place"] += 1

    def disturb(self, data: bytes) -> None:
        match self.random.randrange(6):
            case 0:
                self.write(data)
            case 1:
                self.control.touch()
            case 2:
                # An old file comes back, and then what is asked for again.
                self.write(self.before)
                self.write(data)
                self.did["replayed"] += 1
            case 3:
                self.write(data[: self.random.randrange(len(data))])
                self.write(data)
                self.did["torn"] += 1
            case _:
                time.sleep(0.001)


def counted(live: Live, upto: int) -> None:
    """Check that each command was executed exactly once."""
    assert live.ask("send", name="book")["value"]["seen"] == {str(n): 1 for n in range(upto)}


def test_each_command_is_executed_once_while_a_writer_races(live: Live, times: int, say: Any) -> None:
    live.up(live.code("v1", bot(SOURCE, state=STATE)))
    writer = Writer(live.home, 7)
    most = 200 * times
    at = 0
    began = time.monotonic()
    while at < most:
        many = min(writer.random.choice((1, 1, 1, 5)), most - at)
        writer.ask(*range(at, at + many))
        at += many
    took = time.monotonic() - began
    counted(live, most)
    say(f"control.json: {most} commands in {took:.1f} s, each once; {dict(writer.did)}")
    live.down()


@pytest.mark.deep
def test_killed_supervisors_lose_and_repeat_no_command(live: Live, times: int, say: Any) -> None:
    code = live.code("v1", bot(SOURCE, state=STATE))
    up = live.up(code)
    writer = Writer(live.home, 11)
    at = 0
    for _ in range(2 * times):
        for _ in range(20):
            writer.ask(at)
            at += 1
        # Do not wait for this one: it may be read, begun or done when the supervisor is killed.
        writer.write(json.dumps({"id": f"n{at}", "op": "send", "name": "add", "args": {"n": at}}).encode())
        time.sleep(writer.random.choice((0.0, 0.001, 0.003, 0.01)))
        up.kill()
        up.ends()
        up = live.up(code)
        writer.ask(at)
        at += 1
    counted(live, at)
    say(f"control.json: {at} commands beside {2 * times} killed supervisors, each once")
    writer.write(json.dumps({"id": "the end", "op": "down", "why": "enough"}).encode())
    assert up.ends().code == 0
    status = json.loads((live.home / "status.json").read_text())
    assert not status["alive"]
    assert status["status"]["state"] == "down"
    assert writer.answers()["the end"]["result"] == {"stopped": True}
