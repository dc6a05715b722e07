"""The limits on connections to a TCP port: in all, and from one address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from neverblink.supervisor.sockets.connections import HANDSHAKE_MS, Connections

from ...ports import HOST


class Port:
    """A port on which a test accepts, as libzmq does."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held
        self._listening = held.enter_context(socket.create_server((HOST, 0)))
        self.now = 100.0
        self.log: list[str] = []
        self.number = self._listening.getsockname()[1]
        self.limits = Connections(self.number, self.log.append, lambda: self.now, most=5, most_from_one=3)

    def accepts(self, address: str = HOST) -> socket.socket:
        """A client from `address` is accepted; return its end."""
        client = self._held.enter_context(socket.socket())
        client.bind((address, 0))
        client.connect((HOST, self.number))
        ours, _ = self._listening.accept()
        self._held.enter_context(ours)
        self.limits.came(ours.fileno())
        return client


def ended(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.fixture
def port() -> Iterator[Port]:
    with ExitStack() as held:
        yield Port(held)


def test_the_oldest_unproven_connection_of_an_address_is_closed_above_its_limit(port: Port) -> None:
    clients = [port.accepts() for _ in range(4)]
    assert [ended(client) for client in clients] == [True, False, False, False]
    assert port.log == [
        f"too many connections to port {port.number}: closed a connection from {HOST} that had proven no key (1 so far)"
    ]


def test_a_connection_older_than_a_handshake_is_kept(port: Port) -> None:
    old = port.accepts()
    port.now += HANDSHAKE_MS / 1000 + 1
    young = [port.accepts() for _ in range(3)]
    assert [ended(client) for client in (old, *young)] == [False, True, False, False]


def test_the_newest_connection_is_closed_when_all_are_proven(port: Port) -> None:
    old = [port.accepts() for _ in range(3)]
    port.now += HANDSHAKE_MS / 1000 + 1
    assert [ended(client) for client in (*old, port.accepts())] == [False, False, False, True]


def test_the_total_number_of_connections_is_bounded(port: Port) -> None:
    clients = [port.accepts(f"127.0.0.{number}") for number in range(1, 7)]
    assert [ended(client) for client in clients] == [True, False, False, False, False, False]
    assert len(port.limits) == 5


def test_a_reused_descriptor_is_not_closed(port: Port) -> None:
    with socket.socket() as other:
        port.limits.came(other.fileno())
        assert len(port.limits) == 0
