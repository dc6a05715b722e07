"""The supervisor is killed in each phase of a deployment, and another one comes back: no tick is missed in any.

Each phase is tried once in an ordinary run. The whole table:

    .venv/bin/python -m pytest tests/whole/test_supervisor_killed.py --times 20

prints how often each was tried, and the outcome.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .bots import bot
from .live import CliProcess, Live
from .test_killed import end

SOURCE = """
    async def gate(self, name):
        closed = "{gates}/{release}." + name
        if os.path.exists(closed):
            say(f"waits {release} {{name}}")
            while os.path.exists(closed):
                await asyncio.sleep(0.005)

    async def on_start(self):
        await self.gate("start")

    async def on_load(self, state):
        await self.gate("load")

    async def on_retire(self):
        await self.gate("retire")

    async def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {{tick.seq}}")
        if os.path.exists("{gates}/{release}.decide"):
            with self.decision("enter"):
                await self.gate("decide")
                while os.path.exists("{gates}/{release}.block"):
                    time.sleep(0.005)
    """


class GatedBot:
    """A bot whose releases wait at gates that a test opens and closes, and its successive supervisors."""

    def __init__(self, live: Live, tick: str) -> None:
        self.live = live
        self.tick = tick
        self.gates = live.tmp / "gates"
        self.gates.mkdir()
        self.tried: Counter[str] = Counter()
        self.leads = "v0"
        """The release that leads."""
        self._made = 0
        self._waited: Counter[str] = Counter()
        self.first = self.code("v0")
        self.supervisor: CliProcess

    def code(self, name: str, probation: str = "100ms") -> Path:
        source = bot(SOURCE.format(gates=self.gates, release=name), tick=self.tick)
        return self.live.code(name, source, lease_within="2s", hang_after="10s", probation=probation)

    def up(self) -> None:
        """Start a supervisor."""
        self.supervisor = self.live.up(self.first)

    def close(self, release: str, name: str) -> None:
        (self.gates / f"{release}.{name}").touch()

    def open(self, release: str, name: str) -> None:
        (self.gates / f"{release}.{name}").unlink()

    def waits(self, release: str, name: str) -> None:
        """Wait until the release waits there, after all the times that were waited for before."""
        at = f"{release} {name}"
        self._waited[at] += 1
        self.live.prints("waits", lambda lines: lines.count(at) >= self._waited[at])

    def deploy(self, *closed: str, probation: str = "100ms") -> tuple[str, int]:
        """Begin to deploy a new release, with these gates closed; return its name and the deployment's number."""
        self._made += 1
        new = f"v{self._made}"
        for name in closed:
            self.close(new, name)
        return new, self.live.begin(self.code(new, probation))

    def waiting(self) -> tuple[str, int]:
        """A deployment that waits for the leader's decision."""
        new, number = self.deploy("load")
        self.waits(new, "load")
        self.close(self.leads, "decide")
        self.waits(self.leads, "decide")
        self.open(new, "load")
        self.live.event(type="step", step="holding", text="decision enter")
        return new, number

    def reverting(self) -> tuple[str, int]:
        """A deployment that is rolled back, and waits for the new leader's decision."""
        new, number = self.deploy(probation="30s")
        self.live.phase(number, "probation")
        self.close(new, "decide")
        self.waits(new, "decide")
        self.live.ask("rollback")
        self.live.event(type="step", step="holding", text="decision enter")
        return new, number

    def kill(self) -> None:
        end(self.supervisor)

    def ticks_alone(self, ticks: int = 3) -> None:
        """Wait until the bot has printed further ticks: there is no supervisor to ask."""
        latest = max(map(int, self.live.printed("tick")))
        self.live.prints("tick", lambda lines: max(map(int, lines)) >= latest + ticks)

    def comes_back(self, phase: str = "") -> None:
        """Kill the supervisor, see the bot tick without one, and start another, which finds it in this phase."""
        # A deployment's phase is written by another thread, which also answers this, after the write.
        self.live.ask("history")
        self.kill()
        self.ticks_alone()
        self.up()
        active = self.live.status()["deployment"]
        assert (active["phase"] if active else "") == phase, active

    def ends(self, number: int, outcome: str) -> None:
        """Wait for the deployment's end, and check its outcome in the history."""
        row = self.live.ask("history", deployment=number)
        if row["outcome"] is None:
            self.live.ended(number)
            row = self.live.ask("history", deployment=number)
        assert row["outcome"] == outcome, row
        current = (self.live.home / "releases" / "current").readlink().name
        assert row["runs"] == current == self.live.status()["release"]
        self.live.ticks_on()


# --- the phases -----------------------------------------------------------------------------------------------------


def idle(bot: GatedBot) -> None:
    bot.comes_back()


def preparing(bot: GatedBot) -> None:
    new, number = bot.deploy("start")
    bot.waits(new, "start")
    bot.comes_back("preparing")
    bot.open(new, "start")
    bot.ends(number, "done")
    bot.leads = new


def rehearsing(bot: GatedBot) -> None:
    new, number = bot.deploy("load")
    bot.waits(new, "load")
    bot.comes_back("rehearsing")
    bot.open(new, "load")
    bot.ends(number, "done")
    bot.leads = new


def waiting(bot: GatedBot) -> None:
    new, number = bot.waiting()
    bot.kill()
    bot.up()
    status = bot.live.status()
    active = status["deployment"]
    assert active, status
    assert (active["phase"], active["holding"]) == ("waiting", "decision enter")
    bot.open(bot.leads, "decide")
    bot.ends(number, "done")
    bot.leads = new


def transferred_unseen(bot: GatedBot) -> None:
    new, number = bot.waiting()
    bot.kill()
    bot.open(bot.leads, "decide")
    bot.ticks_alone()
    bot.up()
    bot.ends(number, "done")
    bot.leads = new


