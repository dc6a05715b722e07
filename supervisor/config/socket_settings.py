"""[sockets] in the configuration: the sockets that the supervisor binds and the bot's workers inherit."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from ...protocol.listening import (
    ACCEPTS,
    BACKLOG,
    MOST_SOCKETS,
    SOCKET_NAME,
    Accept,
    SocketAddress,
    SocketAddressError,
)
from .toml_table import TomlTable, shown

__all__ = ["SocketSettings", "read_sockets"]

_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)
_MOST_BACKLOG = 65535
_PRIVATE = 0o600


class SocketSettings(msgspec.Struct, frozen=True):
    """One listening socket."""

    name: str
    address: SocketAddress
    accept: Accept = "leader"
    backlog: int = BACKLOG
    mode: int = _PRIVATE
    """The permissions of a unix socket's file."""

    @property
    def key(self) -> str:
        """What it shares with the sockets of other releases. Two names for any free port are two ports."""
        address = self.address
        return str(address) if address.is_unix or address.port else f"{address} {self.name}"


def read_sockets(table: TomlTable, project: Path) -> tuple[SocketSettings, ...]:
    """The sockets in `table`. Paths are relative to `project`. Raises `ConfigError`."""
    if len(table.keys) > MOST_SOCKETS:
        raise table.error(
            table.keys[MOST_SOCKETS], f"is one too many: expected at most {MOST_SOCKETS} sockets"
        )
    found = tuple(_read(table, name, project) for name in table.keys)
    known: dict[str, str] = {}
    for settings in found:
        if settings.key in known:
            raise table.error(
                settings.name,
                f"listens on {settings.address}, as {known[settings.key]} does: remove one of the two",
            )
        known[settings.key] = settings.name
    return found


def _read(table: TomlTable, name: str, project: Path) -> SocketSettings:
    if not SOCKET_NAME.fullmatch(name):
        raise table.error(
            name, "is not a valid name: expected a letter, then letters, digits, _ and -, at most 64 together"
        )
    if not table.is_table(name):
        return SocketSettings(name, _address(table, name, table.text(name) or "", project))
    options = table.table(name)
    options.allow("address", "accept", "backlog", "mode")
    text = options.text("address")
    if text is None:
        raise options.error("address", 'is missing: say where to listen, as in address = "127.0.0.1:8085"')
    address = _address(options, "address", text, project)
    return SocketSettings(
        name,
        address,
        _accept(options),
        options.integer("backlog", BACKLOG, 1, _MOST_BACKLOG),
        _mode(options, address),
    )


def _address(table: TomlTable, key: str, text: str, project: Path) -> SocketAddress:
    try:
        return SocketAddress.parse(text, str(project))
    except SocketAddressError as problem:
        raise table.error(key, problem.message) from None


def _accept(table: TomlTable) -> Accept:
    value = table.text("accept") or "leader"
    for known in ACCEPTS:
        if value == known:
            return known
    raise table.error("accept", f"is {shown(value)}: expected one of {', '.join(ACCEPTS)}")


def _mode(table: TomlTable, address: SocketAddress) -> int:
    value = table.text("mode")
    if value is None:
        return _PRIVATE
    if not address.is_unix:
        raise table.error("mode", "is for unix sockets only: remove it")
    if not _MODE.fullmatch(value):
        raise table.error("mode", f'is {shown(value)}: expected permissions in octal, as in "0660"')
    return int(value, 8)
