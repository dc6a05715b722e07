"""The operators' sockets: every kind of client and of invalid request, and no client that blocks another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from neverblink.protocol.commands import (
    EVENT_SOCKET,
    MAX_REQUEST,
    REQUEST_SOCKET,
    Answer,
    Command,
    Send,
    Status,
)
from neverblink.protocol.events import SupervisorStopping
from neverblink.supervisor.sockets.bindings import Bindings
from neverblink.supervisor.sockets.request_socket import Listeners
from neverblink.supervisor.store.state_dir import Home, Sockets

WITHIN_MS = 5000


class SocketsUnderTest:
    """A dispatcher that answers `status` at once, and `send` when the test allows it."""

    def __init__(self, sockets: Sockets, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.sockets = sockets
        self.context = context
        self.let = asyncio.Event()
        self.asked: list[Command] = []
        self.listeners = Listeners(context, Bindings(sockets), self.carry_out)

    async def carry_out(self, command: Command) -> Answer:
        self.asked.append(command)
        if isinstance(command, Send):
            await self.let.wait()
        return Answer(command.id, "ok", result={"asked": type(command).__name__})

    def connect(self, kind: int, name: str = REQUEST_SOCKET) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, WITHIN_MS)
        socket.connect(self.sockets.endpoint(name))
        return socket


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[SocketsUnderTest], Awaitable[None]]], None]:
    def play(scenario: Callable[[SocketsUnderTest], Awaitable[None]]) -> None:
        async def played() -> None:
            context = zmq.Context[zmq.Socket[bytes]]()
            with Home.open(tmp_path).sockets() as sockets:
                desked = SocketsUnderTest(sockets, context)
                try:
                    await scenario(desked)
                finally:
                    desked.let.set()
                    await desked.listeners.close()
                    context.destroy(0)

        asyncio.run(asyncio.wait_for(played(), 30))

    return play


Play = Callable[[Callable[[SocketsUnderTest], Awaitable[None]]], None]


async def ask(socket: zmq.Socket[bytes], *frames: bytes) -> list[bytes]:
    def talk() -> list[bytes]:
        socket.send_multipart(frames)
        return socket.recv_multipart()

    return await asyncio.to_thread(talk)


async def fault(socket: zmq.Socket[bytes], *frames: bytes) -> dict[str, Any]:
    answer = json.loads((await ask(socket, *frames))[-1])
    assert answer["status"] == "error"
    assert answer["api"] == 1
    return answer


def test_req_and_dealer_clients_get_their_answers(play: Play) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.REQ) as req, desked.connect(zmq.DEALER) as dealer:
            for frames in (
                await ask(req, b'{"id": "7", "op": "status"}'),
                await ask(dealer, b' {"id": "7", "op": "status"}\n'),
            ):
                assert [json.loads(frame) for frame in frames] == [
                    {"id": "7", "status": "ok", "api": 1, "result": {"asked": "Status"}}
                ]
            delimited = await ask(dealer, b"", b'{"op": "status"}')
            assert delimited[0] == b""
            assert json.loads(delimited[1])["status"] == "ok"

    play(scenario)


def test_msgpack_is_answered_in_msgpack(play: Play) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.REQ) as req:
            (answer,) = await ask(req, msgspec.msgpack.encode(Status(id="9")))
            assert msgspec.msgpack.decode(answer) == {
                "id": "9",
                "status": "ok",
                "result": {"asked": "Status"},
                "api": 1,
            }

    play(scenario)


@pytest.mark.parametrize(
    ("request_", "id", "reason"),
    [
        (b"", "", "not a request"),
        (b"\xff\xfe\x00", "", "not a request"),
        (b"{", "", "not a request"),
        (b'{"id": "3"}', "3", "not a request"),
        (b'{"id": "3", "op": "reload"}', "3", "reload"),
        (b'{"id": "3", "op": "send"}', "3", "name"),
        (b'{"id": "3", "op": "status", "verbose": true}', "3", "verbose"),
        (b'{"id": "3", "op": "send", "name": "x", "args": []}', "3", "args"),
        (b'{"id": 3, "op": "status"}', "", "id"),
        (b"[" * 100_000, "", "not a request"),
        (b'{"op": "send", "name": "x", "args": {"a": ' + b"[" * 100_000, "", "nested"),
        (b" " * (MAX_REQUEST + 1), "", "at most 1048576 are accepted"),
    ],
)
def test_an_invalid_request_gets_an_error_with_its_id(
    play: Play, request_: bytes, id: str, reason: str
) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.REQ) as req:
            answer = await fault(req, request_)
            assert answer["id"] == id
            assert answer["error"]["code"] == "bad-request"
            assert reason in answer["error"]["message"]
            assert "\n" not in answer["error"]["message"]
        assert desked.asked == []

    play(scenario)


def test_several_frames_are_not_a_request(play: Play) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.DEALER) as dealer:
            assert "expected one" in (await fault(dealer, b"{}", b"{}"))["error"]["message"]
            # No body at all. (A lone empty frame is an empty request.)
            assert (await fault(dealer, b""))["error"]["code"] == "bad-request"

    play(scenario)


def test_a_client_that_sends_a_huge_frame_is_disconnected_and_others_are_served(play: Play) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.DEALER) as huge, desked.connect(zmq.REQ) as req:
            for _ in range(3):
                huge.send(b"{" + b" " * 100_000_000)
                assert json.loads((await ask(req, b'{"op": "status"}'))[0])["status"] == "ok"
            # Its sender, connected anew, may ask something decent.
            huge.setsockopt(zmq.RCVTIMEO, 200)
            for _ in range(20):
                try:
                    assert json.loads((await ask(huge, b'{"op": "status"}'))[0])["status"] == "ok"
                    break
                except zmq.Again:
                    continue
            else:
                pytest.fail("the sender of a huge frame is never served again")

    play(scenario)


def test_a_slow_request_blocks_no_other(play: Play) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.DEALER) as slow, desked.connect(zmq.REQ) as quick:
            slow.send(b'{"id": "slow", "op": "send", "name": "x"}')
            assert json.loads((await ask(quick, b'{"op": "status"}'))[0])["status"] == "ok"
            desked.let.set()
            assert json.loads(await asyncio.to_thread(slow.recv))["id"] == "slow"

    play(scenario)


def test_too_many_waiting_requests_are_refused(play: Play) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.DEALER) as many:
            for number in range(257):
                many.send(b'{"id": "%d", "op": "send", "name": "x"}' % number)
            answer = json.loads(await asyncio.to_thread(many.recv))
            assert (answer["id"], answer["error"]["code"]) == ("256", "busy")

    play(scenario)


def test_a_client_cannot_fill_the_memory_of_a_blocked_supervisor(play: Play) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.DEALER) as dealer:
            assert json.loads((await ask(dealer, b'{"op": "status"}'))[0])["status"] == "ok"
            request = b'{"op": "status", "id": "' + b"x" * 100_000 + b'"}'
            sent = 0
            # The supervisor's loop does not run meanwhile: nothing is awaited.
            while sent < 1500 and dealer.poll(300, zmq.POLLOUT):
                dealer.send(request, zmq.NOBLOCK)
                sent += 1
            assert sent < 1500

    play(scenario)


def test_an_invalid_subscription_is_dropped(play: Play) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.SUB, EVENT_SOCKET) as events:
            monitor = events.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            # More than the limit, and few enough for a subscriber on libzmq builds that recurse once per byte.
            events.subscribe(b"x" * 10_000)
            assert await asyncio.to_thread(monitor.poll, WITHIN_MS)
            events.disable_monitor()
            monitor.close(0)

    play(scenario)


def test_a_client_that_disconnects_before_its_answer_has_no_effect_on_others(play: Play) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.DEALER) as hasty, desked.connect(zmq.REQ) as req:
            hasty.send(b'{"op": "send", "name": "x"}')
            await ask(req, b'{"op": "status"}')
            hasty.close(0)
            desked.let.set()
            assert json.loads((await ask(req, b'{"op": "status"}'))[0])["status"] == "ok"

    play(scenario)


def test_events_are_sent_to_subscribers(play: Play) -> None:
    async def scenario(desked: SocketsUnderTest) -> None:
        with desked.connect(zmq.SUB, EVENT_SOCKET) as listener, desked.connect(zmq.REQ) as req:
            listener.setsockopt(zmq.SUBSCRIBE, b"supervisor")
            got = asyncio.ensure_future(asyncio.to_thread(listener.recv_multipart))
            while not got.done():
                # A PUB sends nothing to those whose subscription it has not read yet.
                desked.listeners.publish(SupervisorStopping(bot="fox", at=1, reason="down"))
                await ask(req, b'{"op": "status"}')
            topic, event = got.result()
            assert topic == b"supervisor-stopping"
            assert json.loads(event) == {
                "type": "supervisor-stopping",
                "bot": "fox",
                "at": 1,
                "reason": "down",
            }

    play(scenario)
