"""[web] in the configuration: the address, certificate and names of the web page."""

from __future__ import annotations

import ipaddress
import re

import msgspec

__all__ = ["WebSettings", "trouble"]

_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>\d{1,3}(?:\.\d{1,3}){3})|(?P<name>localhost)):(?P<port>\d{1,5})",
    re.ASCII,
)


class WebSettings(msgspec.Struct, frozen=True):
    """`host` is an address of this machine's."""

    host: str
    port: int
    cert: str = ""
    """Files with a certificate and its key: with them it speaks HTTPS."""
    key: str = ""
    plain: bool = False
    """Plain HTTP is meant, also beyond this machine: something in front of it encrypts."""
    names: tuple[str, ...] = ()
    """By which names, beside the address, browsers may call it."""

    @classmethod
    def parse(cls, text: str) -> WebSettings | None:
        """The address in `ADDRESS:PORT`, where an IPv6 address is in brackets; None when it is none."""
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
    """What keeps these from being used: the key, and what is wrong with it. None when nothing does."""
    if bool(settings.cert) != bool(settings.key):
        missing = "key" if settings.cert else "cert"
        return missing, "is missing: HTTPS needs both files, cert and key"
    if not settings.loopback and not settings.encrypted and not settings.plain:
        where = (
            f"{settings.host} is beyond this machine, and tokens would cross the network in the clear: give cert and "
            "key, or listen on 127.0.0.1 (`ssh -L` reaches that from elsewhere), or write plain = true when something "
            "in front of it encrypts"
        )
        return "listen", where
    return None
