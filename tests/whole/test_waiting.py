"""What a handoff waits for: decisions and windows; and what is seen of it meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import zmq

from .bots import COUNTER, bot, waits
from .live import Live, unbroken

LONG_S = 3.0
"""How long the long decision takes: "several seconds", and no longer than it must for the suite's sake."""

ALWAYS = 'windows = [Window("1d", opens="-1d", closes="-1ms", name="always")]'


TICK = "50ms"
STATE = "ticks: int = 0\nwanted: bool = False\nentered: int = 0"
HANDLERS = pytest.mark.parametrize(
    ("handler", "sleep"),
    [("async def", "await asyncio.sleep"), pytest.param("def", "time.sleep", marks=pytest.mark.deep)],
    ids=["async", "def"],
)


def trade(
    live: Live, handler: str = "async def", sleep: str = "await asyncio.sleep", least: float = 0
) -> str:
    """The handlers of a bot that decides when it is told to, until `enough` is there, and for `least` seconds."""
    return f"""
        {handler} on_tick(self, tick):
            self.state.ticks += 1
            say(f"tick {{tick.seq}}")
            if self.state.wanted:
                self.state.wanted = False
                with self.decision("enter", market="BTC") as decision:
                    say(f"began {{os.getpid()}} {{decision.id}}")
                    until = time.monotonic() + {least}
                    while time.monotonic() < until or not os.path.exists("{live.tmp}/enough"):
                        {sleep}(0.01)
                    self.state.entered += 1
                    say(f"finished {{os.getpid()}} {{decision.id}}")

        def on_command(self, name, args):
            if name == "trade":
                self.state.wanted = True
            return msgspec.to_builtins(self.state)
        """


def decided_once(live: Live) -> None:
    """The worker that began the decision has finished it, and only that one."""
    began, finished = live.printed("began"), live.printed("finished")
    assert began == finished
    assert len(began) == 1
    assert live.book()["entered"] == 1
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert report["decisions"]["opened"] == report["decisions"]["closed"] == 1
    assert report["decisions"]["across"] == report["decisions"]["in_doubt"] == []
    unbroken(live.printed("tick"), report)


@HANDLERS
def test_a_decision_opened_while_a_deployment_waits_is_finished_by_the_worker_that_opened_it(
    live: Live, handler: str, sleep: str
) -> None:
    live.up(live.code("v0", bot(trade(live, handler, sleep), tick=TICK, state=STATE)))
    gate = live.tmp / "gate"
    # The copy of the state has been served when on_load runs: the decision begins after that.
    new = waits("on_load", gate, trade(live, handler, sleep), tick=TICK, state=STATE)
    deploy = live.start("deploy", live.code("v1", new))
    live.prints("waits")
    live.ask("send", name="trade")
    live.prints("began")
    gate.touch()
    deploy.prints(": held by decision enter")
    seen = live.status()
    assert seen["deployment"]["holding"] == "decision enter"
    assert [(decision["name"], decision["worker"]) for decision in seen["decisions"]] == [("enter", "w1")]
    (live.tmp / "enough").touch()
    done = deploy.ends()
    assert done.code == 0, done
    decided_once(live)


@HANDLERS
def test_a_decision_opened_before_the_rehearsal_is_named_and_finished_first(
    live: Live, handler: str, sleep: str
) -> None:
    source = bot(trade(live, handler, sleep, LONG_S), tick=TICK, state=STATE)
    live.up(live.code("v0", source))
    live.ask("send", name="trade")
    live.prints("began")
    deploy = live.start("deploy", live.code("v1", f"{source}# 1\n"))
    deploy.prints("rehearsing on the live state: held by decision enter")
    assert live.status()["deployment"]["holding"] == "decision enter"
    (live.tmp / "enough").touch()
    done = deploy.ends()
    assert done.code == 0, done
    decided_once(live)


def test_a_decision_longer_than_rehearse_within_aborts_the_deployment_and_is_finished(live: Live) -> None:
    source = bot(trade(live), tick=TICK, state=STATE)
    live.up(live.code("v0", source))
    live.ask("send", name="trade")
    live.prints("began")
    before = live.run("deploy", live.code("v1", f"{source}# 1\n", rehearse_within="700ms"), "--json")
    assert before.code == 6, before
    assert before.json["reason"] == "no boundary in time: held by decision enter"
    assert before.json["held"] == "decision enter"
    (live.tmp / "enough").touch()
    live.prints("finished")
    decided_once(live)


