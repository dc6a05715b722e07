"""A home that is copied, moved or removed under a running bot, with real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from neverblink.supervisor.system.process import is_stopped

from ..matrix import cases
from ..processes import wait_for_end
from .bots import STEADY
from .live import WITHIN, Live, one_line
from .test_killed import end, ticking


def copy_of(live: Live, name: str) -> Live:
    """A copy of the bot's directory, made while the bot runs."""
    to = live.tmp.parent / f"{live.tmp.name}-{name}"
    subprocess.run(["cp", "-a", live.tmp, to], check=True)
    (to / "run").unlink(missing_ok=True)
    return Live(to)


def remove(home: Path) -> None:
    """Like `rm -rf`, but with nothing written into it meanwhile."""
    gone = home.with_name("gone")
    home.rename(gone)
    shutil.rmtree(gone)


def test_a_copied_home_runs_its_own_bot_and_leaves_the_original_alone(live: Live) -> None:
    live.up(live.code("v0", STEADY))
    live.ticks_on()
    worker = live.book()["pid"]
    ran = live.book()["ticks"]
    copy = copy_of(live, "copy")
    try:
        # No message may tell a user to end a process of another home.
        before = one_line(copy.run("status"))
        assert "no supervisor runs here" in before
        assert str(worker) not in before
        assert copy.run("down").code == 7
        up = copy.up(copy.tmp / "v0")
        up.prints("this home is a copy of home")
        up.prints(f"is left alone: w1 (pid {worker})")
        assert copy.book()["pid"] != worker
        assert copy.book()["ticks"] >= ran, "the journal is gone on from"
        copy.down()
        assert not [process for process in copy.processes() if Path(process.cwd()).is_relative_to(copy.home)]
        live.ticks_on()
        assert live.book()["pid"] == worker
        assert live.status()["outages"] == []
    finally:
        copy.close()
    live.down()
    assert live.audit()["missed"] == 0


def test_up_is_refused_when_the_home_of_a_running_bot_was_removed_and_rescue_recovers_it(
    live: Live,
) -> None:
    code = live.code("v0", STEADY)
    up = live.up(code)
    live.ticks_on()
    worker = live.book()["pid"]
    end(up)
    remove(live.home)
    refused = live.run("up", "--project", code)
    assert refused.code == 5
    message = one_line(refused)
    assert f"worker pid {worker}" in message
    assert "neverblink up --rescue" in message
    assert "kill" not in message
    assert str(worker) in one_line(live.run("status"))
    # Code that cannot be started is found before the worker is ended.
    source = (code / "bot.py").read_text()
    (code / "bot.py").write_text("import no_such_library\n")
    broken = live.run("up", "--project", code, "--rescue")
    assert broken.code != 0
    assert "no_such_library" in broken.err
    assert "the bot ticks on" in broken.err
    assert psutil.pid_exists(worker)
    (code / "bot.py").write_text(source)
    live.up(code, "--rescue")
    wait_for_end(worker)
    book = live.book()
    assert book["pid"] != worker
    assert book["ticks"] > 0, "the state was rescued from the living worker"
    live.down()


@pytest.mark.parametrize("by", cases(["link", "directory"], "link"))
def test_an_emptied_home_is_recognised_through_a_symbolic_link(live: Live, by: str) -> None:
    directory, link = live.tmp / "disk", live.tmp / "home"
    directory.mkdir()
    link.symlink_to(directory)
    first, second = (link, directory) if by == "link" else (directory, link)
    code = live.code("v0", STEADY)
    live.environment["NEVERBLINK_HOME"] = str(first)
    up = live.up(code)
    live.ticks_on()
    worker = live.book()["pid"]
    end(up)
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    live.environment["NEVERBLINK_HOME"] = str(second)
    refused = live.run("up", "--project", code)
    assert refused.code == 5, refused
    assert f"worker pid {worker}" in one_line(refused)


@pytest.mark.deep
def test_removed_sockets_are_bound_again_and_no_command_hangs(live: Live) -> None:
    code = live.code("v0", STEADY)
    live.up(code)
    live.ticks_on()
    for removed in ("sockets", "run"):
        since = len(live.events)
        if removed == "sockets":
            for file in (live.home / "run").iterdir():
                file.unlink()
        else:
            shutil.rmtree(live.home / "run")
        live.event(type="home", state="remade", since=since)
        assert live.run("status").code == 0
        deployed = live.run("deploy", live.code(f"without-{removed}", f"{STEADY}# {removed}\n"))
        assert deployed.code == 0, deployed
    shutil.rmtree(live.home / "run")
    worker = live.book()["pid"]
    os.kill(worker, signal.SIGKILL)
    live.event(lambda event: event["worker"], type="leader", since=len(live.events))
    ended = live.run("down")
    assert ended.code == 0, (ended, live.story()[-3000:])


