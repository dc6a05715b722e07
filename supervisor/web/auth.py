"""Authentication and authorisation: the checks before a request is handled.

    host      the Host header has a known name, which prevents DNS rebinding
    origin    changes come from our own page or from a program, which prevents cross-site requests
    token     in the Authorization header, which a browser never sends by itself: there are no cookies to forge
    role      a viewer changes nothing
    rate      the rate limit of each token

No I/O except reading the tokens' file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ..config.addresses import WebSettings
from .errors import RequestRefused
from .limits import Bucket, Buckets
from .operations import Operation
from .tokens import Token, Tokens

__all__ = ["WebAuth"]

_READS = (50.0, 200.0)
_CHANGES = (5.0, 20.0)
_WITHOUT_TOKEN = (5.0, 50.0)
"""Rate per second and burst: of one token, and of all requests without a token together."""

_OURS = ("same-origin", "none")


class WebAuth:
    """Checks requests to the server of `settings` by operation and headers."""

    def __init__(self, settings: WebSettings, tokens: Tokens) -> None:
        self._scheme = "https" if settings.encrypted else "http"
        self._tokens = tokens
        own = {settings.host, *settings.names}
        if settings.loopback:
            own |= {"localhost", "127.0.0.1", "::1"}
        self._hosts = {name.lower() for name in own}
        now = asyncio.get_running_loop().time
        self._now = now
        self._reads = Buckets(*_READS)
        self._changes = Buckets(*_CHANGES)
        self._without_token = Bucket(*_WITHOUT_TOKEN, now())
        self._behind = settings.plain

    def host(self, headers: Mapping[str, str]) -> None:
        """Raise `RequestRefused` for a request to another host name."""
        name = _name_of(headers.get("Host", ""))
        if name not in self._hosts:
            raise RequestRefused(
                "host",
                f"unknown host {name or '(none)'!r}: expected one of {', '.join(sorted(self._hosts))}; "
                "further names go to [web] names",
            )

    def admit(self, operation: Operation, headers: Mapping[str, str]) -> Token | None:
        """The token of the request; None for a public operation. Raises `RequestRefused`."""
        if operation.changes:
            self._origin(headers)
        if operation.role is None:
            return None
        token = self._token(headers)
        if operation.role == "operator" and token.role != "operator":
            raise RequestRefused(
                "role", f"token {token.name!r} has the role {token.role}: this needs an operator's token"
            )
        self._take(self._changes if operation.changes else self._reads, token.name)
        return token

    def still(self, token: Token) -> bool:
        """Whether the token is still valid."""
        return any(known == token for known in self._tokens.list())

    def _origin(self, headers: Mapping[str, str]) -> None:
        site = headers.get("Sec-Fetch-Site")
        origin = headers.get("Origin")
        foreign = site is not None and site not in _OURS
        if origin is not None and not foreign:
            host = headers.get("Host", "").lower()
            # A proxy in front may use https.
            schemes = (self._scheme, "https") if self._behind else (self._scheme,)
            foreign = origin.lower() not in {f"{scheme}://{host}" for scheme in schemes}
        if foreign:
            raise RequestRefused(
                "origin",
                "a page of another origin requests a change: only the bot's own page or a program may",
            )

    def _token(self, headers: Mapping[str, str]) -> Token:
        header = headers.get("Authorization")
        scheme, _, secret = (header or "").partition(" ")
        found = self._tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
        if found is not None:
            return found
        wait = self._without_token.take(self._now())
        if wait:
            raise RequestRefused(
                "too-many", "too many requests without a valid token: retry later", {"wait": wait}
            )
        if not header:
            raise RequestRefused(
                "no-token", "a token is needed: `neverblink token add NAME --role viewer|operator` makes one"
            )
        raise RequestRefused("bad-token", "the token is unknown or was removed")

    def _take(self, buckets: Buckets, name: str) -> None:
        wait = buckets.take(name, self._now())
        if wait:
            raise RequestRefused(
                "too-many", f"token {name!r} sends too many requests: retry in {wait:.1f}s", {"wait": wait}
            )


def _name_of(host: str) -> str:
    """A Host header without its port, which a forwarder may have changed."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