def test_a_window_holds_the_handoff_until_it_closes_and_the_report_names_it(live: Live) -> None:
    began = time.monotonic()
    live.up(live.code("plain", COUNTER))
    # The next deployment has to meet the window, however slow the machine is today.
    length = max(3.0, 4 * (time.monotonic() - began))
    log = live.tmp / "closes"
    first = f"""
        CLOSES = time.time_ns() + {int(length * 1e9)}
        LEFT = 86_400_000 - CLOSES // 1_000_000 % 86_400_000
        with open({str(log)!r}, "w") as file:
            file.write(str(CLOSES))
        """
    window = 'windows = [Window("1d", opens="-1d", closes=f"-{LEFT}ms", name="snipe")]'
    windowed = live.code("v0", bot(first=first).replace("tick =", f"{window}\n    tick ="))
    assert live.run("deploy", windowed).code == 0
    closes = int(log.read_text())
    deploy = live.start("deploy", live.code("v1", COUNTER), "--json")
    live.event(type="step", step="holding", text="window snipe")
    assert live.status()["deployment"]["holding"] == "window snipe"
    done = deploy.ends(30 + length)
    assert done.code == 0, done
    led = live.event(type="leader", worker="w3")
    assert led["at"] > closes
    assert done.json["seq"] * 10_000_000 > closes - 10_000_000
    live.down()
    assert live.audit()["missed"] == 0


def test_no_boundary_in_time_exits_with_6_and_names_the_window_and_force_overrides_it(live: Live) -> None:
    live.up(live.code("v0", bot().replace("tick =", f"{ALWAYS}\n    tick =")))
    impatient = live.code("v1", COUNTER, boundary_within="300ms")
    held = live.run("deploy", impatient, "--json")
    assert held.code == 6, held
    assert held.json["outcome"] == "aborted"
    assert held.json["reason"] == "no boundary in time: held by window always"
    assert held.json["held"] == "window always"
    ended = live.run("deploy", impatient)
    assert ended.code == 6, ended
    assert "no boundary in time: held by window always" in ended.out
    live.ticks_on()
    assert live.status()["worker"] == "w1"
    forced = live.run("deploy", impatient, "--force", "--json")
    assert forced.code == 0, forced
    live.down()
    report = live.audit()
    assert report["missed"] == 0
    assert report["handoffs_total"] == 1


def test_status_answers_during_a_handoff(live: Live, say: Callable[[str], None]) -> None:
    live.up(live.code("v0", bot().replace("tick =", f"{ALWAYS}\n    tick =")))
    gate = live.tmp / "gate"
    source = waits("on_load", gate)
    number = live.begin(live.code("v1", source, probation="20s"))
    took: dict[str, float] = {}
    live.prints("waits")
    for _ in range(3):
        # However long on_load takes: before its end there is nothing to wait for.
        live.event(type="pulse", worker="w2", since=len(live.events))
    _ask_status(live, took, "rehearsing")
    gate.touch()
    live.phase(number, "waiting")
    _ask_status(live, took, "waiting")
    live.ask("abort")
    assert live.ended(number)["outcome"] == "aborted"
    second = live.begin(live.code("v2", source, probation="20s"), force=True)
    live.phase(second, "probation")
    _ask_status(live, took, "probation")
    say(f"status in a handoff: {', '.join(f'{phase} {ms:.1f} ms' for phase, ms in took.items())}")
    live.down()


def _ask_status(live: Live, took: dict[str, float], phase: str) -> None:
    """One JSON frame from a bare REQ socket, as any language's client sends it."""
    with zmq.Context[zmq.Socket[bytes]]() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(live.endpoint("requests"))
        began = time.monotonic()
        socket.send(b'{"op": "status"}')
        assert socket.poll(1000), f"no answer in {phase}"
        answer: dict[str, object] = socket.recv_json()  # pyright: ignore[reportAssignmentType]
        took[phase] = (time.monotonic() - began) * 1000
    assert answer["status"] == "ok"
    assert live.status()["deployment"]["phase"] == phase
