"""The supervisor's side of the bot's listening sockets: binding, closing, and taking them back from living workers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from neverblink.protocol.listening import InheritedSocket, LentSockets, SocketAddress, encode_lent
from neverblink.supervisor.config.socket_settings import SocketSettings
from neverblink.supervisor.workers.listening_sockets import ListenError, ListeningSockets, listen

from ...ports import HOST, free_port


@pytest.fixture
def sockets() -> Iterator[ListeningSockets]:
    made = ListeningSockets(lambda _: None)
    yield made
    made.close(remove=True)


def at(text: str, name: str = "api", mode: int = 0o600) -> SocketSettings:
    return SocketSettings(name, SocketAddress.parse(text, "/"), mode=mode)


def port_of(inherited: InheritedSocket) -> int:
    return int(inherited.address.rpartition(":")[2])


def is_open(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_workers_get_the_same_socket_also_for_a_free_port(sockets: ListeningSockets) -> None:
    [first] = sockets.provide("w1", [at(f"{HOST}:0")])
    [second] = sockets.provide("w2", [at(f"{HOST}:0")])
    assert first == second
    [other] = sockets.provide("w3", [at(f"{HOST}:0", "metrics")])
    assert port_of(other) != port_of(first)


def test_a_socket_is_closed_when_no_living_worker_has_it_and_another_leads(sockets: ListeningSockets) -> None:
    [old] = sockets.provide("w1", [at(f"{HOST}:0", "old")])
    [new] = sockets.provide("w2", [at(f"{HOST}:0", "new")])
    sockets.ended("w1", led=False)
    assert is_open(port_of(old))
    sockets.ended("w3", led=True)
    assert not is_open(port_of(old))
    assert is_open(port_of(new))
    assert [seen.name for seen in sockets.seen] == ["new"]


def test_the_sockets_of_a_bot_whose_only_worker_has_died_stay_open(sockets: ListeningSockets) -> None:
    [only] = sockets.provide("w1", [at(f"{HOST}:0")])
    sockets.ended("w1", led=False)
    assert is_open(port_of(only))
    [again] = sockets.provide("w2", [at(f"{HOST}:0")])
    assert again.address == only.address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("203.0.113.7:8085", "not an address of this machine"),
        ("unix:/nosuch/directory/api.sock", "its directory is not there"),
        ("unix:/etc/passwd", "which is not a socket"),
    ],
)
def test_an_address_that_cannot_be_bound_is_named_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(ListenError, match=problem):
        listen(at(text))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on every port")
def test_a_port_that_needs_a_privilege_says_so() -> None:
    with pytest.raises(ListenError, match="below 1024 needs a privilege"):
        listen(at(f"{HOST}:1"))


@pytest.mark.parametrize("host", [HOST, "[::1]"])
def test_the_holder_of_an_address_is_named(host: str) -> None:
    with listen(at(f"{host}:0")) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=f"in use by pid {os.getpid()} "):
            listen(at(f"{host}:{port}"))


def test_the_holder_of_a_unix_socket_keeps_it_and_a_stale_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with listen(at(f"unix:{path}")):
        with pytest.raises(ListenError, match="in use"):
            listen(at(f"unix:{path}"))
        assert path.is_socket()
    with listen(at(f"unix:{path}", mode=0o640)):
        assert path.stat().st_mode & 0o777 == 0o640


def test_a_unix_socket_whose_file_was_removed_is_bound_again(tmp_path: Path) -> None:
    sockets = ListeningSockets(lambda _: None)
    settings = at(f"unix:{tmp_path / 'api.sock'}")
    sockets.provide("w1", [settings])
    (tmp_path / "api.sock").unlink()
    sockets.provide("w2", [settings])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "api.sock"))
    sockets.close(remove=True)
    assert not (tmp_path / "api.sock").exists()


def test_the_file_of_a_unix_socket_stays_while_workers_live_on(tmp_path: Path) -> None:
    sockets = ListeningSockets(lambda _: None)
    sockets.provide("w1", [at(f"unix:{tmp_path / 'api.sock'}")])
    sockets.close(remove=False)
    assert (tmp_path / "api.sock").is_socket()


def test_a_socket_that_was_shut_down_listens_again(sockets: ListeningSockets) -> None:
    settings = at(f"{HOST}:{free_port()}")
    [inherited] = sockets.provide("w1", [settings])
    with socket.socket(fileno=os.dup(inherited.descriptor)) as shared:
        shared.shutdown(socket.SHUT_RDWR)
    assert not is_open(port_of(inherited))
    sockets.provide("w2", [settings])
    assert is_open(port_of(inherited))


def lend(path: Path, worker: str, inherited: InheritedSocket, descriptor: int, data: bytes = b"") -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect(str(path))
        socket.send_fds(out, [data or encode_lent(LentSockets(worker, (inherited,)))], [descriptor])


def test_a_new_supervisor_takes_the_sockets_of_living_workers_and_binds_none(tmp_path: Path) -> None:
    async def run() -> None:
        earlier, later = ListeningSockets(lambda _: None), ListeningSockets(lambda _: None)
        settings = at(f"{HOST}:0")
        [held] = earlier.provide("w1", [settings])
        kept = os.dup(held.descriptor)
        earlier.close(remove=False)
        later.open(str(tmp_path / "listening.sock"))
        lend(tmp_path / "listening.sock", "w1", held, kept)
        lend(tmp_path / "listening.sock", "w2", held, kept)
        lend(tmp_path / "listening.sock", "w3", held, kept, b"nonsense")
        os.close(kept)
        [taken] = later.provide("w4", [settings])
        assert taken.address == held.address
        assert not os.get_inheritable(taken.descriptor)
        # Workers that have lent it count as users of it.
        later.ended("w4", led=True)
        later.ended("w1", led=True)
        assert is_open(port_of(held))
        later.ended("w2", led=True)
        assert not is_open(port_of(held))
        later.close(remove=True)

    asyncio.run(run())
