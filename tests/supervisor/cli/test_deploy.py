"""deploy, rollback, abort: what is shown while it happens, and what is made of how it ends."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from neverblink.protocol.commands import Abort, Command, Deploy, Fault, History, Rollback
from neverblink.protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    Event,
    PhaseChanged,
    StepDone,
    StepOutput,
    SupervisorStopping,
)
from neverblink.protocol.handoff.handoff_events import NO_BOUNDARY
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.release.releases import ReleaseStore
from neverblink.supervisor.store.history_rows import DeploymentRow, PhaseNote, StepNote
from neverblink.supervisor.store.state_dir import Home
from neverblink.supervisor.terminal.deployment_screen import DeploymentScreen
from neverblink.supervisor.terminal.screen import Screen

from ..fake_supervisor import FakeSupervisor
from ..repository import Repository

MS = 1_000_000
BOT = "foresight"


def ended(outcome: str, reason: str = "", **more: Any) -> DeploymentEnded:
    return msgspec.convert(
        {"type": "deployment-ended", "bot": BOT, "at": 9, "deployment": 4, "outcome": outcome, "reason": reason,
         "leader": "w5", "release": "v2", **more},
        DeploymentEnded,
    )  # fmt: skip


DONE = ended("done", seq=1785341, blackout=210_000, late=52_300, missed=0, rollback="newest")


def step(at: int, name: str, took: int = 0, **facts: Any) -> StepDone:
    return StepDone(bot=BOT, at=at, deployment=4, step=name, text="", took=took, facts=facts)


def phase(at: int, name: str, before: str, took: int) -> PhaseChanged:
    return PhaseChanged(bot=BOT, at=at, deployment=4, phase=name, before=before, took=took)


STORY: list[Event] = [
    DeploymentStarted(bot=BOT, at=1, deployment=4, release="v2", previous="v1", who="anna", why=""),
    step(2, "spawned", 12 * MS, worker="w5", pid=4321),
    step(3, "imported", 310 * MS),
    phase(4, "rehearsing", "preparing", 330 * MS),
    step(5, "rehearsed", 84 * MS, bytes=1_240_000, rows=10_240),
    phase(6, "waiting", "rehearsing", 90 * MS),
    step(7, "holding", reason="decision enter"),
    SupervisorStopping(bot=BOT, at=7, reason="an event that is not about the deployment"),
    step(8, "handed", seq=1785341, blackout=210_000),
    phase(8, "probation", "waiting", 3100 * MS),
    DONE,
]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A directory that looks deployable."""
    directory = tmp_path / "v2"
    directory.mkdir()
    (directory / "neverblink.toml").write_text('bot = "bot:Bot"\n')
    (directory / "bot.py").write_text("")
    return directory


def begun(command: Command) -> dict[str, Any]:
    return {"deployment": 4, "release": "v2", "previous": "v1"}


def story(*events: Event) -> dict[str, Callable[[Command], Iterable[Event]]]:
    def publish(command: Command) -> Iterable[Event]:
        return events

    return {"deploy": publish, "rollback": publish, "abort": publish}


def under_way(**more: Any) -> dict[str, Any]:
    row = {
        "id": 4, "bot": BOT, "kind": "deploy", "release": "v2", "previous": "v1", "who": "anna", "why": "",
        "dry_run": False, "begun": 1, "ended": None, "outcome": None, "reason": "", "leader": "", "runs": "",
        "seq": None, "blackout": None, "late": None, "missed": 0, "rollback": "",
    }  # fmt: skip
    return msgspec.to_builtins(msgspec.convert({**row, **msgspec.to_builtins(more)}, DeploymentRow))


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(neverblink, [str(arg) for arg in args])


def json_of(result: Result) -> dict[str, Any]:
    assert result.stdout.count("\n") == 1
    return msgspec.json.decode(result.stdout, type=dict[str, Any])


def test_each_phase_is_shown_as_it_happens(tmp_path: Path, code: Path) -> None:
    with FakeSupervisor(tmp_path / "home", {"deploy": begun}, story(*STORY)) as supervisor:
        result = run("deploy", code, "--home", tmp_path / "home", "-m", "better exits")
    assert result.exit_code == Exit.DONE
    assert supervisor.asked[0] == Deploy(
        id="1", who=supervisor.asked[0].who, why="better exits", path=str(code)
    )
    lines = result.stdout.splitlines()
    assert lines[0] == "deployment 4  v2 takes over from v1"
    shown = [" ".join(line.split()) for line in lines[1:]]
    assert shown == [
        "✓ spawned worker w5, pid 4321 12 ms",
        "✓ imported 310 ms",
        "… rehearsing on the live state",
        "✓ rehearsed 1.24 MB, 10,240 rows 84 ms",
        "… waiting for a boundary",
        "… waiting for a boundary: held by decision enter",
        "✓ handed over at tick 1785341, blackout 0.21 ms",
        "… probation",
        "done v2 leads: at tick 1785341, blackout 0.21 ms, first tick 0.052 ms late, 0 ticks missed",
    ]


