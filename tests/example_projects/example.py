"""An example project of docs/examples as its reader runs it: a copy, its market in a process, and `neverblink up`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..processes import wait_for_end
from ..whole.live import WITHIN, Live

__all__ = ["EXAMPLES", "Example", "own_tests"]

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"

Record = dict[str, Any]


class Example:
    """One example in a test's directory. Its processes end with `live`."""

    def __init__(
        self,
        live: Live,
        name: str,
        *market: str,
        python: str = sys.executable,
        check: bool = False,
        **environment: str,
    ) -> None:
        """Copy the project and start its market with the options `market`.

        The bot runs with `python`, which has what the project needs, so that no test downloads anything. With `check`
        each deployment runs the example's own tests first.
        """
        self.live = live
        self.place = copy(name, live.tmp / name, python, check=check)
        live.environment |= environment
        self._market = subprocess.Popen(
            [python, "market.py", "--port", "0", "--record", "record.jsonl", *market],
            cwd=self.place,
            env=live.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._market.stdout is not None
        self.url = str(json.loads(self._market.stdout.readline())["url"])
        live.environment["MARKET_URL"] = self.url

    def up(self) -> None:
        self.live.up(self.place)

    def edit(self, file: str, old: str, new: str) -> None:
        """Change the project as its reader would, in an editor."""
        path = self.place / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, (file, old)
        path.write_text(text.replace(old, new), encoding="utf-8")

    def deploy(self) -> str:
        """Deploy the project; return the new release. Waits until it leads."""
        done = self.live.deploy(self.place)
        assert done["outcome"] == "done", done
        return str(done["release"])

    def kill(self, *, standby: bool = True) -> None:
        """Kill the leader, and wait until another process leads: the standby, once it is ready, or a new one."""
        if standby:
            self.until(lambda: self.live.status()["standby"]["state"] == "ready")
        since = len(self.live.events)
        pid = self.live.status()["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
        self.live.event(type="leader", since=since)

    def kill_feed(self, name: str) -> None:
        """Kill the process of a feed, and wait until another one runs."""

        def running() -> int:
            [feed] = [feed for feed in self.live.status()["feeds"] if feed["feed"] == name]
            return feed["pid"] if feed["state"] == "running" else 0

        pid = running()
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
        self.until(lambda: running() not in (0, pid))

    def ask(self, command: str, **args: Any) -> Any:
        """The bot's answer to a command."""
        return self.live.ask("send", name=command, args=args)["value"]

    def until(self, condition: Callable[[], object], within: float = WITHIN) -> None:
        """Wait until the condition holds. Nothing announces what the market or the bot has done, so this polls."""
        until = time.monotonic() + within
        while not condition():
            assert time.monotonic() < until, f"not within {within} s:\n{self.live.story()}"
            time.sleep(0.05)

    def close_market(self) -> None:
        """Stop the market, so that its record is complete."""
        self._market.terminate()
        self._market.communicate(timeout=WITHIN)

    @property
    def record(self) -> list[Record]:
        """What the market has recorded."""
        lines = (self.place / "record.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def recorded(self, what: str) -> list[Record]:
        return [line for line in self.record if line["what"] == what]


def copy(name: str, place: Path, python: str, *, check: bool = False) -> Path:
    """Copy an example, and have it run with this interpreter instead of an environment that uv builds."""
    shutil.copytree(
        EXAMPLES / name,
        place,
        ignore=shutil.ignore_patterns("__pycache__", ".*cache", ".neverblink", "*.jsonl"),
    )
    config = place / "neverblink.toml"
    lines = config.read_text(encoding="utf-8").splitlines()
    lines.insert(2, f"python = {json.dumps(python)}")
    # A deployment waits for the end of the probation before it.
    lines = ['probation = "500ms"' if line.startswith("probation") else line for line in lines]
    if not check:
        lines = [line for line in lines if not line.startswith("check")]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def own_tests(project: Path, python: str = sys.executable) -> None:
    """Run an example's own tests, as its deployments do. Any warning fails them."""
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=project,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
