"""A worker's listening sockets: who accepts a connection, and what servers that have started notice of a handoff.

Each worker is a process of its own (see `socket_worker`), because a switch concerns a whole process.
"""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neverblink.protocol.listening import InheritedSocket, LentSockets
from neverblink.worker.io.listening_sockets import LoopbackSockets, SocketError, WorkerSockets

WITHIN = 10.0
ABSENT = 0.15
"""How long a connection that must not be accepted is waited for, s."""


def bound(family: int, where: Path) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    address = ("127.0.0.1", 0) if family == socket.AF_INET else ("::1", 0)
    listening.bind(str(where / "api.sock") if family == socket.AF_UNIX else address)
    listening.listen(64)
    return listening


class WorkerProcess:
    """A process that shares `listening` with others, and has started a server that answers with `name`."""

    def __init__(self, listening: socket.socket, name: str, server: str, accept: str) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.worker.io.socket_worker",
                name,
                server,
                accept,
                str(listening.fileno()),
            ],
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._out, self._in = self._process.stdout, self._process.stdin

    def begin(self) -> None:
        assert self._out.readline() == "begun\n"

    def __call__(self, order: str) -> Any:
        self._in.write(f"{order}\n")
        return ast.literal_eval(self._out.readline())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._in.close()
        self._out.close()


class Machine:
    """A listening socket, and the worker processes that share it. They are kept, because each takes time to start."""

    def __init__(self, family: int, where: Path) -> None:
        self.listening = bound(family, where)
        self._workers: dict[str, WorkerProcess] = {}
        self._begun: set[WorkerProcess] = set()

    def workers(self, *wanted: str) -> list[WorkerProcess]:
        """Workers, none of which leads. Each is named by what it answers, its server, and who accepts."""
        for each in wanted:
            if each not in self._workers:
                name, server, accept = each.split()
                self._workers[each] = WorkerProcess(self.listening, name, server, accept)
        for worker in [worker for each, worker in self._workers.items() if each not in wanted]:
            worker("follow")
        found = [self._workers[each] for each in wanted]
        for worker in found:
            if worker not in self._begun:
                worker.begin()
                self._begun.add(worker)
            worker("follow")
        return found

    def close(self) -> None:
        for worker in self._workers.values():
            worker.end()
        self.listening.close()


@pytest.fixture(
    scope="module", params=[socket.AF_INET, socket.AF_INET6, socket.AF_UNIX], ids=["IPv4", "IPv6", "unix"]
)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(request.param, tmp_path_factory.mktemp("machine"))
    yield made
    made.close()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with bound(socket.AF_UNIX, tmp_path) as made:
        yield made


def connect(listening: socket.socket) -> socket.socket:
    client = socket.socket(listening.family, socket.SOCK_STREAM)
    client.settimeout(WITHIN)
    client.connect(listening.getsockname())
    return client


def answer(client: socket.socket) -> str:
    with client:
        return client.recv(100).decode()


def wait_until(holds: Callable[[], bool], else_: str) -> None:
    until = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < until, else_


def waits(client: socket.socket) -> bool:
    """Whether the connection is accepted by no process."""
    client.settimeout(ABSENT)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(WITHIN)
    return False


def test_the_backlog_waits_from_leader_to_leader_and_no_other_process_accepts(machine: Machine) -> None:
    listening = machine.listening
    old, new = machine.workers("old asyncio leader", "new asyncio leader")
    old("lead")
    before = old("open")
    for leads, name, other, next_name in ((old, "old", new, "new"), (new, "new", old, "old")) * 2:
        assert {answer(connect(listening)) for _ in range(20)} == {name}
        leads("follow")
        clients = [connect(listening) for _ in range(5)]
        assert waits(clients[0])
        other("lead")
        assert {answer(client) for client in clients} == {next_name}
    wait_until(lambda: old("open") == before, "a descriptor was lost")


@pytest.mark.parametrize("server", ["asyncio", "threads"])
def test_a_server_that_started_in_a_follower_answers_when_its_process_leads(
    machine: Machine, server: str
) -> None:
    [worker] = machine.workers(f"it {server} leader")
    client = connect(machine.listening)
    assert waits(client)
    worker("lead")
    assert answer(client) == "it"


def test_a_follower_that_calls_accept_itself_gets_no_connection(machine: Machine) -> None:
    [worker] = machine.workers("it none leader")
    with connect(machine.listening):
        assert not worker("accepts")
        worker("lead")
        worker("follow")
        assert not worker("accepts")
        worker("lead")
        assert worker("accepts")


def test_no_client_can_reach_the_placeholder(machine: Machine) -> None:
    [worker] = machine.workers("it none leader")
    with socket.socket(machine.listening.family, socket.SOCK_STREAM) as client:
        client.settimeout(ABSENT)
        name = worker("address")
        assert name != machine.listening.getsockname()
        with pytest.raises(OSError, match=r"timed out|refused|No such file"):
            client.connect(name)


def test_a_connection_that_waits_does_not_keep_a_follower_busy(machine: Machine) -> None:
    # The kernel would report it to the follower's event loop again and again.
    [worker] = machine.workers("old asyncio leader")
    worker("lead")
    worker("follow")
    with connect(machine.listening) as client:
        used = worker("used")
        assert waits(client)
        assert waits(client)
        assert worker("used") - used < ABSENT
        worker("lead")
        assert answer(client) == "old"


