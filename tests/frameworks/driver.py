"""The driver: puts a bot on a simulated counterpart, deploys, rolls back, kills its processes, and counts.

It uses neverblink as any user does: by its command line. The same for every package:

1. `up`, then `deploys` deployments of the same code, and one that is rolled back in its probation;
2. the leader's process is killed, without a standby, and once more with one;
3. the counterpart falls silent, and what it has sent is compared with what the bot has done about it; `audit`.

    row = drive(bot_of("freqtrade"), market, tmp_path)
    print(row)
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

__all__ = ["Bot", "Counted", "Done", "Kill", "Outside", "Row", "bot_of", "compare", "drive"]

WITHIN = 180.0
"""Seconds after which any wait has failed. Some packages take long to import."""
_HERE = Path(__file__).parent
_NEVERBLINK = (sys.executable, "-m", "neverblink.supervisor.cli")
_SETTLED = 3
"""So many new effects of the bot show that it works."""


class Done(NamedTuple):
    """Something that the bot has done outside about message `number` of `stream`, at a time (CLOCK_MONOTONIC, s)."""

    stream: str
    number: int
    at: float


class Outside(Protocol):
    """What the bot talks to: a simulated exchange, or whatever its package is for. On the loopback interface."""

    def environment(self) -> Mapping[str, str]:
        """Variables by which the bot finds it."""
        ...

    def sent(self) -> Sequence[tuple[str, int]]:
        """The messages that the bot must act on, as stream and number, in order. From its first connection on."""
        ...

    def done(self) -> Sequence[Done]:
        """What the bot has done, in order of arrival."""
        ...

    def fall_silent(self) -> None:
        """Send no further message. Keep answering."""
        ...


class Bot(NamedTuple):
    """A bot before and after, each a directory, and the interpreter with its package."""

    name: str
    before: Path
    after: Path
    python: str


class Counted(NamedTuple):
    lost: int = 0
    doubled: int = 0
    reordered: int = 0


class Kill(NamedTuple):
    """What the death of the leader cost: how long the bot did nothing outside, ms, and what was lost or doubled."""

    gap: float
    counted: Counted

    def __str__(self) -> str:
        lost, doubled, reordered = self.counted
        told = [f"{lost} lost" * bool(lost), f"{doubled} doubled" * bool(doubled)]
        told.append(f"{reordered} reordered" * bool(reordered))
        return ", ".join([f"{self.gap:,.0f} ms", *filter(None, told)])


class Row(NamedTuple):
    """The result. `missed` and `counted` are those of the deployments and the rollback, without the kills."""

    bot: str
    lines: int
    added: int
    removed: int
    deploys: int
    missed: int
    counted: Counted
    alone: Kill
    standby: Kill

    @classmethod
    def heading(cls) -> str:
        kills = ["kill", "kill with a standby"]
        names = ["bot", "lines", "changed", "deploys", "missed", "doubled", "lost", "reordered", *kills]
        return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"

    def __str__(self) -> str:
        lost, doubled, reordered = self.counted
        values = (
            self.bot,
            self.lines,
            f"+{self.added}/−{self.removed}",
            self.deploys,
            self.missed,
            doubled,
            lost,
            reordered,
            self.alone,
            self.standby,
        )
        return f"| {' | '.join(map(str, values))} |"


def bot_of(package: str, *, name: str = "") -> Bot:
    """The bot in `tests/frameworks/PACKAGE`, with the interpreter that bin/test --frameworks has made for it."""
    place = _HERE / package
    python = os.environ.get(f"NEVERBLINK_FRAMEWORK_{package.upper()}", sys.executable)
    return Bot(name or package, place / "before", place / "bot", python)


def drive(
    bot: Bot, outside: Outside, place: Path, *, deploys: int = 5, say: Callable[[str], None] = print
) -> Row:
    """Take the bot through everything in the directory `place`; return the row. Fails with the bot's last output."""
    run = _Run(bot, outside, place, say)
    try:
        return run.all(deploys)
    except BaseException:
        say(run.story())
        raise
    finally:
        run.close()


