"""Asking the supervisor: one request, one answer, and the events as they happen.

Synchronous, because its user is a command line. Where the supervisor is, is a `place`: a home, or a server elsewhere.
Nothing here hangs. That no supervisor is there is known at once, as far as the place can tell. One that can't be
connected to, one that does not answer, and one that stops answering while something takes long meet a time-out. All of
that is `Unreachable`. The socket is a DEALER and not a REQ, so that an answer that comes too late is
told from the next one by its id.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

import msgspec
import zmq

from ...protocol.commands import (
    EVENT_SOCKET,
    REQUEST_SOCKET,
    Answer,
    BadRequest,
    Command,
    Fault,
    Status,
    decode_answer,
    encode_command,
    op_of,
)
from ...protocol.errors import NeverblinkError
from ...protocol.events import Event, decode_event
from ...protocol.wire import UNDECODABLE
from ..sockets.endpoints import Endpoint, InHome, Unreachable
from ..store.state_dir import Home
from ..system.account import account_name
from ..system.text import clean

__all__ = [
    "ANSWER_WITHIN",
    "BadAnswer",
    "Client",
    "CommandFault",
    "EventSubscription",
    "Unfinished",
    "Unreachable",
    "convert",
    "who_asks",
]

T = TypeVar("T")

ANSWER_WITHIN = 5.0
"""Seconds a supervisor has for an answer that it can give at once."""

PROBE_AFTER = 5.0
"""Seconds without an answer after which it is asked whether the supervisor is alive."""
_ALIVE_WITHIN = 10.0
_ALIVE_SHORTLY = 2.0
_LOOK_EVERY_MS = 250
_CONNECT_MS = 1000
_LOOK_FOR_ITS_END = 0.02
"""The end of a process that is not ours rings no bell: its claim on the home is looked at, which costs microseconds."""


class CommandFault(NeverblinkError):
    """The supervisor answered with an error; `fault` is what it said."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Unfinished(Unreachable):
    """The supervisor is alive, and has not done what was asked (`op`) within so many seconds."""

    def __init__(self, where: str, op: str, within: float, pid: int) -> None:
        super().__init__(
            where,
            f"{op} has not ended within {within:g}s. The supervisor is alive and goes on with it: see "
            "`neverblink status`",
            pid,
        )


class BadAnswer(NeverblinkError):
    """The supervisor answered something that this release does not understand."""