def test_events_and_data_of_an_epoll_registration_stay_as_they_are(machine: Machine) -> None:
    [worker] = machine.workers("it none leader")
    with connect(machine.listening):
        assert worker("registered") == ([("data", 1)], [])
        worker("lead")
        assert worker("accepts")


def test_every_process_accepts_if_the_author_says_so(listening: socket.socket) -> None:
    worker = WorkerProcess(listening, "it", "asyncio", "all")
    worker.begin()
    assert answer(connect(listening)) == "it"
    worker("lead")
    worker("follow")
    assert answer(connect(listening)) == "it"
    worker.end()


def test_a_server_that_ended_can_be_started_again_on_its_socket(machine: Machine) -> None:
    [worker] = machine.workers("old asyncio leader")
    worker("lead")
    for _ in range(3):
        assert answer(connect(machine.listening)) == "old"
        worker("restart")
    assert answer(connect(machine.listening)) == "old"


def test_a_backlog_that_a_server_has_made_short_is_long_again_after_a_handoff(
    listening: socket.socket,
) -> None:
    worker = WorkerProcess(listening, "it", "none", "leader")
    worker.begin()
    with ExitStack() as clients:
        worker("lead")
        worker("shorten")
        worker("follow")
        for _ in range(30):
            # A unix socket would let the third wait, or refuse it.
            clients.enter_context(connect(listening))
    worker.end()


def test_an_unknown_name_is_refused_with_those_that_there_are(listening: socket.socket) -> None:
    sockets = WorkerSockets([(InheritedSocket("api", ""), listening.dup())])
    assert "api" in sockets
    assert "nosuch" not in sockets
    with pytest.raises(SocketError, match=r'no socket "nosuch".*it has api'):
        sockets["nosuch"]
    sockets.close()


def test_in_a_simulation_every_socket_is_one_of_its_own_on_loopback() -> None:
    one, other = LoopbackSockets(), LoopbackSockets()
    assert one["api"].getsockname() != other["api"].getsockname()
    assert one.address("api") == f"127.0.0.1:{one['api'].getsockname()[1]}"
    one.close()
    other.close()


def run_inheriting(listening: list[socket.socket], program: str) -> str:
    """The output of a program that inherits sockets as a worker does; `found` are its sockets."""
    given = [InheritedSocket(f"s{index}", str(index), each.fileno()) for index, each in enumerate(listening)]
    described = [(each.name, each.address, each.descriptor) for each in given]
    source = (
        "import os, socket, subprocess, sys\n"
        "from neverblink.protocol.listening import InheritedSocket\n"
        "from neverblink.worker.io.listening_sockets import inherit\n"
        f"found = inherit([InheritedSocket(*each) for each in {described!r}], os.environ)\n{program}"
    )
    done = subprocess.run(
        [sys.executable, "-c", source],
        pass_fds=[each.fileno() for each in listening],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def several() -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(bound(socket.AF_INET, Path())) for _ in range(3)]


def test_the_environment_names_the_sockets_as_systemd_does(several: list[socket.socket]) -> None:
    said = run_inheriting(
        several,
        "print(os.environ['LISTEN_FDS'], os.environ['LISTEN_FDNAMES'], os.environ['LISTEN_PID'] == str(os.getpid()))\n"
        "found.accept()\n"
        "print(*(socket.socket(fileno=fd).getsockname()[1] for fd in (3, 4, 5)))\n",
    )
    names, ports = said.splitlines()
    assert names == "3 s0:s1:s2 True"
    assert ports.split() == [str(each.getsockname()[1]) for each in several]


def test_programs_that_the_bot_starts_do_not_inherit_the_sockets(several: list[socket.socket]) -> None:
    said = run_inheriting(
        several,
        "found.accept(); found['s0']\nsubprocess.run(['ls', '-l', '/proc/self/fd'], close_fds=False)\n",
    )
    assert "socket" not in said


def test_a_number_that_is_taken_leaves_the_environment_without_sockets(several: list[socket.socket]) -> None:
    # Something that runs before the bot may have opened a file.
    spare = os.open("/", os.O_PATH)
    try:
        said = run_inheriting(
            several,
            "print(os.environ.get('LISTEN_FDS'), len(found)); found.accept()\n"
            "os.dup2(0, 3); found.arrange(os.environ)\n"
            "print(os.environ.get('LISTEN_FDS'), found['s0'].getsockname()[1])\n",
        )
    finally:
        os.close(spare)
    assert said.splitlines()[0] == "3 3"
    assert said.splitlines()[-1] == f"None {several[0].getsockname()[1]}"


def test_a_worker_lends_its_sockets_to_a_new_supervisor(listening: socket.socket, tmp_path: Path) -> None:
    sockets = WorkerSockets([(InheritedSocket("api", ""), listening.dup())])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "listening.sock"))
        sockets.lend("w1", str(tmp_path / "listening.sock"))
        data, descriptors, _, _ = socket.recv_fds(supervisor, 65536, 8)
        lent = msgspec.json.decode(data, type=LentSockets)
        assert (lent.worker, [each.name for each in lent.sockets]) == ("w1", ["api"])
        [descriptor] = descriptors
        with socket.socket(fileno=descriptor) as received:
            assert received.getsockname() == listening.getsockname()
        sockets.lend("w1", str(tmp_path / "nothing.sock"))
    sockets.close()
