"""[sockets] in the configuration: what is understood, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.protocol.listening import BACKLOG, SocketAddress
from neverblink.supervisor.config.config import ConfigError, load
from neverblink.supervisor.config.socket_settings import SocketSettings


def loaded(tmp_path: Path, sockets: str) -> tuple[SocketSettings, ...]:
    (tmp_path / "neverblink.toml").write_text(f'name = "fox"\nbot = "bot:Fox"\n[sockets]\n{sockets}\n')
    return load(tmp_path).sockets


def test_addresses_of_all_kinds_are_understood(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        'a = "127.0.0.1:8085"\nb = "[::1]:0"\nc = "localhost:81"\nd = "unix:run/api.sock"\n'
        'e = {address = "0.0.0.0:82", accept = "all", backlog = 16}\n'
        'f = {address = "unix:/run/f.sock", mode = "0660"}',
    )
    assert [str(each.address) for each in found] == [
        "127.0.0.1:8085",
        "[::1]:0",
        "127.0.0.1:81",
        f"unix:{tmp_path}/run/api.sock",
        "0.0.0.0:82",
        "unix:/run/f.sock",
    ]
    assert (found[0].accept, found[0].backlog, found[0].mode) == ("leader", BACKLOG, 0o600)
    assert (found[4].accept, found[4].backlog) == ("all", 16)
    assert found[5].mode == 0o660


@pytest.mark.parametrize(
    ("sockets", "problem"),
    [
        ("api = 8085", "sockets.api: is 8085: expected a text in quotes"),
        ('api = "8085"', 'sockets.api: is "8085": expected an address and a port'),
        ('api = ":8085"', "expected an address and a port"),
        ('api = "example.com:80"', "example.com is not an IP address of this machine"),
        ('api = "127.0.0.1:70000"', "expected a port from 0 to 65535"),
        ('api = "unix:"', "expected the path of a socket"),
        (f'api = "unix:/{"x" * 107}"', "at most 107 bytes, and this one has 108"),
        ("api = {}", "sockets.api.address: is missing"),
        ('api = {adress = "127.0.0.1:80"}', 'did you mean "address"?'),
        ('api = {address = "127.0.0.1:80", accept = "some"}', "expected one of leader, all"),
        ('api = {address = "127.0.0.1:80", mode = "0660"}', "is for unix sockets only"),
        ('api = {address = "unix:a", mode = "rw"}', "expected permissions in octal"),
        ('api = {address = "127.0.0.1:80", backlog = 0}', "from 1 to 65535"),
        ('"a b" = "127.0.0.1:80"', "is not a valid name"),
        ('a = "127.0.0.1:80"\nb = "127.0.0.1:80"', "sockets.b: listens on 127.0.0.1:80, as a does"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, sockets: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, sockets)
    assert problem in raised.value.message


def test_two_names_for_any_free_port_are_two_ports(tmp_path: Path) -> None:
    one, other = loaded(tmp_path, 'a = "127.0.0.1:0"\nb = "127.0.0.1:0"')
    assert one.key != other.key
    assert SocketAddress("127.0.0.1", 0) == one.address == other.address
