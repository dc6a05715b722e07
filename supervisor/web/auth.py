"""Who may ask: what is looked at before a request is.

    host      the name it was called by is one of ours, so a page elsewhere can't reach it by a name of its own
    origin    a change comes from our own page, or from no page at all
    token     in the header Authorization, which a browser never sends by itself: no cookies, so nothing to forge
    role      a viewer changes nothing
    rate      limits requests to what this machine's other work allows

No I/O but the tokens' file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ..config.web_settings import WebSettings
from .errors import RequestRefused
from .operations import Operation
from .rate_limits import Bucket, Buckets
from .tokens import Token, Tokens

__all__ = ["WebAuth"]

_LOOKS = (50.0, 200.0)
_CHANGES = (5.0, 20.0)
_STRANGERS = (5.0, 50.0)
"""Turns a second, and at once; of one token, and of all who have none together."""

_OURS = ("same-origin", "none")


class WebAuth:
    """Judges requests to the server of `settings` by their method and headers."""

    def __init__(self, settings: WebSettings, tokens: Tokens) -> None:
        self._scheme = "https" if settings.encrypted else "http"
        self._tokens = tokens
        own = {settings.host, *settings.names}
        if settings.loopback:
            own |= {"localhost", "127.0.0.1", "::1"}
        self._hosts = {name.lower() for name in own}
        now = asyncio.get_running_loop().time
        self._now = now
        self._looks = Buckets(*_LOOKS)
        self._changes = Buckets(*_CHANGES)
        self._strangers = Bucket(*_STRANGERS, now())
        self._behind = settings.plain

    def host(self, headers: Mapping[str, str]) -> None:
        """Raise `RequestRefused` for a request to another host name."""
        name = _name_of(headers.get("Host", ""))
        if name not in self._hosts:
            raise RequestRefused(
                "host",
                f"this is not {name or 'a host without a name'!r}: to be called by other names than "
                f"{', '.join(sorted(self._hosts))}, list them in [web] names",
            )

    def admit(self, operation: Operation, headers: Mapping[str, str]) -> Token | None:
        """Who asks for this; None where everybody may. Raises `RequestRefused`."""
        if operation.changes:
            self._origin(headers)
        if operation.role is None:
            return None
        token = self._token(headers)
        if operation.role == "operator" and token.role != "operator":
            raise RequestRefused(
                "role", f"token {token.name!r} is a {token.role}'s: this takes an operator's"
            )
        self._take(self._changes if operation.changes else self._looks, token.name)
        return token

    def still(self, token: Token) -> bool:
        """Whether the token is as good as it was."""
        return any(one == token for one in self._tokens.list())

    def _origin(self, headers: Mapping[str, str]) -> None:
        site = headers.get("Sec-Fetch-Site")
        origin = headers.get("Origin")
        foreign = site is not None and site not in _OURS
        if origin is not None and not foreign:
            host = headers.get("Host", "").lower()
            # What encrypts in front of us may have called itself https.
            schemes = (self._scheme, "https") if self._behind else (self._scheme,)
            foreign = origin.lower() not in {f"{scheme}://{host}" for scheme in schemes}
        if foreign:
            raise RequestRefused(
                "origin", "a page of another origin asks for a change: only our own page may, or a program"
            )

    def _token(self, headers: Mapping[str, str]) -> Token:
        said = headers.get("Authorization")
        scheme, _, secret = (said or "").partition(" ")
        found = self._tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
        if found is not None:
            return found
        wait = self._strangers.take(self._now())
        if wait:
            raise RequestRefused(
                "too-many", "too many requests without a valid token: wait a little", {"wait": wait}
            )
        if not said:
            raise RequestRefused(
                "no-token", "a token is needed: `neverblink token add NAME --role viewer|operator` makes one"
            )
        raise RequestRefused("bad-token", "that token is not known here, or not any more")

    def _take(self, buckets: Buckets, name: str) -> None:
        wait = buckets.take(name, self._now())
        if wait:
            raise RequestRefused(
                "too-many", f"token {name!r} asks too often: again in {wait:.1f}s", {"wait": wait}
            )


def _name_of(host: str) -> str:
    """A Host header without its port: who forwards one may do so from another."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
