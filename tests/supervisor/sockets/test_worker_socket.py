"""The workers' socket: who is heard, and who is refused."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import zmq

from neverblink.protocol import link
from neverblink.protocol.frame import Schema
from neverblink.protocol.keys import Keys
from neverblink.protocol.link import (
    Hello,
    SupervisorMessage,
    supervisor_codec,
)
from neverblink.protocol.wire import VersionRange
from neverblink.supervisor.sockets.worker_keys import WorkerKeys
from neverblink.supervisor.sockets.worker_socket import WorkerSocket
from neverblink.supervisor.store.state_dir import Home
from neverblink.worker.io.identity import use_client_keys
from neverblink.worker.io.zmq_channel import SupervisorConnection

from ..fake_bot_context import report

SECOND = 1_000_000_000


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


class WorkerSocketUnderTest:
    """A switchboard and one worker's socket."""

    def __init__(self, sockets_of: Path, refuse: str = "") -> None:
        self.context = zmq.Context[zmq.Socket[bytes]]()
        self.received: list[tuple[str, link.WorkerMessage]] = []
        self.log: list[str] = []
        self.sockets = Home.open(sockets_of).sockets()
        self.at = self.sockets.endpoint("supervisor.sock")
        self.worker_keys = WorkerKeys.renew(sockets_of / "key")
        self.board = WorkerSocket(
            self.context,
            lambda socket: socket.bind(self.at),
            worker_keys=self.worker_keys,
            bot="fox",
            reject_reason=lambda hello: refuse,
            on_message=lambda worker, message: self.received.append((worker, message)),
            warn=self.log.append,
        )
        self.others: list[zmq.Socket[bytes]] = []
        self.worker = self.connect(self.worker_keys.of("w1"))

    def connect(self, keys: Keys | None, supervisor: bytes = b"") -> zmq.Socket[bytes]:
        """The socket of a worker with these keys; None: without keys."""
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
        """Send a message and return the answer."""
        socket = by or self.worker
        socket.send(link.worker_codec.encode(message))
        return supervisor_codec.decode(await asyncio.to_thread(socket.recv))

    def close(self) -> None:
        for socket in self.others:
            socket.close(0)
        self.board.close()
        self.context.term()
        self.sockets.close()


def test_messages_of_a_worker_before_its_hello_are_dropped(tmp_path: Path) -> None:
    async def scenario() -> None:
        under_test = WorkerSocketUnderTest(tmp_path)
        assert not under_test.board.send("w7", link.Stop())
        assert await under_test.say(report("following")) == link.Identify()
        assert under_test.received == []
        assert await under_test.say(hello()) == link.Welcome(1)
        under_test.worker.send(b"\xc1")
        under_test.worker.send_multipart([b"a", b"b"])
        under_test.worker.send(link.worker_codec.encode(report("following")))
        assert under_test.board.send("w1", link.Stop())
        assert supervisor_codec.decode(await asyncio.to_thread(under_test.worker.recv)) == link.Stop()
        assert await under_test.say(hello()) == link.Welcome(1)
        assert [type(message).__name__ for _, message in under_test.received] == ["Hello", "Report", "Hello"]
        assert under_test.board.garbage == 2
        assert len(under_test.log) == 1
        under_test.board.forget("w1")
        assert await under_test.say(report("following")) == link.Identify()
        under_test.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize(
    ("greeting", "refuse", "reason"),
    [
        (hello(bot="hen"), "", "it runs bot 'hen', this supervisor runs 'fox'"),
        (hello(worker="w2"), "", "its secret is not the one that worker 'w2' was started with"),
        (hello(pid=1), "", "it calls itself pid 1, and is pid {pid}"),
        (hello(), "worker 'w1' is pid 3", "worker 'w1' is pid 3"),
        (hello(protocol=VersionRange(7, 9)), "", "worker w1 speaks neverblink protocol 7 to 9"),
    ],
    ids=["bot", "secret", "process", "unknown", "protocol"],
)
def test_a_worker_of_another_bot_is_rejected_with_the_reason(
    tmp_path: Path, greeting: Hello, refuse: str, reason: str
) -> None:
    async def scenario() -> None:
        under_test = WorkerSocketUnderTest(tmp_path, refuse)
        answer = await under_test.say(greeting)
        assert isinstance(answer, link.Rejected)
        # Not in the parameters: two processes that test must name a test alike.
        assert answer.reason.startswith(reason.format(pid=os.getpid()))
        received = [message for _, message in under_test.received]
        assert received == ([link.Failed("protocol", answer.reason, "")] if "protocol" in reason else [])
        under_test.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


async def heard_of(unwelcome: SupervisorConnection) -> None:
    """Wait until it is certain that this one is rejected."""
    rang = asyncio.Event()
    asyncio.get_running_loop().add_reader(unwelcome.fd, rang.set)
    while not unwelcome.look():
        await rang.wait()
        rang.clear()
    asyncio.get_running_loop().remove_reader(unwelcome.fd)


def test_a_second_process_with_the_id_of_a_worker_is_rejected_and_the_first_is_unaffected(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        under_test = WorkerSocketUnderTest(tmp_path)
        assert await under_test.say(hello()) == link.Welcome(1)
        second = under_test.connect(under_test.worker_keys.of("w2"))
        answer = await under_test.say(hello(), by=second)
        assert isinstance(answer, link.Rejected)
        assert await under_test.say(report("following"), by=second) == link.Identify()
        # Messages reach the worker, and its messages are received.
        assert under_test.board.send("w1", link.Stop())
        assert supervisor_codec.decode(await asyncio.to_thread(under_test.worker.recv)) == link.Stop()
        assert await under_test.say(hello()) == link.Welcome(1)
        assert [worker for worker, _ in under_test.received] == ["w1", "w1"]
        under_test.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize("stranger", ["without keys", "with keys of another home"])
def test_a_connection_without_the_right_keys_is_refused_and_counted(tmp_path: Path, stranger: str) -> None:
    async def scenario() -> None:
        under_test = WorkerSocketUnderTest(tmp_path)
        other = WorkerKeys.renew(tmp_path / "other").of("w1")
        socket = under_test.connect(None if stranger == "without keys" else other)
        unwelcome = SupervisorConnection(socket, lambda there: None)
        socket.send(link.worker_codec.encode(hello()))
        await heard_of(unwelcome)
        # A worker with the right key is still served.
        assert await under_test.say(hello()) == link.Welcome(1)
        assert [worker for worker, _ in under_test.received] == ["w1"]
        assert len(under_test.log) == 1
        assert under_test.log[0].startswith("turned a connection to the workers' socket away: it")
        unwelcome.close()
        under_test.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_worker_connects_only_to_the_supervisor_whose_key_it_has(tmp_path: Path) -> None:
    async def scenario() -> None:
        under_test = WorkerSocketUnderTest(tmp_path)
        keys = under_test.worker_keys.of("w1")
        # It expects another supervisor than the one that sits there.
        expects = under_test.connect(keys, WorkerKeys.renew(tmp_path / "other").of("w1").supervisor)
        unwelcome = SupervisorConnection(expects, lambda there: None)
        expects.send(link.worker_codec.encode(hello()))
        await heard_of(unwelcome)
        assert under_test.received == []
        unwelcome.close()
        under_test.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))