class Client:
    """Asks the supervisor at a place. Connects with the first question; to be closed, or used with `with`."""

    def __init__(self, place: Home | Endpoint, who: str = "") -> None:
        self._place: Endpoint = InHome(place) if isinstance(place, Home) else place
        self._who = who or who_asks()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._requests: zmq.Socket[bytes] | None = None
        self._ids = map(str, itertools.count(1))
        self._answers: dict[str, Answer] = {}
        """Those that came while another one was waited for."""

    def ask(
        self,
        command: Command,
        within: float = ANSWER_WITHIN,
        meanwhile: Callable[[dict[str, Any]], None] | None = None,
    ) -> Any:
        """Return the result of `command`; wait `within` seconds for it.

        `meanwhile` gets the status each time that `PROBE_AFTER` seconds have passed without an answer. Raises
        `CommandFault` with the supervisor's fault, `Unreachable` when there is none or no answer from it, and
        `Unfinished` when it answers, and not to this.
        """
        pid = self._place.supervisor()
        until = time.monotonic() + within
        id = self.send(command, within)
        while (left := until - time.monotonic()) > 0:
            if (answer := self._taken(id, min(left, PROBE_AFTER))) is not None:
                return answer.result
            if left > PROBE_AFTER:
                status = self._probe(pid)
                if meanwhile is not None and status is not None:
                    meanwhile(status)
        # What was asked may still be carried out; only the answer is given up.
        silent = self._place.silent(within, pid)
        try:
            self._probe(pid, _ALIVE_SHORTLY)
        except Unreachable:
            raise silent from None
        finally:
            self._forget()
        raise Unfinished(silent.where, op_of(command), within, pid)

    def send(self, command: Command, within: float = ANSWER_WITHIN) -> str:
        """Send `command`; return its id, by which `answer` knows it.

        Raises `Unreachable`, also when the supervisor can't be connected to in so many seconds.
        """
        self._await_connection(min(within, ANSWER_WITHIN))
        id = next(self._ids)
        self._connected().send(
            encode_command(msgspec.structs.replace(command, id=id, who=command.who or self._who))
        )
        return id

    def answer(self, id: str, within: float) -> Any:
        """The result of the command that was sent with this id, once; None when none comes within so many seconds.

        Raises `CommandFault` with the supervisor's fault, and `Unreachable` when it is gone.
        """
        answer = self._taken(id, within)
        return None if answer is None else answer.result

    def events(self) -> EventSubscription:
        """Subscribe to all events from now on. Raises `Unreachable` when there is no supervisor."""
        self._place.supervisor()
        return EventSubscription(self._own_context(), self._place)

    def wait_gone(self, within: float) -> bool:
        """Wait so many seconds for the supervisor to end; return whether it has, as far as that can be known here."""
        until = time.monotonic() + within
        try:
            pid = self._place.supervisor()
            while pid and self._place.supervisor() in (pid, 0):
                if time.monotonic() >= until:
                    return False
                time.sleep(_LOOK_FOR_ITS_END)
        except Unreachable:
            pass
        return True

    def close(self) -> None:
        self._forget()
        self._place.close()
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _taken(self, id: str, within: float) -> Answer | None:
        until = time.monotonic() + within
        while id not in self._answers:
            requests = self._connected()
            left = max(0.0, until - time.monotonic())
            if requests.poll(min(_LOOK_EVERY_MS, int(left * 1000) + 1)):
                answer = _read(requests)
                if answer is not None:
                    self._answers[answer.id] = answer
                continue
            try:
                self._place.supervisor()
            except Unreachable:
                # It answers before it ends: the answer may have come since we looked.
                if requests.poll(_LOOK_EVERY_MS):
                    continue
                raise
            if not left:
                return None
        answer = self._answers.pop(id)
        if answer.error is not None:
            raise CommandFault(answer.error)
        return answer

    def _await_connection(self, within: float) -> None:
        until = time.monotonic() + within
        while True:
            pid = self._place.supervisor()
            left = max(0.0, until - time.monotonic())
            if self._connected().poll(min(_LOOK_EVERY_MS, int(left * 1000) + 1), zmq.POLLOUT):
                return
            if not left:
                raise self._place.silent(within, pid, connected=False)

    def _probe(self, pid: int, within: float = _ALIVE_WITHIN) -> dict[str, Any] | None:
        """What was asked may take as long as it does, but the supervisor must be alive: return its status."""
        id = self.send(Status())
        try:
            answer = self._taken(id, within)
        except CommandFault:
            return None
        if answer is None:
            raise self._place.silent(PROBE_AFTER + within, pid)
        status: Any = answer.result
        return cast("dict[str, Any]", status) if isinstance(status, dict) else None

    def _connected(self) -> zmq.Socket[bytes]:
        if self._requests is None:
            self._requests = self._own_context().socket(zmq.DEALER)
            self._requests.setsockopt(zmq.LINGER, 0)
            # Nothing is queued for a supervisor that can't be reached: it would wait there for ever, in silence.
            self._requests.setsockopt(zmq.IMMEDIATE, 1)
            self._place.connect(self._requests, REQUEST_SOCKET)
        return self._requests

    def _own_context(self) -> zmq.Context[zmq.Socket[bytes]]:
        if self._context is None:
            self._context = zmq.Context[zmq.Socket[bytes]]()
        return self._context

    def _forget(self) -> None:
        if self._requests is not None:
            self._requests.close(0)
            self._requests = None


class EventSubscription:
    """A subscription. It is in force when the constructor returns, as far as the supervisor can be reached."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], place: Endpoint) -> None:
        self._socket = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, 100_000)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        place.connect(self._socket, EVENT_SOCKET)
        # A PUB sends nothing to those whose subscription it has not read. Past the handshake ours is on its way ahead
        # of anything we ask next.
        if monitor.poll(_CONNECT_MS):
            monitor.recv_multipart()
        self._socket.disable_monitor()
        monitor.close(0)

    def next(self, within: float) -> Event | None:
        """The next event, None when there is none within so many seconds."""
        until = time.monotonic() + within
        while True:
            left = max(0.0, until - time.monotonic())
            if not self._socket.poll(int(left * 1000)):
                return None
            try:
                return decode_event(self._socket.recv_multipart()[-1])
            except NeverblinkError:
                # Of a newer supervisor: not knowing one event is no reason to miss the others.
                continue

    def close(self) -> None:
        self._socket.close(0)

    def __enter__(self) -> EventSubscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def convert(answer: Any, kind: type[T]) -> T:
    """The result of a command as what it should be; raise `BadAnswer` when it is something else."""
    try:
        return msgspec.convert(answer, kind)
    except UNDECODABLE as problem:
        raise BadAnswer(
            f"the supervisor's answer is no {kind.__name__} ({problem}): is it of another version than this command?"
        ) from None


def who_asks() -> str:
    """Who is at the keyboard, as in `anna@host`: for locks and the history, not for rights."""
    return f"{account_name(f'uid{os.getuid()}')}@{clean(socket.gethostname())}"


def _read(requests: zmq.Socket[bytes]) -> Answer | None:
    """The answer that has arrived; None for anything else. A bare ROUTER may answer with or without an empty frame."""
    try:
        return decode_answer(requests.recv_multipart()[-1])
    except BadRequest:
        return None
