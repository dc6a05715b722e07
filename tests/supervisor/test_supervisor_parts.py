"""The supervisor's small parts, each by itself."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import resource
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import psutil
import pytest
import zmq
from rich import console, pretty

from neverblink.protocol import events, link
from neverblink.protocol.assignment import VARIABLE, Assignment, decode_assignment
from neverblink.protocol.changes import Schema
from neverblink.protocol.events import Event
from neverblink.protocol.keys import Keys
from neverblink.protocol.link import (
    Answered,
    DecisionOpened,
    Hello,
    Run,
    SupervisorMessage,
    supervisor_codec,
)
from neverblink.protocol.versions import VersionRange
from neverblink.protocol.window import WindowSpec
from neverblink.supervisor.api.event_log import EventLog, line_of
from neverblink.supervisor.bot.command_relay import CommandRelay, NoAnswer
from neverblink.supervisor.config.config import LogSettings
from neverblink.supervisor.sockets.worker_keys import WorkerKeys, WorkerKeysError
from neverblink.supervisor.sockets.worker_socket import WorkerSocket
from neverblink.supervisor.sockets.zap import ZapHandler
from neverblink.supervisor.store.history_rows import WorkerRow
from neverblink.supervisor.store.living_workers import survivors
from neverblink.supervisor.store.state_dir import Home
from neverblink.supervisor.system import cpu_affinity
from neverblink.supervisor.system.conditions import Conditions
from neverblink.supervisor.system.cpu_affinity import CpuAffinity
from neverblink.supervisor.system.process import alive, describe_exit, started_at
from neverblink.supervisor.system.worker_log import last_line
from neverblink.supervisor.workers.leftovers import journal_left
from neverblink.supervisor.workers.platform import Launch
from neverblink.supervisor.workers.registry import Ended, Member, WorkerRegistry
from neverblink.supervisor.workers.spawn import SpawnError, spawn, why_it_ended
from neverblink.worker.io.curve import SupervisorConnection, use_client_keys

from .stage import Hands, Hour, Stage, report

SECOND = 1_000_000_000

ASSIGNMENT = Assignment("fox", "w1", "r1", "/run", "/lease", "/journal")


def hello(**changes: object) -> Hello:
    known: dict[str, object] = {
        "bot": "fox",
        "worker": "w1",
        "pid": os.getpid(),
        "started": 1,
        "protocol": VersionRange(1, 1),
        "release": "r1",
        "schema": Schema(1, ""),
        "interval": SECOND,
        "windows": (),
        "python": "3.11",
        "neverblink": "0",
    }
    return Hello(**{**known, **changes})  # pyright: ignore[reportArgumentType]


# --- processes ------------------------------------------------------------------------------------------------------


def launched(tmp_path: Path, program: str) -> tuple[int, str, Path]:
    """Start `program` as a worker's interpreter; return its exit status, its log, and the release's directory."""
    release = tmp_path / "release"
    release.mkdir()
    (tmp_path / "link").symlink_to(release)
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{program}")
    python.chmod(0o755)
    launch = Launch(
        str(python), tmp_path / "link", "bot:Fox", tmp_path / "w1.log", ASSIGNMENT, tmp_path / "data"
    )

    async def run() -> int:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        spawn(launch, None, {**os.environ, "PYTHONSAFEPATH": "1"}, ended.set_result, loop)
        return await asyncio.wait_for(ended, 20)

    return asyncio.run(run()), launch.log.read_text(), release


def test_a_worker_knows_what_it_was_told_and_stands_alone(tmp_path: Path) -> None:
    (tmp_path / "w1.log").write_text("from before\n")
    code, log, release = launched(
        tmp_path,
        "import os, sys\n"
        "print(sys.argv[1:], os.getcwd(), os.getsid(0) == os.getpid(), os.environ['PYTHONUNBUFFERED'])\n"
        f"print(os.read(int(os.environ[{VARIABLE!r}]), 9999).decode(), 'PYTHONSAFEPATH' in os.environ)\n"
        "print('an error', file=sys.stderr, flush=True)\n"
        "sys.exit(3)",
    )
    assert code == 3
    lines = log.splitlines()
    assert lines[0] == "from before"
    assert "an error" in lines
    assert f"['-m', 'neverblink.worker', 'bot:Fox'] {release} True 1" in lines
    (told,) = [line for line in lines if line.startswith("{")]
    assert told.endswith(" False")
    assert decode_assignment(told.removesuffix(" False").encode()) == ASSIGNMENT


def test_the_end_of_a_process_is_told_by_its_signal(tmp_path: Path) -> None:
    code, _, _ = launched(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert (code, describe_exit(code)) == (-9, "killed by SIGKILL")
    assert describe_exit(0) == "exit 0"
    assert describe_exit(-200) == "killed by signal 200"


def test_a_release_that_is_gone_and_an_interpreter_that_is_none(tmp_path: Path) -> None:
    async def start(python: str, directory: Path) -> None:
        launch = Launch(python, directory, "bot:Fox", tmp_path / "w1.log", ASSIGNMENT, tmp_path / "data")
        spawn(launch, None, os.environ, lambda code: None, asyncio.get_running_loop())

    with pytest.raises(SpawnError, match="is gone: deploy again"):
        asyncio.run(start(sys.executable, tmp_path / "nowhere"))
    with pytest.raises(SpawnError, match="python = 'nope': there is no such interpreter"):
        asyncio.run(start("nope", tmp_path))
    broken = tmp_path / "broken"
    broken.write_text("#!/nowhere/python\n")
    broken.chmod(0o755)
    with pytest.raises(SpawnError, match="cannot be started"):
        asyncio.run(start(str(broken), tmp_path))


def start_without_descriptors(tmp_path: Path) -> None:
    """Start a worker with no descriptor left, with one, with two, and so on until it can be started."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    launch = Launch(str(python), tmp_path, "bot:Fox", tmp_path / "w1.log", ASSIGNMENT, tmp_path / "data")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    outcomes: list[str] = []

    async def start(spare: int) -> bool:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        held: list[int] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        try:
            with suppress(OSError):
                while True:
                    held.append(os.dup(0))
            for _ in range(spare):
                os.close(held.pop())
            process = spawn(launch, None, os.environ, ended.set_result, loop)
        except SpawnError as problem:
            outcomes.append(problem.message)
            return False
        finally:
            for descriptor in held:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        process.signal(signal.SIGKILL)
        await asyncio.wait_for(ended, 20)
        return True

    for spare in range(30):
        if asyncio.run(start(spare)):
            break
    else:
        raise AssertionError(outcomes)
    assert outcomes
    assert all("worker w1 cannot be started: " in outcome for outcome in outcomes)
    assert psutil.Process().children() == []


