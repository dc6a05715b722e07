"""The worker in Node.js of docs/examples/node: it takes over from Python, hands back, guards and recovers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neverblink.worker.model.cells import Cells

from .bots import bot
from .live import WITHIN, Live

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "node"
STATE = """
count: int = 0
language: str = ""
seen: list[str] = []
timers: int = 0
"""
FEED = """
import threading


def feed(put):
    number = int(time.time() * 20)
    while True:
        put(str(number), number)
        number += 1
        time.sleep(max(0, number / 20 - time.time()))
"""
PYTHON = bot(
    """
    def on_start(self):
        threading.Thread(target=feed, args=(self.inbox.put,), daemon=True).start()

    def on_event(self, event):
        self.state.seen.append(event.key)

    def on_tick(self, tick):
        self.state.count += 1
        self.state.language = "python"
        say(f"tick {tick.seq}")

    def on_timer(self, timer):
        self.state.timers += 1
    """,
    tick="100ms",
    state=STATE,
    first=FEED,
)
pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(
        shutil.which("node") is None or shutil.which("npm") is None, reason="needs Node.js and npm"
    ),
]


@pytest.fixture(scope="module")
def packages(request: pytest.FixtureRequest) -> Path:
    """The packages of the example, installed once; skips the tests where npm cannot get them."""
    assert request.config.cache is not None
    place = request.config.cache.mkdir("node")
    if not (place / "node_modules" / "zeromq").is_dir():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(EXAMPLE / name, place)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts"], cwd=place, capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"npm cannot install the packages: {done.stderr.strip().splitlines()[-1:]}")
    return place / "node_modules"


@pytest.fixture
def both(live: Live, packages: Path) -> tuple[Path, Path]:
    """Two projects with the same state: a bot in Python, and one in Node.js."""
    live.environment["NODE_PATH"] = str(packages)
    python = live.code("python", PYTHON, probation="1s")
    node = live.tmp / "node"
    node.mkdir()
    shutil.copy(EXAMPLE / "worker.js", node)
    (node / "neverblink.toml").write_text(
        (python / "neverblink.toml")
        .read_text()
        .replace("[handoff]", 'command = ["node", "worker.js"]\n[handoff]', 1)
    )
    return python, node


def until(live: Live, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The leader's book, once the condition holds."""
    end = time.monotonic() + WITHIN
    while not condition(book := live.book()):
        assert time.monotonic() < end, f"{book}\n{live.story()}"
        time.sleep(0.02)
    return book


def test_the_digest_is_that_of_the_protocol(packages: Path) -> None:
    from hashlib import blake2b

    script = """
        const { digest } = require(process.argv[1]);
        const sizes = [0, 1, 127, 128, 129, 4096];
        console.log(JSON.stringify(sizes.map((size) => digest(Buffer.alloc(size, 7)).toString("hex"))));
    """
    found = subprocess.run(
        ["node", "-e", script, str(EXAMPLE / "worker.js")],
        env={**os.environ, "NODE_PATH": str(packages)},
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = [blake2b(b"\7" * size, digest_size=16).hexdigest() for size in (0, 1, 127, 128, 129, 4096)]
    assert json.loads(found.stdout) == wanted


def test_python_hands_over_to_node_and_back_and_rolls_back_to_it(live: Live, both: tuple[Path, Path]) -> None:
    python, node = both
    live.up(python)
    before = until(live, lambda book: book["count"] > 5 and book["seen"])
    number = live.begin(node)
    # In the probation the old worker passes on what its feed brings, and the new one applies it.
    until(live, lambda book: book["language"] == "node" and len(book["seen"]) > len(before["seen"]) + 5)
    done = live.ended(number)
    assert (done["outcome"], done["missed"]) == ("done", 0), done
    led = until(live, lambda book: book["language"] == "node" and book["timers"] > 1)
    assert led["count"] > before["count"]
    assert live.run("pause").code == 0
    assert live.status()["paused"]
    assert live.run("resume").code == 0
    # Python again, which is rolled back: Node.js follows in its probation, and takes the lead again.
    again = live.code("again", f"{PYTHON}# 2\n", probation="20s")
    number = live.begin(again)
    live.phase(number, "probation")
    until(live, lambda book: book["language"] == "python" and book["count"] > led["count"])
    assert live.run("rollback", "--json").code == 0
    back = until(live, lambda book: book["language"] == "node")
    assert back["pid"] == led["pid"]
    # And Python for good, with the state that Node.js has written.
    assert live.deploy(live.code("last", f"{PYTHON}# 3\n"))["outcome"] == "done"
    until(live, lambda book: book["language"] == "python" and book["count"] > back["count"])
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert report["handoffs_total"] == 4
    assert report["events"]["never"] == report["events"]["twice"] == [], report


def test_node_guards_a_python_leader_recovers_from_the_journal_and_stops(
    live: Live, both: tuple[Path, Path]
) -> None:
    python, node = both
    live.up(node)
    first = until(live, lambda book: book["count"] > 12)
    # The new code dies in its probation: the worker in Node.js takes the bot back.
    number = live.begin(python)
    live.phase(number, "probation")
    led = until(live, lambda book: book["language"] == "python")
    os.kill(led["pid"], signal.SIGKILL)
    assert live.ended(number)["outcome"] == "rolled_back"
    back = until(live, lambda book: book["language"] == "node" and book["count"] > led["count"])
    assert back["pid"] == first["pid"]
    # It dies itself: a new process goes on from the journal.
    os.kill(back["pid"], signal.SIGKILL)
    live.event(lambda event: event["outage"]["until"], type="outage")
    new = until(live, lambda book: book["count"] > back["count"])
    assert new["pid"] != back["pid"]
    live.down()
    report = live.audit()
    assert report["doubled"] == 0, report
    shown = live.run("state", "show")
    assert report["values"]["wrong_total"] == 0, report
    assert re.search(r'language +"node" +str', shown.out), shown


def test_the_fields_of_the_example_are_those_of_the_python_bot() -> None:
    namespace: dict[str, Any] = {}
    exec(PYTHON, namespace)
    types = json.loads(Cells(namespace["Book"], 1).types)
    for name in types["properties"]:
        assert f"{name}: {{ type:" in (EXAMPLE / "worker.js").read_text()