def test_a_home_removed_under_a_running_supervisor_is_recreated_and_the_bot_keeps_its_state(
    live: Live,
) -> None:
    code = live.code("v0", STEADY)
    live.up(code)
    live.ticks_on()
    before = live.book()
    remove(live.home)
    live.event(lambda event: "lock" in event["text"], type="home", state="remade")
    live.event(type="journal", state="written")
    assert live.run("up", "--project", code).code == 5
    deployed = live.run("deploy", live.code("v1", f"{STEADY}# 1\n"))
    assert deployed.code == 0, deployed
    assert live.run("history").out.count("deploy") == 1
    after = live.book()
    assert after["pid"] != before["pid"]
    assert after["ticks"] > before["ticks"]
    ended = live.run("down")
    assert ended.code == 0, (ended, live.story()[-3000:])
    # The new journal has the state reached without one.
    live.up(code)
    assert live.book()["ticks"] >= after["ticks"]
    live.down()


def test_a_home_moved_under_a_running_bot_is_reported_and_not_recreated(live: Live) -> None:
    code = live.code("v0", STEADY)
    live.up(code)
    live.ticks_on()
    moved = live.tmp / "elsewhere"
    live.home.rename(moved)
    live.event(lambda event: str(moved) in event["text"], type="home", state="moved")
    assert not live.home.exists(), "nothing is made again beside it"
    assert live.run("status", "--home", moved).code == 0
    refused = live.run("deploy", code, "--home", moved)
    assert refused.code == 2
    assert f"{live.home}/releases: is not there" in one_line(refused)
    assert "move it back" in one_line(refused)
    refused = live.run("up", "--project", code)
    assert refused.code == 5
    assert str(moved) in one_line(refused)
    remove(live.home)
    moved.rename(live.home)
    live.event(type="home", state="remade")
    live.deploy(live.code("v1", f"{STEADY}# 1\n"))
    live.down()


@pytest.mark.deep
def test_a_bot_whose_home_was_moved_stops_cleanly_and_resumes_without_losing_state(live: Live) -> None:
    code = live.code("v0", STEADY)
    up = live.up(code)
    live.ticks_on()
    moved = live.tmp / "elsewhere"
    live.home.rename(moved)
    # The next ask says so, whether or not the supervisor has looked.
    assert f"the home was moved to {moved}" in live.status()["home_problem"]
    live.event(type="home", state="moved")
    status = live.run("status", "--home", moved)
    assert f"the home was moved to {moved}" in status.out, status
    for _ in range(10):
        live.ticks_on()
    ran = live.book()["ticks"]
    stopped = live.run("down", "--home", moved)
    ended = up.ends()
    assert (stopped.code, ended.code) == (0, 0), (stopped, ended)
    moved.rename(live.home)
    live.up(code)
    assert live.book()["ticks"] >= ran, "what it did after the move is in the journal"
    live.down()


def test_code_of_another_bot_is_refused_without_change_bot(live: Live) -> None:
    code = live.code("v0", STEADY)
    live.up(code)
    live.ticks_on()
    other = live.code("other", STEADY)
    config = other / "neverblink.toml"
    config.write_text(config.read_text().replace('"fox"', '"hen"'))
    refused = live.run("deploy", other)
    assert refused.code == 2
    assert "name 'fox' becomes 'hen'" in one_line(refused)
    assert "--change-bot" in refused.err
    kept = {path.name for path in (live.home / "releases").iterdir()}
    assert live.run("deploy", other).code == 2
    assert len(kept) == len(list((live.home / "releases").iterdir())), "nothing of it is left behind"
    checked = live.run("check", other)
    assert checked.code == 1
    assert "name 'fox' becomes 'hen'" in checked.out + checked.err
    another = live.code("class", STEADY.replace("class Bot(", "class Hen("), target="Hen")
    assert "bot 'bot:Bot' becomes 'bot:Hen'" in one_line(live.run("deploy", another))
    assert live.run("deploy", other, "--change-bot").code == 0
    assert "name 'fox' becomes 'hen'" in live.run("history", "1").out
    # The previous release is the same bot: a rollback is allowed.
    assert live.run("rollback").code == 0
    live.down()


def test_a_closed_terminal_ends_the_supervisor_with_a_message_and_leaves_the_bot_running(live: Live) -> None:
    code = live.code("v0", STEADY)
    up = live.up(code)
    live.ticks_on()
    worker = live.book()["pid"]
    os.kill(up.pid, signal.SIGHUP)
    live.event(lambda event: "SIGHUP" in event["reason"], type="supervisor-stopping")
    ended = up.ends()
    assert ended.code == 0
    assert "the terminal was closed (SIGHUP): w1 runs on" in ended.out
    assert "SIGHUP" in (live.home / "logs" / "supervisor.log").read_text()
    live.up(code)
    assert live.book()["pid"] == worker
    live.down()
    assert live.audit()["missed"] == 0


def test_ctrl_z_reports_that_the_bot_runs_unsupervised_and_afterwards_for_how_long(live: Live) -> None:
    code = live.code("v0", STEADY)
    up = live.up(code)
    live.ticks_on()
    os.kill(up.pid, signal.SIGTSTP)
    up.prints("the bot ticks on without a supervisor")
    until = time.monotonic() + WITHIN
    while not is_stopped(up.pid):
        assert time.monotonic() < until, "it was not stopped"
        time.sleep(0.01)
    ticking(live)
    message = one_line(live.run("pause"))
    assert f"`kill -CONT {up.pid}`" in message
    os.kill(up.pid, signal.SIGCONT)
    up.prints("the supervisor was stopped for")
    live.ticks_on()
    live.down()
