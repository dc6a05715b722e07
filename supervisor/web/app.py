"""The application: each request is checked, answered and counted.

Every error is answered as JSON with a code and a sentence, with the security headers for browsers, and every refusal is
in the access log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from ...protocol import commands
from ...protocol.commands import Command, field_hint
from ...protocol.errors import NeverblinkError
from ...protocol.text import DuplicateKey, refuse_duplicates
from ...protocol.wire import UNDECODABLE, reason
from .access_log import AccessLog
from .auth import WebAuth
from .errors import RequestRefused
from .limits import ConnectionLimits
from .metrics import Metrics
from .operations import OPERATIONS, Operation
from .pages import Part, parts
from .tokens import Token

__all__ = ["LARGEST_BODY", "LIMITS", "Answering", "application", "json_answer"]

Answering = Callable[[web.Request, Any, Token | None], Awaitable[web.StreamResponse]]
"""Answers a request with its query and token."""

LARGEST_BODY = 64 * 1024
_BODY_WITHIN = 10.0
_ANSWER_WITHIN = 30.0
_ENDED_WITHIN = 1800.0
"""Seconds for a command, and for a command that waits for the end of a deployment."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Server": "neverblink",
}


def application(
    auth: WebAuth,
    answering: Mapping[str, Answering],
    ask: Callable[[Command, float], Awaitable[Any]],
    metrics: Metrics,
    access_log: AccessLog,
    *,
    encrypted: bool,
) -> web.Application:
    """All routes. `answering` has the handler of each GET path; `ask` sends a command to the supervisor."""
    app = web.Application(middlewares=[_Middleware(metrics, access_log, auth)], client_max_size=LARGEST_BODY)
    for operation in OPERATIONS:
        if operation.changes:
            app.router.add_post(operation.path, _command(operation, auth, ask, access_log))
        else:
            app.router.add_get(operation.path, _look(operation, auth, answering[operation.path]))
    for path, part in parts().items():
        app.router.add_get(path, _page(part))
    secure = {**_HEADERS, **({"Strict-Transport-Security": "max-age=31536000"} if encrypted else {})}

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(secure)
        response.headers.setdefault("Cache-Control", "no-store")

    app.on_response_prepare.append(add_headers)
    return app


LIMITS: web.AppKey[ConnectionLimits] = web.AppKey("limits", ConnectionLimits)


def json_answer(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value, enc_hook=str), content_type="application/json")


def _wanted(request: web.Request, kind: type[Any]) -> Any:
    """The query as `kind`. Raises `RequestRefused`."""
    query: dict[str, str] = {}
    for key, value in request.query.items():
        if key in query:
            raise RequestRefused("bad-input", f"{key!r} is in the query twice")
        query[key] = value
    try:
        return msgspec.convert(query, kind, strict=False)
    except UNDECODABLE as problem:
        hint = field_hint(str(problem), kind.__struct_fields__)
        raise RequestRefused("bad-input", f"the query can't be used: {reason(problem)}{hint}") from None


