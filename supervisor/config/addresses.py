"""[listen] and [web] in the configuration: where the supervisor and the web page listen."""

from __future__ import annotations

import ipaddress
import re

import msgspec

__all__ = ["ListenAddress", "WebSettings", "trouble"]

_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>\d{1,3}(?:\.\d{1,3}){3})|(?P<name>localhost)):(?P<port>\d{1,5})",
    re.ASCII,
)
_LAST = 65534
"""The last port for requests: events use the next one."""


class ListenAddress(msgspec.Struct, frozen=True):
    """`host` is an address of this machine. Requests use `port`, events the next port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ListenAddress | None:
        """The address in `ADDRESS:PORT`, with an IPv6 address in brackets; None when `text` is not one."""
        found = _ADDRESS.fullmatch(text)
        if found is None or found["name"] or not 0 < int(found["port"]) <= _LAST:
            return None
        return cls(found["v6"] or found["v4"], int(found["port"]))

    def endpoint(self, port: int) -> str:
        """The ZeroMQ address of a port on the host."""
        return f"tcp://[{self.host}]:{port}" if ":" in self.host else f"tcp://{self.host}:{port}"

    def __str__(self) -> str:
        return self.endpoint(self.port)


class WebSettings(msgspec.Struct, frozen=True):
    """`host` is an address of this machine."""

    host: str
    port: int
    cert: str = ""
    """The files with a certificate and its key, for HTTPS."""
    key: str = ""
    plain: bool = False
    """Allows plain HTTP on other addresses than loopback: a proxy in front encrypts."""
    names: tuple[str, ...] = ()
    """Further host names that browsers may use."""

    @classmethod
    def parse(cls, text: str) -> WebSettings | None:
        """The address in `ADDRESS:PORT`, with an IPv6 address in brackets; None when `text` is not one."""
        found = _ADDRESS.fullmatch(text)
        if found is None or not 0 < int(found["port"]) < 65536:
            return None
        host = found["v6"] or found["v4"] or "127.0.0.1"
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return None
        return cls(host, int(found["port"]))

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def encrypted(self) -> bool:
        return bool(self.cert)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.encrypted else 'http'}://{host}:{self.port}/"


def trouble(settings: WebSettings) -> tuple[str, str] | None:
    """The key that is wrong and why; None when the settings are valid."""
    if bool(settings.cert) != bool(settings.key):
        missing = "key" if settings.cert else "cert"
        return missing, "is missing: HTTPS needs both files, cert and key"
    if not settings.loopback and not settings.encrypted and not settings.plain:
        where = (
            f"{settings.host} is not a loopback address, and tokens would cross the network unencrypted: give cert and "
            "key, or listen on 127.0.0.1 (`ssh -L` reaches that from other machines), or set plain = true when a proxy "
            "in front of it encrypts"
        )
        return "listen", where
    return None