def test_a_worker_for_which_descriptors_are_missing_is_not_started_or_ended_and_the_reason_told(
    tmp_path: Path,
) -> None:
    # In a process of its own: other tests have sockets and threads in this one, which need descriptors too.
    starved = multiprocessing.get_context("spawn").Process(target=start_without_descriptors, args=(tmp_path,))
    starved.start()
    starved.join(60)
    try:
        assert starved.exitcode == 0
    finally:
        starved.kill()
        starved.close()


def test_why_it_ended_is_the_last_line_it_wrote(tmp_path: Path) -> None:
    launch = Launch("python3.13", tmp_path, "bot:Fox", tmp_path / "w1.log", ASSIGNMENT, tmp_path / "data")
    assert why_it_ended(launch, "exit 1") == "exit 1"
    launch.log.write_bytes(b"x" * 20_000 + b"\nTraceback:\n  \xff\nValueError: 3\n\n  \n")
    assert why_it_ended(launch, "exit 1") == "exit 1: ValueError: 3"
    launch.log.write_text("/usr/bin/python3.13: No module named neverblink\n")
    # From where this neverblink was installed: there may be none to be had by its name.
    assert f"python3.13 -m pip install {Path(__file__).parents[2]}" in why_it_ended(launch, "exit 1")
    assert last_line(tmp_path / "nowhere") == ""


