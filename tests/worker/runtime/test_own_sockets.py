"""The sockets of a bot that runs alone, and of a check."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from neverblink.worker.runtime.declaration import BotError
from neverblink.worker.runtime.own_sockets import loopback_sockets, own_sockets


def configured(tmp_path: Path, sockets: str, *, pyproject: bool = False) -> Path:
    if pyproject:
        (tmp_path / "pyproject.toml").write_text(f"[tool.neverblink.sockets]\n{sockets}\n")
    else:
        (tmp_path / "neverblink.toml").write_text(f'bot = "bot:Fox"\n[sockets]\n{sockets}\n')
    return tmp_path


@pytest.mark.parametrize("pyproject", [False, True])
def test_a_bot_alone_binds_the_addresses_of_its_configuration(tmp_path: Path, pyproject: bool) -> None:
    place = configured(
        tmp_path, 'api = "127.0.0.1:0"\nlocal = { address = "unix:api.sock" }\nbad = 3', pyproject=pyproject
    )
    sockets = own_sockets(place)
    assert list(sockets) == ["api", "local"]
    host, port = sockets["api"].getsockname()
    assert sockets.address("api") == f"{host}:{port}"
    with socket.create_connection((host, port), 5):
        sockets["api"].accept()[0].close()
    assert sockets["local"].getsockname() == str(tmp_path / "api.sock")
    sockets.close()


def test_an_address_in_use_is_one_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = configured(tmp_path, f'api = "127.0.0.1:{other.getsockname()[1]}"')
        with pytest.raises(BotError, match=r"socket api can't listen on .* does the bot run already"):
            own_sockets(place)


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    place = configured(tmp_path, 'api = "unix:api.sock"')
    own_sockets(place).close()
    own_sockets(place).close()


def test_without_a_configuration_there_are_none(tmp_path: Path) -> None:
    assert len(own_sockets(tmp_path)) == 0


def test_a_check_listens_on_free_ports_of_loopback_only(tmp_path: Path) -> None:
    sockets = loopback_sockets(configured(tmp_path, 'api = "0.0.0.0:80"'))
    assert sockets["api"].getsockname()[0] == "127.0.0.1"
    assert sockets["api"].getsockname()[1] != 80
    sockets.close()