def probation(bot: GatedBot) -> None:
    new, number = bot.deploy(probation="500ms")
    bot.live.phase(number, "probation")
    bot.kill()
    bot.ticks_alone()
    bot.up()
    bot.ends(number, "done")
    bot.leads = new


def reverting(bot: GatedBot) -> None:
    new, number = bot.reverting()
    bot.kill()
    bot.up()
    assert bot.live.status()["deployment"]["phase"] == "reverting"
    bot.open(new, "decide")
    bot.ends(number, "rolled_back")


def reverted_unseen(bot: GatedBot) -> None:
    new, number = bot.reverting()
    bot.kill()
    bot.open(new, "decide")
    bot.ticks_alone()
    bot.up()
    bot.ends(number, "rolled_back")


def retiring(bot: GatedBot) -> None:
    bot.close(bot.leads, "retire")
    new, number = bot.deploy()
    bot.waits(bot.leads, "retire")
    bot.comes_back("retiring")
    bot.open(bot.leads, "retire")
    bot.ends(number, "done")
    bot.leads = new


def three_generations(bot: GatedBot) -> None:
    """One worker was dismissed and has not left yet, one leads, one is being prepared."""
    first, _ = bot.deploy("load", "retire")
    bot.waits(first, "load")
    bot.live.ask("abort")
    bot.waits(first, "retire")
    new, number = bot.deploy("start")
    bot.waits(new, "start")
    bot.comes_back("preparing")
    roles = {worker["role"]: worker["leaving"] for worker in bot.live.status()["workers"]}
    assert (
        roles.get("retired", "an earlier supervisor left it behind") == "an earlier supervisor left it behind"
    )
    bot.open(first, "retire")
    bot.open(new, "start")
    bot.ends(number, "done")
    bot.leads = new


def transferring(bot: GatedBot) -> None:
    """The new worker is stopped for a moment in which its supervisor sees that the old one has yielded."""
    new, number = bot.waiting()
    pid = next(worker["pid"] for worker in bot.live.status()["workers"] if worker["role"] == "following")
    os.kill(pid, signal.SIGSTOP)
    bot.open(bot.leads, "decide")
    bot.live.phase(number, "transferring")
    bot.kill()
    os.kill(pid, signal.SIGCONT)
    bot.up()
    bot.ends(number, "done")
    bot.leads = new


def cancelling(bot: GatedBot) -> None:
    """The leader is in a handler that blocks, and hears nothing."""
    _, number = bot.waiting()
    bot.close(bot.leads, "block")
    bot.open(bot.leads, "decide")
    bot.live.ask("abort")
    bot.live.phase(number, "cancelling")
    bot.kill()
    bot.open(bot.leads, "block")
    bot.up()
    bot.ends(number, "aborted")


QUICK = (idle, rehearsing, transferred_unseen, probation)
MORE = (preparing, waiting, reverting, reverted_unseen, retiring, three_generations)
SLOW = (transferring, cancelling)


@pytest.mark.parametrize(
    ("tick", "phases"),
    [("50ms", QUICK), pytest.param("50ms", MORE, marks=pytest.mark.deep), ("500ms", SLOW)],
    ids=["50ms", "50ms, more", "500ms"],
)
def test_no_tick_is_missed_whenever_the_supervisor_is_killed(
    live: Live,
    tick: str,
    phases: tuple[Callable[[GatedBot], None], ...],
    times: int,
    say: Callable[[str], None],
) -> None:
    bot = GatedBot(live, tick)
    bot.up()
    until: list[tuple[int, str]] = []
    for _ in range(times):
        for phase in phases:
            phase(bot)
            bot.tried[phase.__name__] += 1
            until.append((live.status()["seq"], phase.__name__))
    live.down()
    report = live.audit()
    missed = Counter(next(name for seq, name in until if gap["last"] <= seq) for gap in report["missing"])
    for name, count in bot.tried.items():
        text = f"a tick missed in {missed[name]} of them" if missed[name] else "no tick missed"
        say(f"supervisor killed, {name.replace('_', ' ')}: {count} times, {text}")
    assert (report["missed"], report["doubled"]) == (0, 0), report["missing"]


def test_the_next_supervisor_starts_the_bot_when_one_is_killed_during_the_start(
    live: Live, times: int, say: Callable[[str], None]
) -> None:
    bot = GatedBot(live, "50ms")
    for _ in range(times):
        bot.close("v0", "start")
        up = live.start("up", "--project", bot.first)
        bot.waits("v0", "start")
        end(up)
        bot.open("v0", "start")
        bot.up()
        live.ticks_on()
        live.down()
    report = live.audit()
    assert report["doubled"] == 0
    # Between two runs the bot does not tick, as after any `down`.
    assert report["missed"] == 0 or times > 1
    say(f"supervisor killed, starting: {times} times, the bot started")


def test_the_next_supervisor_recovers_the_bot_when_one_is_killed_during_recovery(
    live: Live, times: int, say: Callable[[str], None]
) -> None:
    bot = GatedBot(live, "50ms")
    bot.up()
    for _ in range(times):
        leader = live.book()
        bot.close("v0", "start")
        os.kill(leader["pid"], signal.SIGKILL)
        bot.waits("v0", "start")
        bot.kill()
        bot.open("v0", "start")
        bot.up()
        assert live.book()["ticks"] > leader["ticks"]
        live.ticks_on()
    live.down()
    report = live.audit()
    assert report["doubled"] == 0
    # Only those of the dead leader: they end with the first tick of its successor.
    assert report["missed"] > 0
    say(f"supervisor killed, recovering: {times} times, the bot went on from its journal")
