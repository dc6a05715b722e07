"""The synchronous client of a supervisor: one request, one answer, and the events as they happen.

The supervisor is found through an endpoint: a home, or a remote server. Every call has a time limit. A supervisor that
does not run is noticed at once, as far as the endpoint can know. One that cannot be connected to, does not answer, or
stops answering during a long command meets a time-out. All of these raise `Unreachable`.
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
    Answer,
    Command,
    Fault,
    Status,
    op_of,
)
from ...protocol.errors import NeverblinkError
from ...protocol.events import Event, decode_event
from ...protocol.wire import UNDECODABLE
from ..sockets.supervisor_connection import (
    Endpoint,
    InHome,
    Unreachable,
    decode_reply,
    encode_request,
    event_socket,
    request_socket,
)
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
"""The time limit for commands that are answered at once, seconds."""

PROBE_AFTER = 5.0
"""After so many seconds without an answer the client checks that the supervisor is alive."""
_ALIVE_WITHIN = 10.0
_ALIVE_SHORTLY = 2.0
_LOOK_EVERY_MS = 250
_CONNECT_MS = 1000
_EVENT_QUEUE = 100_000
_LOOK_FOR_ITS_END = 0.02
"""The end of another process is not signalled: the client polls its lock on the home, which costs microseconds."""


class CommandFault(NeverblinkError):
    """The supervisor answered with an error, `fault`."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Unfinished(Unreachable):
    """The supervisor is alive, but has not finished the command `op` in time."""

    def __init__(self, where: str, op: str, within: float, pid: int) -> None:
        super().__init__(
            where,
            f"{op} has not ended within {within:g}s. The supervisor is alive and goes on with it: see "
            "`neverblink status`",
            pid,
        )


class BadAnswer(NeverblinkError):
    """The supervisor's answer does not decode: it may be of another version."""


class Client:
    """Sends commands to the supervisor at an endpoint. Connects with the first one. Close it, or use it with `with`."""

    def __init__(self, endpoint: Home | Endpoint, who: str = "") -> None:
        self._endpoint: Endpoint = InHome(endpoint) if isinstance(endpoint, Home) else endpoint
        self._who = who or who_asks()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._requests: zmq.Socket[bytes] | None = None
        self._ids = map(str, itertools.count(1))
        self._answers: dict[str, Answer] = {}
        """Answers that arrived while waiting for another one."""

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
        pid = self._endpoint.supervisor()
        until = time.monotonic() + within
        id = self.send(command, within)
        while (left := until - time.monotonic()) > 0:
            if (answer := self._taken(id, min(left, PROBE_AFTER))) is not None:
                return answer.result
            if left > PROBE_AFTER:
                try:
                    status = self._probe(pid)
                except Unreachable:
                    # It may have answered and ended meanwhile.
                    if (answer := self._taken(id, 0.0)) is not None:
                        return answer.result
                    raise
                if meanwhile is not None and status is not None:
                    meanwhile(status)
        # The command may still be carried out; only its answer is given up.
        silent = self._endpoint.silent(within, pid)
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
        self._connected().send(encode_request(command, id, self._who))
        return id

    def answer(self, id: str, within: float) -> Any:
        """The result of the command that was sent with this id, once; None when none comes within so many seconds.

        Raises `CommandFault` with the supervisor's fault, and `Unreachable` when it is gone.
        """
        answer = self._taken(id, within)
        return None if answer is None else answer.result

    def events(self) -> EventSubscription:
        """Subscribe to all events from now on. Raises `Unreachable` when there is no supervisor."""
        self._endpoint.supervisor()
        return EventSubscription(self._own_context(), self._endpoint)

    def wait_gone(self, within: float) -> bool:
        """Wait so many seconds for the supervisor to end; return whether it has, as far as that can be known here."""
        until = time.monotonic() + within
        try:
            pid = self._endpoint.supervisor()
            while pid and self._endpoint.supervisor() in (pid, 0):
                if time.monotonic() >= until:
                    return False
                time.sleep(_LOOK_FOR_ITS_END)
        except Unreachable:
            pass
        return True

    def close(self) -> None:
        self._forget()
        self._endpoint.close()
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
                answer = decode_reply(requests.recv_multipart())
                if answer is not None:
                    self._answers[answer.id] = answer
                continue
            try:
                self._endpoint.supervisor()
            except Unreachable:
                # It answers before it ends: the answer may have arrived meanwhile.
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
            pid = self._endpoint.supervisor()
            left = max(0.0, until - time.monotonic())
            if self._connected().poll(min(_LOOK_EVERY_MS, int(left * 1000) + 1), zmq.POLLOUT):
                return
            if not left:
                raise self._endpoint.silent(within, pid, connected=False)

    def _probe(self, pid: int, within: float = _ALIVE_WITHIN) -> dict[str, Any] | None:
        """Check during a long command that the supervisor is alive; return its status."""
        id = self.send(Status())
        try:
            answer = self._taken(id, within)
        except CommandFault:
            return None
        if answer is None:
            raise self._endpoint.silent(PROBE_AFTER + within, pid)
        status: Any = answer.result
        return cast("dict[str, Any]", status) if isinstance(status, dict) else None

    def _connected(self) -> zmq.Socket[bytes]:
        if self._requests is None:
            # Nothing is queued for an unreachable supervisor: it would wait there for ever.
            self._requests = request_socket(self._own_context(), self._endpoint, immediate=True)
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
    """A subscription to events. Active when the constructor returns, if the supervisor can be reached."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint) -> None:
        self._socket = event_socket(context, endpoint, _EVENT_QUEUE, handshake_within_ms=_CONNECT_MS)

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
                # From a newer supervisor: an unknown event is skipped.
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
    """The result of a command as `kind`; raises `BadAnswer` when it does not decode."""
    try:
        return msgspec.convert(answer, kind)
    except UNDECODABLE as problem:
        raise BadAnswer(
            f"the supervisor's answer is not a {kind.__name__} ({problem}): is it of another version than this command?"
        ) from None


def who_asks() -> str:
    """The user and host, as in `anna@host`: for locks and the history, not for access control."""
    return f"{account_name(f'uid{os.getuid()}')}@{clean(socket.gethostname())}"