def test_json_is_one_object_and_progress_goes_to_stderr(tmp_path: Path, code: Path) -> None:
    with FakeSupervisor(tmp_path / "home", {"deploy": begun}, story(*STORY)):
        result = run("deploy", code, "--home", tmp_path / "home", "--json")
    assert json_of(result) == {
        "deployment": 4,
        "outcome": "done",
        "reason": "",
        "release": "v2",
        "seq": 1785341,
        "blackout_us": 210.0,
        "state": None,
        "late_us": 52.3,
        "missed": 0,
        "rollback": "newest",
        "held": "",
        "phases": {"preparing": 330.0, "rehearsing": 90.0, "waiting": 3100.0},
    }
    assert "handed over" in result.stderr


@pytest.mark.parametrize(
    ("end", "exit", "expected"),
    [
        (ended("rehearsed", "rehearsed", release="v1"), Exit.DONE, "nothing was handed over, v1 leads"),
        (
            ended("aborted", "no module named ccxt", release="v1"),
            Exit.ABORTED,
            "v1 leads; the bot was not interrupted",
        ),
        (ended("aborted", NO_BOUNDARY, release="v1"), Exit.BOUNDARY, "no boundary in time"),
        (ended("aborted", "both workers ended", leader="", release=""), Exit.DOWN, "no worker leads"),
        (ended("rolled_back", "exit 1", release="v1"), Exit.ROLLED_BACK, "v1 leads again"),
    ],
)
def test_the_outcome_decides_the_exit_code(
    end: DeploymentEnded, exit: Exit, expected: str, tmp_path: Path, code: Path
) -> None:
    with FakeSupervisor(tmp_path / "home", {"deploy": begun}, story(end)):
        result = run("deploy", code, "--home", tmp_path / "home")
    assert result.exit_code == exit
    assert expected in result.stdout
    assert end.reason in result.stdout


def test_a_lost_event_does_not_block_the_command(tmp_path: Path, code: Path) -> None:
    row = under_way(
        ended=9, outcome="aborted", reason=NO_BOUNDARY, leader="w4", runs="v1",
        phases=(PhaseNote(at=1, phase="waiting", before="preparing", took=5 * MS),),
        steps=(StepNote(at=2, step="holding", text="", took=0, facts={"reason": "window 5m"}),),
    )  # fmt: skip
    with FakeSupervisor(tmp_path / "home", {"deploy": begun, "history": row}) as supervisor:
        result = run("deploy", code, "--home", tmp_path / "home", "--json")
    assert History(id="2", who=supervisor.asked[1].who, deployment=4) == supervisor.asked[1]
    assert result.exit_code == Exit.BOUNDARY
    assert json_of(result)["held"] == "window 5m"
    assert json_of(result)["phases"] == {"preparing": 5.0, "waiting": 0.0}


def test_no_wait_returns_with_the_number(tmp_path: Path, code: Path) -> None:
    with FakeSupervisor(tmp_path / "home", {"deploy": begun}) as supervisor:
        result = run(
            "deploy", code, "--home", tmp_path / "home", "--no-wait", "--json", "--force", "--replace"
        )
        assert json_of(result) == {"deployment": 4, "release": "v2", "previous": "v1"}
        asked = supervisor.asked[0]
    assert isinstance(asked, Deploy)
    assert (asked.force, asked.replace, asked.dry_run) == (True, True, False)


def test_a_second_deploy_is_refused_with_the_first_ones_number(tmp_path: Path, code: Path) -> None:
    busy = Fault("busy", "deployment 3 is under way: wait for it, or --replace it", {"deployment": 3})
    with FakeSupervisor(tmp_path / "home", {"deploy": busy}):
        result = run("deploy", code, "--home", tmp_path / "home")
    assert result.exit_code == Exit.BUSY
    assert result.stderr == f"neverblink: {busy.message}\n"


def test_an_undeployable_argument_is_refused_before_the_supervisor_is_asked(
    tmp_path: Path, code: Path
) -> None:
    home = tmp_path / "home"
    (tmp_path / "empty").mkdir()
    with FakeSupervisor(home, {"deploy": begun}) as supervisor:
        for path, expected in (
            (tmp_path / "none", "is not a directory, a kept release"),
            (code / "bot.py", "is a file"),
            (tmp_path / "empty", "neverblink init"),
        ):
            result = run("deploy", path, "--home", home)
            assert result.exit_code == Exit.BAD_INPUT
            assert expected in result.stderr
        assert supervisor.asked == []