class _Middleware:
    """The outermost middleware: limits connections, turns errors into responses, and counts responses."""

    # aiohttp requires this attribute on a middleware.
    __middleware_version__ = 1

    def __init__(self, metrics: Metrics, access_log: AccessLog, auth: WebAuth) -> None:
        self._metrics = metrics
        self._access_log = access_log
        self._auth = auth

    async def __call__(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        limits = request.app.get(LIMITS)
        if limits is None:
            return await self._answer(request, handler)
        limits.begins(request.protocol)
        try:
            return await self._answer(request, handler)
        finally:
            limits.ends(request.protocol, trusted=bool(request.get("who")))

    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            self._auth.host(request.headers)
            response = await handler(request)
        except RequestRefused as refused:
            response = self._refuse(request, refused)
        except web.HTTPException as problem:
            response = self._refuse(request, _of_http(problem, request))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except NeverblinkError as problem:
            response = self._refuse(request, RequestRefused("failed", problem.message))
        except Exception as bug:
            self._access_log.say(f"internal error at {request.method} {request.path}: {bug!r}")
            response = web.Response(
                status=500,
                body=RequestRefused(
                    "fault", "internal error of the web process; the bot is not affected"
                ).body(),
                content_type="application/json",
            )
        self._metrics.responded(response.status)
        return response

    def _refuse(self, request: web.Request, refused: RequestRefused) -> web.Response:
        self._metrics.refused(refused.code)
        who = request.get("who") or request.remote or "unknown client"
        self._access_log.say(
            f"refused {who}: {request.method} {_shown(request)}: {refused.code}: {refused.message}"
        )
        headers: dict[str, str] = {}
        if refused.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="neverblink"'
        if refused.status == 429:
            headers["Retry-After"] = str(max(1, round(refused.facts.get("wait", 1))))
        return web.Response(
            status=refused.status, body=refused.body(), content_type="application/json", headers=headers
        )


def _shown(request: web.Request) -> str:
    """The path and the names in the query, without values: scripts put tokens there."""
    names = "&".join(f"{name}=…" for name in request.query)
    return f"{request.path}{'?' if names else ''}{names}"[:200]


def _look(
    operation: Operation, auth: WebAuth, answer: Answering
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def look(request: web.Request) -> web.StreamResponse:
        token = auth.admit(operation, request.headers)
        request["who"] = token.name if token is not None else ""
        return await answer(request, _wanted(request, operation.query), token)

    return look


def _command(
    operation: Operation,
    auth: WebAuth,
    ask: Callable[[Command, float], Awaitable[Any]],
    access_log: AccessLog,
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    kind: Any = operation.command
    decoder = msgspec.json.Decoder(kind)

    async def carry_out(request: web.Request) -> web.StreamResponse:
        token = auth.admit(operation, request.headers)
        assert token is not None
        request["who"] = token.name
        if request.content_type != "application/json":
            raise RequestRefused("not-json", "the body must be JSON, with Content-Type: application/json")
        try:
            async with asyncio.timeout(_BODY_WITHIN):
                body = await request.read()
        except TimeoutError:
            raise RequestRefused("bad-request", f"the body did not arrive within {_BODY_WITHIN:g}s") from None
        try:
            command: Any = decoder.decode(body or b"{}")
            refuse_duplicates(body)
        except DuplicateKey as problem:
            raise RequestRefused("bad-request", f"{problem}: give it once") from None
        except RecursionError:
            raise RequestRefused("bad-request", "nested too deeply") from None
        except UNDECODABLE as problem:
            hint = field_hint(str(problem), (name for name in kind.__struct_fields__ if name != "id"))
            raise RequestRefused(
                "bad-request", f"the body is not a valid {kind.__name__.lower()}: {reason(problem)}{hint}"
            ) from None
        # `who` in the body is not verified; the token is.
        who = f"{command.who} (token {token.name})" if command.who else f"{token.name} (token)"
        command = msgspec.structs.replace(command, who=who)
        waits = isinstance(command, commands.Deploy | commands.Rollback) and command.wait
        result = await ask(command, _ENDED_WITHIN if waits else _ANSWER_WITHIN)
        access_log.say(f"done for {token.name}: {operation.name}")
        return json_answer(result)

    return carry_out


def _page(part: Part) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    headers = {"Content-Type": part.type, "ETag": part.tag, "Cache-Control": "no-cache"}

    async def page(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == part.tag:
            return web.Response(status=304, headers={"ETag": part.tag, "Cache-Control": "no-cache"})
        return web.Response(body=part.body, headers=headers)

    return page


def _of_http(problem: web.HTTPException, request: web.Request) -> RequestRefused:
    match problem.status:
        case 404:
            return RequestRefused("not-found", f"{request.path[:200]} does not exist: see /docs")
        case 405:
            return RequestRefused("method", f"{request.path[:200]} does not support {request.method[:20]}")
        case 413:
            return RequestRefused("too-large", f"the body is larger than {LARGEST_BODY} bytes")
        case _:
            return RequestRefused("bad-request", problem.reason)