def test_a_process_is_itself_and_not_only_its_number() -> None:
    me = started_at(os.getpid())
    assert me is not None
    assert alive(os.getpid(), me)
    assert not alive(os.getpid(), me + 1)
    child = subprocess.Popen([sys.executable, "-c", ""])
    born = started_at(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert born is not None
    assert not alive(child.pid, born), "a zombie leads nothing"
    child.wait()
    assert started_at(child.pid) is None


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core only")
def test_affinity_is_undone_for_every_thread_but_those_bound_by_the_bot() -> None:
    cores = os.sched_getaffinity(0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        kept = CpuAffinity(child.pid, os.getpid())
        assert kept.restricted
        assert len(os.sched_getaffinity(child.pid)) == len(cores) - 1
        kept.free()
        assert os.sched_getaffinity(child.pid) == cores
        again = CpuAffinity(child.pid, os.getpid())
        away = cores - os.sched_getaffinity(child.pid)
        os.sched_setaffinity(child.pid, away)
        again.free()
        assert os.sched_getaffinity(child.pid) == away
        assert not CpuAffinity(child.pid, 2**22 + 1).restricted
        child.stdin.close()
    assert cpu_affinity.last_core(os.getpid()) in cores


# --- what is known --------------------------------------------------------------------------------------------------


def member(worker: str) -> Member:
    return Member(worker, "r1", Path("/log"), 0)


def test_a_member_is_what_it_last_said() -> None:
    one = member("w1")
    assert (one.role, one.alive, one.leads, one.epoch, one.open_decision) == ("joining", True, False, 0, "")
    one.take(hello(windows=(WindowSpec("5m", "-20s", "-5s"), WindowSpec("nonsense", "", ""))), 5)
    assert [window.name for window in one.windows] == ["5m -20s..-5s"]
    one.take(report("leading", epoch=3, late=70), 10)
    one.take(report("leading", epoch=3, late=20), 20)
    assert (one.leads, one.epoch, one.late_max, one.leads_since, one.reported_at) == (True, 3, 70, 10, 20)
    one.take(DecisionOpened("3-1-0", "enter", 8), 30)
    one.take(DecisionOpened("3-1-1", "", 7), 30)
    assert one.open_decision == "3-1-1"
    one.take(link.DecisionClosed("3-1-1"), 30)
    assert one.open_decision == "enter"
    one.take(report("following", epoch=4), 40)
    assert one.open_decision == ""
    one.ended = Ended(1, "exit 1", 50)
    assert (one.role, one.alive) == ("gone", False)


def test_the_registry_forgets_the_dead_after_a_while() -> None:
    registry = WorkerRegistry()
    for number in range(40):
        one = member(f"w{number}")
        registry.add(one)
        one.ended = Ended(number % 2, f"exit {number % 2}", number)
    registry.add(member("alive"))
    assert [one.worker for one in registry.alive()] == ["alive"]
    assert registry.get("w0") is None
    assert registry.get("w39") is not None
    failed = registry.last_failure()
    assert failed is not None
    assert failed.worker == "w39"


# --- the workers' socket --------------------------------------------------------------------------------------------


class Called:
    """A switchboard and one worker's socket."""

    def __init__(self, sockets_of: Path, refuse: str = "") -> None:
        self.context = zmq.Context[zmq.Socket[bytes]]()
        self.heard: list[tuple[str, link.WorkerMessage]] = []
        self.puzzles: list[str] = []
        self.sockets = Home.open(sockets_of).sockets()
        self.at = self.sockets.endpoint("supervisor.sock")
        self.worker_keys = WorkerKeys.renew(sockets_of / "key")
        self.gate = ZapHandler(self.context)
        self.board = WorkerSocket(
            self.context,
            lambda socket: socket.bind(self.at),
            zap_handler=self.gate,
            worker_keys=self.worker_keys,
            bot="fox",
            reject_reason=lambda hello: refuse,
            on_message=lambda worker, message: self.heard.append((worker, message)),
            warn=self.puzzles.append,
        )
        self.others: list[zmq.Socket[bytes]] = []
        self.worker = self.connect(self.worker_keys.of("w1"))

    def connect(self, keys: Keys | None, supervisor: bytes = b"") -> zmq.Socket[bytes]:
        """The socket of a worker that has these keys; None: of anybody."""
        socket = self.context.socket(zmq.DEALER)
        socket.setsockopt(zmq.RCVTIMEO, 5000)
        if keys is not None:
            use_client_keys(socket, keys.own, supervisor or keys.supervisor)
        socket.connect(self.at)
        self.others.append(socket)
        return socket

    async def say(
        self, message: link.WorkerMessage, by: zmq.Socket[bytes] | None = None
    ) -> SupervisorMessage:
        """Say something, and return the answer."""
        socket = by or self.worker
        socket.send(link.worker_codec.encode(message))
        return supervisor_codec.decode(await asyncio.to_thread(socket.recv))

    def close(self) -> None:
        for socket in self.others:
            socket.close(0)
        self.board.close()
        self.gate.close()
        self.context.term()
        self.sockets.close()


def test_a_worker_introduces_itself_before_it_is_heard(tmp_path: Path) -> None:
    async def scenario() -> None:
        called = Called(tmp_path)
        assert not called.board.send("w7", link.Stop())
        assert await called.say(report("following")) == link.Identify()
        assert called.heard == []
        assert await called.say(hello()) == link.Welcome(1)
        called.worker.send(b"\xc1")
        called.worker.send_multipart([b"a", b"b"])
        called.worker.send(link.worker_codec.encode(report("following")))
        assert called.board.send("w1", link.Stop())
        assert supervisor_codec.decode(await asyncio.to_thread(called.worker.recv)) == link.Stop()
        assert await called.say(hello()) == link.Welcome(1)
        assert [type(message).__name__ for _, message in called.heard] == ["Hello", "Report", "Hello"]
        assert called.board.garbage == 2
        assert len(called.puzzles) == 1
        called.board.forget("w1")
        assert await called.say(report("following")) == link.Identify()
        called.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize(
    ("said", "refuse", "reason"),
    [
        (hello(bot="hen"), "", "it runs bot 'hen', this supervisor runs 'fox'"),
        (hello(worker="w2"), "", "its secret is not the one that worker 'w2' was started with"),
        (hello(pid=1), "", "it calls itself pid 1, and is pid {pid}"),
        (hello(), "worker 'w1' is pid 3", "worker 'w1' is pid 3"),
        (hello(protocol=VersionRange(7, 9)), "", "worker w1 speaks neverblink protocol 7 to 9"),
    ],
    ids=["bot", "secret", "process", "unknown", "protocol"],
)
def test_who_is_none_of_ours_is_told_why(tmp_path: Path, said: Hello, refuse: str, reason: str) -> None:
    async def scenario() -> None:
        called = Called(tmp_path, refuse)
        answer = await called.say(said)
        assert isinstance(answer, link.Rejected)
        # Not in the parameters: two processes that test must name a test alike.
        assert answer.reason.startswith(reason.format(pid=os.getpid()))
        heard = [message for _, message in called.heard]
        assert heard == ([link.Failed("protocol", answer.reason, "")] if "protocol" in reason else [])
        called.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


async def heard_of(unwelcome: SupervisorConnection) -> None:
    """Wait until it is certain that this one is not let in."""
    rang = asyncio.Event()
    asyncio.get_running_loop().add_reader(unwelcome.fd, rang.set)
    while not unwelcome.look():
        await rang.wait()
        rang.clear()
    asyncio.get_running_loop().remove_reader(unwelcome.fd)


def test_a_second_process_under_a_workers_name_is_not_in_the_way_of_the_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        called = Called(tmp_path)
        assert await called.say(hello()) == link.Welcome(1)
        second = called.connect(called.worker_keys.of("w2"))
        answer = await called.say(hello(), by=second)
        assert isinstance(answer, link.Rejected)
        assert await called.say(report("following"), by=second) == link.Identify()
        # What is said to the worker goes to the worker, and what it says is heard.
        assert called.board.send("w1", link.Stop())
        assert supervisor_codec.decode(await asyncio.to_thread(called.worker.recv)) == link.Stop()
        assert await called.say(hello()) == link.Welcome(1)
        assert [worker for worker, _ in called.heard] == ["w1", "w1"]
        called.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize("stranger", ["without keys", "with keys of another home"])
def test_a_stranger_gets_nothing_and_is_counted_and_a_worker_hears_that_it_is_one(
    tmp_path: Path, stranger: str
) -> None:
    async def scenario() -> None:
        called = Called(tmp_path)
        other = WorkerKeys.renew(tmp_path / "other").of("w1")
        socket = called.connect(None if stranger == "without keys" else other)
        unwelcome = SupervisorConnection(socket, lambda there: None)
        socket.send(link.worker_codec.encode(hello()))
        await heard_of(unwelcome)
        # Whoever is not a stranger is served all the same.
        assert await called.say(hello()) == link.Welcome(1)
        assert [worker for worker, _ in called.heard] == ["w1"]
        assert len(called.puzzles) == 1
        assert called.puzzles[0].startswith("turned a connection to the workers' socket away: it")
        unwelcome.close()
        called.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_nobody_else_can_be_the_supervisor(tmp_path: Path) -> None:
    async def scenario() -> None:
        called = Called(tmp_path)
        keys = called.worker_keys.of("w1")
        # It expects another supervisor than the one that sits there.
        expects = called.connect(keys, WorkerKeys.renew(tmp_path / "other").of("w1").supervisor)
        unwelcome = SupervisorConnection(expects, lambda there: None)
        expects.send(link.worker_codec.encode(hello()))
        await heard_of(unwelcome)
        assert called.heard == []
        unwelcome.close()
        called.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_what_is_printed_of_keys_has_none(tmp_path: Path) -> None:
    worker_keys = WorkerKeys.renew(tmp_path / "key")
    keys = worker_keys.of("w1")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert WorkerKeys.load(tmp_path / "key").of("w1") == keys, "a supervisor that comes later has the same"
    assert WorkerKeys.renew(tmp_path / "key").of("w1") != keys
    assert len({keys.own, keys.links, worker_keys.of("w2").own, keys.leader("w1"), keys.leader("w2")}) == 5
    told = msgspec.structs.replace(ASSIGNMENT, keys=keys)
    printed = io.StringIO()
    console.Console(file=printed, width=500).print(told, keys, pretty.pretty_repr(told))
    shown = [repr(worker_keys), repr(keys), repr(told), str(told), f"{[told]}", printed.getvalue()]
    for secret in (keys.own, keys.links, keys.supervisor, (tmp_path / "key").read_bytes()):
        for text in shown:
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text
    assert "Keys(…)" in shown[2]


@pytest.mark.parametrize("spoilt", [None, b"", b"short"])
def test_a_key_that_is_lost_while_workers_live_is_said_with_the_mend(
    tmp_path: Path, spoilt: bytes | None
) -> None:
    if spoilt is not None:
        (tmp_path / "key").write_bytes(spoilt)
    with pytest.raises(WorkerKeysError, match="put it back, or end them and run `neverblink up` again"):
        WorkerKeys.load(tmp_path / "key")


# --- waiting, and commands on their way -----------------------------------------------------------------------------


def test_waiting_looks_again_when_something_has_changed_or_time_is_up() -> None:
    async def scenario() -> None:
        hour = Hour()
        waiting = Conditions(hour)
        so: list[int] = []
        patient = asyncio.ensure_future(waiting.until(lambda: so))
        hasty = asyncio.ensure_future(waiting.until(lambda: len(so) > 1, SECOND))
        assert await waiting.until(lambda: True)
        await asyncio.sleep(0)
        waiting.stir()
        await asyncio.sleep(0)
        assert not patient.done()
        so.append(1)
        waiting.stir()
        assert await patient
        hour.pass_by(SECOND)
        assert await hasty is False
        assert hour.waiting == 0

    asyncio.run(scenario())


def test_a_command_follows_the_leader_until_it_is_answered() -> None:
    async def scenario() -> None:
        stage = Stage()
        hour, state = stage.hour, stage.state
        pool = Hands(stage.registry)
        sent = pool.sent
        state.leader = "w1"
        relay = CommandRelay(state, cast("Any", pool), 10 * SECOND)
        running = asyncio.ensure_future(relay.run("size", {"pct": 2.5}))
        await asyncio.sleep(0)
        hour.pass_by(SECOND // 2)
        state.leader = ""
        hour.pass_by(SECOND // 2)
        state.leader = "w2"
        relay.resend()
        assert [worker for worker, _ in sent] == ["w1", "w1", "w2"]
        run = sent[0][1]
        assert isinstance(run, Run)
        assert {message.key for _, message in sent if isinstance(message, Run)} == {run.key}
        relay.answered(Answered("another key", 1, None))
        relay.answered(Answered(run.key, 7, "done"))
        relay.answered(Answered(run.key, 8, "told twice"))
        assert (await running).seq == 7
        hour.pass_by(20 * SECOND)
        assert hour.waiting == 0
        late = asyncio.ensure_future(relay.run("size", {}))
        await asyncio.sleep(0)
        hour.pass_by(10 * SECOND)
        with pytest.raises(NoAnswer, match="in 10s") as no_answer:
            await late
        assert no_answer.value.late

    asyncio.run(scenario())


# --- the home of an earlier run -------------------------------------------------------------------------------------


def test_an_empty_or_torn_journal_is_no_state(tmp_path: Path) -> None:
    assert journal_left(tmp_path) is None
    (tmp_path / "00000001.journal").write_bytes(b"")
    assert journal_left(tmp_path) is None


def test_survivors_are_known_workers_and_whoever_has_the_lease(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    me = started_at(os.getpid()) or 0
    known = WorkerRow("fox", "w1", "r1", os.getpid(), me, "", 0, None, None, "")
    assert survivors(home, [known]) == [], "a process without a file of this home is another home's"
    with (home.logs / "w1.log").open("w"):
        assert [(one.worker, one.leads) for one in survivors(home, [known])] == [("w1", False)]
    program = (
        "from neverblink.worker.io.lease import Lease\nimport sys\n"
        f"lease = Lease({str(home.lease)!r})\nlease.take('w9')\nprint(flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as leader:
        assert leader.stdin is not None
        assert leader.stdout is not None
        leader.stdout.readline()
        assert [(one.worker, one.pid, one.leads) for one in survivors(home, [])] == [("w9", leader.pid, True)]
        home.lease.write_bytes(b"not a lease at all" + b" " * 600)
        assert [(one.worker, one.pid) for one in survivors(home, [])] == [("", leader.pid)]
        leader.stdin.close()
    assert survivors(home, []) == []


# --- the log and the news -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            events.WorkerStarted(bot="fox", at=1, worker="w1", release="r1", pid=7),
            "worker w1 started: release r1, pid 7",
        ),
        (
            events.LeaderChanged(bot="fox", at=1, worker="", release="", epoch=1, cause="exit 1", seq=0),
            "no worker leads any more: exit 1",
        ),
        (
            events.StepDone(bot="fox", at=1, deployment=3, step="rehearsed", text="all", took=1_234_567),
            "deployment 3: rehearsed all in 1.23 ms",
        ),
        (
            events.Commanded(
                bot="fox", at=1, op="deploy", who="anna", why="", outcome="locked", detail="freeze"
            ),
            "deploy by anna: locked: freeze",
        ),
        (
            events.DeploymentEnded(
                bot="fox",
                at=1,
                deployment=3,
                outcome="rolled_back",
                reason="it broke",
                leader="w1",
                release="r1",
            ),
            "deployment 3 rolled back: it broke; r1 leads",
        ),
    ],
)
def test_events_are_one_line_each(event: Event, line: str) -> None:
    assert line_of(event) == line


def test_each_line_of_the_log_has_time_level_writer_and_release(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log", None, lambda: 1_795_533_244 * SECOND)
    log.say("two\nlines")
    log.note(events.WorkerStarted(bot="fox", at=1, worker="w1", release="r1", pid=7))
    assert (tmp_path / "log").read_text().splitlines() == [
        "2026-11-24T15:14:04.000Z info    supervisor - | two lines",
        "2026-11-24T15:14:04.000Z info    supervisor r1 | worker w1 started: release r1, pid 7",
    ]


def test_in_json_each_line_of_the_log_says_how_grave_it_is_and_where_the_bot_stood(tmp_path: Path) -> None:
    screen = io.StringIO()
    log = EventLog(
        tmp_path / "log", screen, lambda: 1_795_533_244 * SECOND, bot="fox", settings=LogSettings("json")
    )

    def leads(worker: str) -> events.LeaderChanged:
        return events.LeaderChanged(
            bot="fox",
            at=1,
            worker=worker,
            release="r1" if worker else "",
            epoch=4,
            cause="why",
            seq=9 if worker else 0,
        )

    log.note(leads("w1"))
    log.note(
        events.Heartbeat(
            bot="fox",
            at=1,
            worker="w1",
            release="r1",
            role="leading",
            epoch=4,
            seq=12,
            ticks=1,
            skipped=0,
            late_max=1,
            paused=False,
        )
    )
    log.say("something")
    log.note(
        events.DeploymentStarted(bot="fox", at=1, deployment=7, release="r2", previous="r1", who="", why="")
    )
    log.say("in the middle of it")
    log.note(
        events.DeploymentEnded(
            bot="fox", at=1, deployment=7, outcome="rolled_back", reason="it broke", leader="w1", release="r1"
        )
    )
    log.note(leads(""))
    log.note(events.SupervisorStopping(bot="fox", at=1, reason="down"))
    log.note(leads(""))
    lines = [msgspec.json.decode(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {line["bot"] for line in lines} == {"fox"}
    assert lines[0] == {
        "time": "2026-11-24T15:14:04.000Z", "level": "info", "bot": "fox", "worker": "w1", "release": "r1",
        "text": "worker w1 leads (why): release r1, epoch 4", "epoch": 4, "seq": 9, "event": "leader",
    }  # fmt: skip
    told = [(line["level"], line.get("deployment"), line["seq"]) for line in lines[1:]]
    assert told == [
        ("info", None, 12), ("info", 7, 12), ("info", 7, 12), ("error", 7, 12), ("error", None, 12), ("info", None, 12),
        ("info", None, 12),
    ]  # fmt: skip
    # People read the screen.
    assert screen.getvalue().splitlines()[1].endswith(" something")


def test_a_listener_that_fails_is_no_trouble_for_the_others() -> None:
    stage = Stage()

    def fail(event: Event) -> None:
        raise OSError("the disk is full")

    stage.bus.subscribe(fail)
    later: list[Event] = []
    stage.bus.subscribe(later.append)
    stage.bus.tell(events.SupervisorStopping(bot="fox", at=1, reason="down"))
    assert len(later) == 1
    assert stage.troubles == ["a listener failed on SupervisorStopping: OSError('the disk is full')"]