def test_a_commit_is_shown_as_in_git(tmp_path: Path, code: Path) -> None:
    repository = Repository(code)
    id = repository.commit("earlier exits")
    told_of = DeploymentStarted(
        bot=BOT, at=1, deployment=4, release="v2", previous="v1", who="anna", why="",
        commit=id, subject="earlier exits", author="Anna",
    )  # fmt: skip
    printed = StepOutput(bot=BOT, at=2, deployment=4, step="environment", text=" + msgspec==0.22.0")
    with FakeSupervisor(
        tmp_path / "home", {"deploy": begun}, story(told_of, printed, ended("done"))
    ) as supervisor:
        result = run("deploy", "HEAD", "--project", code, "--home", tmp_path / "home")
        asked = supervisor.asked[0]
    assert result.exit_code == Exit.DONE
    assert asked == Deploy(id="1", who=asked.who, repository=str(repository.directory), commit=id, ref="main")
    assert f"commit       {id[:8]} earlier exits, by Anna" in result.stdout
    assert "     + msgspec==0.22.0\n" in result.stdout


def test_a_release_can_be_given_by_the_beginning_of_its_id(tmp_path: Path, code: Path) -> None:
    home = Home.open(tmp_path / "home")
    store = ReleaseStore(home.releases)
    first = store.make(code, "bot:Bot")
    (code / "bot.py").write_text("v = 2\n")
    second = store.make(code, "bot:Bot")
    store.promote(first.id)
    with FakeSupervisor(home.path, {"deploy": begun}) as supervisor:
        for expected in (first.id, "current"):
            assert run("deploy", expected, "--home", home.path, "--no-wait").exit_code == Exit.DONE
        result = run("deploy", second.id[:4], "--home", home.path, "--no-wait")
        asked = [command.release for command in supervisor.asked if isinstance(command, Deploy)]
    assert asked == [first.id, first.id]
    assert result.exit_code == Exit.BAD_INPUT
    assert "give a longer name" in result.stderr


def test_rollback_is_done_when_the_old_code_leads_again(tmp_path: Path) -> None:
    back = ended("rolled_back", "rollback", release="v1")
    with FakeSupervisor(
        tmp_path, {"rollback": {"deployment": 4, "release": "v1"}}, story(back)
    ) as supervisor:
        result = run("rollback", "--home", tmp_path)
        assert isinstance(supervisor.asked[0], Rollback)
    assert result.exit_code == Exit.DONE


def test_a_rollback_that_failed_is_rolled_back(tmp_path: Path) -> None:
    back = ended("rolled_back", "exit 1", release="v2")
    with FakeSupervisor(tmp_path, {"rollback": {"deployment": 4, "release": "v1"}}, story(back)):
        assert run("rollback", "v1", "--home", tmp_path).exit_code == Exit.ROLLED_BACK


def test_ctrl_c_cancels_the_deployment_and_waits_for_its_end(tmp_path: Path, code: Path) -> None:
    cancelled: list[bool] = []

    def abort(command: Command) -> dict[str, Any]:
        cancelled.append(True)
        return {"deployment": 4}

    end = story(ended("aborted", "cancelled", release="v1"))
    script = {"deploy": begun, "abort": abort, "history": under_way()}
    with FakeSupervisor(tmp_path / "home", script, {"abort": end["abort"]}) as supervisor:
        process = subprocess.Popen(
            [sys.executable, "-m", "neverblink.supervisor.cli", "deploy", code, "--home", tmp_path / "home"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith("deployment 4")
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        process.stdout.close()
        assert process.wait(30) == Exit.ABORTED
        assert "Ctrl-C: cancelling deployment 4; the bot goes on" in rest
        assert Abort(deployment=4) in [
            msgspec.structs.replace(request, id="", who="", why="") for request in supervisor.asked
        ]
        assert cancelled == [True]


def test_on_a_terminal_the_live_line_is_redrawn_in_place() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    now = 6
    progress = DeploymentScreen(Screen(out, {}), 4, lambda: now)
    for event in STORY[:7]:
        progress.take(event)
    now = 3_100_000_006
    progress.refresh()
    assert out.getvalue().endswith("waiting for a boundary: held by decision enter  3.1 s\x1b[0m")
    for event in STORY[7:]:
        progress.take(event)
    assert out.getvalue().endswith("\r\x1b[2K")


def test_events_of_another_deployment_are_ignored() -> None:
    out = io.StringIO()
    progress = DeploymentScreen(Screen(out, {}), 5, lambda: 0)
    for event in STORY:
        progress.take(event)
    assert progress.lines.ended is None
    assert out.getvalue() == ""