def compare(sent: Sequence[tuple[str, int]], done: Sequence[Done]) -> Counted:
    """What of `sent` was lost, done more than once, or done after a later one of its stream."""
    times = Counter((each.stream, each.number) for each in done)
    newest: dict[str, int] = {}
    reordered = 0
    for each in done:
        if times[each.stream, each.number] == 1 and each.number < newest.get(each.stream, each.number):
            reordered += 1
        newest[each.stream] = max(each.number, newest.get(each.stream, each.number))
    return Counted(
        sum(message not in times for message in sent), sum(count - 1 for count in times.values()), reordered
    )


class _Run:
    def __init__(self, bot: Bot, outside: Outside, place: Path, say: Callable[[str], None]) -> None:
        self._bot, self._outside, self._place, self._say = bot, outside, place, say
        self._environment = {
            **os.environ,
            **outside.environment(),
            "NEVERBLINK_HOME": str(place / "home"),
            "NO_COLOR": "1",
        }
        self._up: subprocess.Popen[bytes] | None = None
        self._made = 0

    def all(self, deploys: int) -> Row:
        lines, added, removed = _changed(self._bot)
        self._start(self._release())
        self._works()
        for _ in range(deploys):
            self._run("deploy", self._release())
            self._works()
        self._roll_back()
        self._works()
        audit = json.loads(self._run("audit", "--json").stdout.splitlines()[-1])
        planned = time.monotonic()
        alone = self._kill()
        self._run("deploy", self._release(standby=1))
        self._until(lambda: self._status()["standby"]["state"] == "ready", "the standby is ready")
        guarded_at = time.monotonic()
        guarded = self._kill()
        self._outside.fall_silent()
        self._settle()
        sent, done = list(self._outside.sent()), list(self._outside.done())
        self._run("down")
        killed = (
            ("alone", planned, guarded_at, alone),
            ("guarded", guarded_at, float("inf"), guarded),
        )
        kills = {
            name: Kill(gap, self._between(sent, done, since, until)) for name, since, until, gap in killed
        }
        return Row(
            self._bot.name,
            lines,
            added,
            removed,
            deploys + 1,
            int(audit["missed"]),
            self._between(sent, done, 0, planned),
            kills["alone"],
            kills["guarded"],
        )

    def story(self) -> str:
        """The last lines that the supervisor and the workers have written."""
        logs = sorted((self._place / "home" / "logs").glob("*.log"), key=lambda log: log.stat().st_mtime)
        return "\n".join(f"== {log.name}\n{_tail(log)}" for log in (*logs[-3:], self._place / "up"))

    def close(self) -> None:
        """End everything that was started."""
        if self._up is not None and self._up.poll() is None:
            self._up.kill()
            self._up.wait()
        for process in _processes_in(self._place):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue

    # --- steps ------------------------------------------------------------------------------------------------------

    def _start(self, code: Path) -> None:
        with (self._place / "up").open("wb") as out:
            self._up = subprocess.Popen(
                [*_NEVERBLINK, "up", "--project", str(code)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        up = self._up

        def is_up() -> bool:
            assert up.poll() is None, "neverblink up has ended"
            return b"up: Ctrl-C" in (self._place / "up").read_bytes()

        self._until(is_up, "neverblink up")

    def _roll_back(self) -> None:
        """Deploy, and roll back in the probation."""
        self._run("deploy", "--no-wait", self._release(probation="1m"))
        self._until(lambda: self._phase() == "probation", "the probation")
        self._works()
        self._run("rollback")
        self._until(lambda: not self._phase(), "the end of the rollback")

    def _kill(self) -> float:
        """Kill the leader; return how long the bot did nothing outside, ms."""
        leader = self._status()["pid"]
        at = time.monotonic()
        os.kill(leader, signal.SIGKILL)
        self._until(lambda: any(each.at > at + 0.001 for each in self._outside.done()), "life after the kill")
        first = min(each.at for each in self._outside.done() if each.at > at + 0.001)
        self._works()
        return (first - at) * 1000

    def _works(self) -> None:
        """Wait until the bot has done something new."""
        before = len(self._outside.done())
        self._until(lambda: len(self._outside.done()) >= before + _SETTLED, "the bot acts")

    def _settle(self) -> None:
        """Wait until the bot has done everything, or does nothing more."""
        seen, since = -1, time.monotonic()
        while time.monotonic() < since + 3:
            if len(self._outside.done()) != seen:
                seen, since = len(self._outside.done()), time.monotonic()
            time.sleep(0.05)

    def _between(
        self, sent: Sequence[tuple[str, int]], done: Sequence[Done], since: float, until: float
    ) -> Counted:
        """What was lost, doubled and reordered of the messages of this time."""
        times: dict[tuple[str, int], float] = {}
        for each in done:
            times.setdefault((each.stream, each.number), each.at)
        at, mine = 0.0, set[tuple[str, int]]()
        for message in sent:
            # What was lost counts to the time of the message before it.
            at = times.get(message, at)
            if since <= at < until:
                mine.add(message)
        return compare(
            [message for message in sent if message in mine],
            [each for each in done if (each.stream, each.number) in mine],
        )

    # --- parts ------------------------------------------------------------------------------------------------------

    def _release(self, *, standby: int = 0, probation: str = "1s") -> Path:
        """A copy of the bot with another file beside it, on the right interpreter."""
        self._made += 1
        code = self._place / f"v{self._made}"
        shutil.copytree(self._bot.after, code, ignore=shutil.ignore_patterns("__pycache__"))
        config = code / "neverblink.toml"
        text = config.read_text()
        if "[handoff]" not in text:
            text += f'\n[handoff]\nprobation = "{probation}"\nstart_within = "3m"\nhang_after = "1m"\n'
        config.write_text(f'python = "{self._bot.python}"\nstandby = {standby}\n{text}')
        (code / "release.txt").write_text(f"{self._made}\n")
        return code

    def _run(self, *argv: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        self._say(f"neverblink {' '.join(map(str, argv))}")
        done = subprocess.run(
            [*_NEVERBLINK, *map(str, argv)],
            env=self._environment,
            cwd=self._place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * WITHIN,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def _status(self) -> dict[str, Any]:
        return json.loads(self._run_quietly("status", "--json").splitlines()[-1])

    def _run_quietly(self, *argv: str) -> str:
        return subprocess.run(
            [*_NEVERBLINK, *argv], env=self._environment, capture_output=True, text=True, timeout=WITHIN
        ).stdout

    def _phase(self) -> str:
        status = self._status()
        deployment = status["deployment"] or status["probation"]
        return str(deployment["phase"]) if deployment else ""

    def _until(self, holds: Callable[[], object], what: str) -> None:
        end = time.monotonic() + WITHIN
        while not holds():
            assert time.monotonic() < end, f"not in {WITHIN:.0f} s: {what}"
            time.sleep(0.02)


def _changed(bot: Bot) -> tuple[int, int, int]:
    """The lines of the program as it was, and how many git counts as added and as removed."""
    lines = sum(len(file.read_text().splitlines()) for file in bot.before.rglob("*.py"))
    counted = subprocess.run(
        ["git", "diff", "--no-index", "--numstat", str(bot.before), str(bot.after)],
        capture_output=True,
        text=True,
    ).stdout
    numbers = [line.split("\t") for line in counted.splitlines() if ".py" in line]
    return lines, sum(int(added) for added, _, _ in numbers), sum(int(removed) for _, removed, _ in numbers)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:]) if log.exists() else ""


def _processes_in(place: Path) -> list[int]:
    """The processes whose environment names the home in `place`."""
    found: list[int] = []
    mark = f"NEVERBLINK_HOME={place / 'home'}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]
