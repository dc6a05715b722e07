"""A supervisor that answers from a script: only the request and event sockets of a claimed home.

It replaces the daemon in tests of the client and the command line, also in situations that are hard to produce with a
real daemon.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from neverblink.protocol.commands import (
    EVENT_SOCKET,
    REQUEST_SOCKET,
    Answer,
    Command,
    Fault,
    decode_command,
    encode_answer,
)
from neverblink.protocol.events import Event, encode_event, topic_of
from neverblink.supervisor.store.state_dir import Home

Reply = Any
"""A result, a `Fault`, `Silence`, or a function of the command that returns one of them."""


class Silence:
    """Do not answer."""


class FakeSupervisor:
    """Answers by `script` (op to reply), in its own thread, inside the `with` block.

    `asked` lists the received commands. After a command, the events in `after[op]` are published.
    """

    def __init__(
        self,
        home: Path,
        script: dict[str, Reply],
        after: dict[str, Callable[[Command], Iterable[Event]]] | None = None,
    ) -> None:
        self.home = Home.open(home)
        self.asked: list[Command] = []
        self._script = script
        self._after = after or {}
        self._claim = self.home.claim("foresight")
        self._sockets = self.home.sockets()
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._stop = self._context.socket(zmq.PAIR)
        self._stop.bind("inproc://stop")
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def ops(self) -> list[str]:
        return [str(type(command).__struct_config__.tag) for command in self.asked]

    def __enter__(self) -> FakeSupervisor:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.send(b"")
        self._thread.join(10)
        self._stop.close(0)
        self._context.term()
        self._sockets.close()
        self._claim.drop()

    def _run(self) -> None:
        with (
            self._context.socket(zmq.ROUTER) as requests,
            self._context.socket(zmq.PUB) as events,
            self._context.socket(zmq.PAIR) as stop,
        ):
            self._serve(requests, events, stop)

    def _serve(self, requests: zmq.Socket[bytes], events: zmq.Socket[bytes], stop: zmq.Socket[bytes]) -> None:
        stop.connect("inproc://stop")
        requests.bind(self._sockets.endpoint(REQUEST_SOCKET))
        events.bind(self._sockets.endpoint(EVENT_SOCKET))
        poller = zmq.Poller()
        poller.register(requests, zmq.POLLIN)
        poller.register(stop, zmq.POLLIN)
        self._ready.set()
        while True:
            waiting = dict(poller.poll(10_000))
            if stop in waiting or not waiting:
                return
            *route, data = requests.recv_multipart()
            command = decode_command(data)
            self.asked.append(command)
            op = str(type(command).__struct_config__.tag)
            reply = self._script.get(op, Fault("bad-request", f"no {op} in this script"))
            if callable(reply) and not isinstance(reply, type):
                reply = reply(command)
            if reply is not Silence:
                requests.send_multipart([*route, encode_answer(_answer(command.id, reply))])
            for event in self._after.get(op, lambda _: ())(command):
                events.send_multipart([topic_of(event), encode_event(event)])


def _answer(id: str, reply: Reply) -> Answer:
    if isinstance(reply, Fault):
        return Answer(id=id, status="error", error=reply)
    return Answer(id=id, status="ok", result=reply)
