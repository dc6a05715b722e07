"""The venue: the exchange's requests and answers, over HTTP and websockets.

    GET  /prices                          websocket: every market's price, ten times a second
    GET  /account?account=A&from=N        websocket: the account's fills from number N on (default: those to come), as
                                          {"next": N, "fills": [...]}; the first message comes at once
    POST /orders                          reserve an order: the first half; 409 when the client order id is taken
    POST /orders/ID/confirm               the second half; may be repeated
    GET  /orders?account=A&client_id=C    what became of an order
    GET  /fills?account=A                 all fills, from the ledger
    POST /session/start, /session/end     between them every contract must be bought exactly once
    GET  /verdict?since=NS&until=NS       whether it was; without a span, in the session

An order is two requests, so it can be cut in half. Every fill goes to every connection of its account, some orders are
filled in two parts, and a fill may arrive before the answer to the request that caused it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, Any

import msgspec
from aiohttp import web

from ...protocol.errors import NeverblinkError
from .contracts import TIMEFRAMES, BadContract, contracts_at, parse_contract
from .feeds import Feeds
from .ledger import (
    Direction,
    DuplicateId,
    Filled,
    Ledger,
    Reserved,
    Side,
    UnknownOrder,
)
from .prices import Prices
from .verdict import judge

__all__ = ["NewOrder", "Stream", "Venue"]

PRICES_EVERY = 0.1
"""Seconds between two steps of the prices."""

_LATENCY = (0.001, 0.003)
"""The latency of each half of an order, s."""

_FILL_AFTER = (0.002, 0.025)
"""The time from the confirmation, or the previous partial fill, to a fill, s."""

_IN_TWO_PARTS = 0.4
_STREAM_PACE = 0.01
_PRICES = "prices"


class NewOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /orders`."""

    account: Annotated[str, msgspec.Meta(min_length=1, max_length=36)]
    client_id: Annotated[str, msgspec.Meta(min_length=1, max_length=36, pattern="^[0-9A-Za-z_-]+$")]
    contract: str
    side: Side
    direction: Direction
    size: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Stream(msgspec.Struct, frozen=True):
    """Fills without orders, `per_second` of them, from the account's first connection to the end of the session."""

    per_second: float
    account: str = "demo"


class Unacceptable(NeverblinkError):
    """An order that this market does not accept."""


class Venue:
    """The market behind one web application. `clock` returns wall ns."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        seed: int = 1,
        timeframes: Mapping[str, int] = TIMEFRAMES,
        stream: Stream | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.ledger = ledger
        self._timeframes = timeframes
        self._clock = clock
        self._prices = Prices(seed, timeframes=timeframes)
        self._chance = random.Random(seed)
        self._feeds = Feeds()
        self._stream = stream
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """The venue as a web application; it trades while the application runs."""
        application = web.Application(middlewares=[_say_errors])
        application.add_routes(
            [
                web.get("/prices", self._watch_prices),
                web.get("/account", self._watch_account),
                web.post("/orders", self._reserve),
                web.post("/orders/{order}/confirm", self._confirm),
                web.get("/orders", self._find),
                web.get("/fills", self._list_fills),
                web.post("/session/{moment:start|end}", self._session),
                web.get("/verdict", self._verdict),
            ]
        )
        application.cleanup_ctx.append(self._trading)
        application.on_shutdown.append(self._hang_up)
        return application

    # orders

    async def _reserve(self, request: web.Request) -> web.Response:
        order = msgspec.json.decode(await request.read(), type=NewOrder)
        await self._think()
        at = self._clock()
        try:
            price = self._accept(order, at)
        except (Unacceptable, BadContract) as problem:
            self.ledger.refuse(order.account, order.client_id, problem.message, at)
            raise
        return _answer(
            self._order_json(self.ledger.reserve(at=at, price=price, **msgspec.structs.asdict(order))), 201
        )

    async def _confirm(self, request: web.Request) -> web.Response:
        order = self.ledger.order(request.match_info["order"])
        await self._think()
        if self.ledger.confirm(order.order, self._clock()):
            self._run(self._execute(order))
        return _answer(self._order_json(order))

    async def _find(self, request: web.Request) -> web.Response:
        return _answer(
            self._order_json(self.ledger.of_client(request.query["account"], request.query["client_id"]))
        )

    def _accept(self, order: NewOrder, at: int) -> float:
        """The price of an acceptable order. Raises `Unacceptable` and `BadContract`."""
        contract = parse_contract(order.contract, timeframes=self._timeframes)
        if order.side == "buy" and not contract.opens <= at < contract.closes:
            raise Unacceptable(f"{contract.name} does not trade now: buy it within its period")
        if order.side == "sell" and order.size > (held := self._held(order)):
            raise Unacceptable(
                f"{order.account} holds {held} of {contract.name} {order.direction}, not {order.size}"
            )
        return self._prices.worth(contract, order.direction)

    def _held(self, order: NewOrder) -> int:
        return sum(
            fill.size if fill.side == "buy" else -fill.size
            for fill in self.ledger.fills(order.account)
            if (fill.contract, fill.direction) == (order.contract, order.direction)
        )

    def _order_json(self, order: Reserved) -> dict[str, Any]:
        status = "confirmed" if self.ledger.is_confirmed(order.order) else "reserved"
        return {"order": order.order, "client_id": order.client_id, "price": order.price, "status": status}

    async def _execute(self, order: Reserved) -> None:
        """Fill a confirmed order, sometimes in two parts."""
        parts = [order.size]
        if order.size > 1 and self._chance.random() < _IN_TWO_PARTS:
            first = self._chance.randrange(1, order.size)
            parts = [first, order.size - first]
        for size in parts:
            await asyncio.sleep(self._chance.uniform(*_FILL_AFTER))
            self._fill(order, size)

    def _fill(self, order: Reserved, size: int) -> None:
        fill = self.ledger.fill(order, size, self._clock())
        self._feeds.tell(_account(order.account), self._fills_message(order.account, [fill]))

    async def _think(self) -> None:
        await asyncio.sleep(self._chance.uniform(*_LATENCY))

    # feeds

    async def _watch_prices(self, request: web.Request) -> web.WebSocketResponse:
        return await self._feeds.serve(request, _PRICES, [self._prices_message()])

    async def _watch_account(self, request: web.Request) -> web.WebSocketResponse:
        account = request.query["account"]
        wanted = request.query.get("from")
        past = self.ledger.fills(account, int(wanted)) if wanted else []
        return await self._feeds.serve(request, _account(account), [self._fills_message(account, past)])

    def _fills_message(self, account: str, fills: list[Filled]) -> str:
        return _text({"next": fills[-1].n + 1 if fills else len(self.ledger.fills(account)), "fills": fills})

    async def _walk(self) -> None:
        while True:
            self._prices.step(self._clock())
            self._feeds.tell(_PRICES, self._prices_message())
            await asyncio.sleep(PRICES_EVERY)

    def _prices_message(self) -> str:
        return _text({"at": self._clock(), "prices": self._prices.now})

    async def _make_up_fills(self, stream: Stream) -> None:
        await self._feeds.wanted(_account(stream.account)).wait()
        begun = time.monotonic()
        made = 0
        while not self._ended:
            at = self._clock()
            contracts = list(contracts_at(at, timeframes=self._timeframes))
            while made < (time.monotonic() - begun) * stream.per_second:
                order = Reserved(
                    at=at,
                    order="",
                    account=stream.account,
                    client_id="",
                    contract=contracts[made % len(contracts)].name,
                    side="buy",
                    direction="up",
                    size=1 + made % 5,
                    price=0.5,
                )
                self._fill(order, order.size)
                made += 1
            await asyncio.sleep(_STREAM_PACE)

    # the ledger

    async def _list_fills(self, request: web.Request) -> web.Response:
        return _answer(self.ledger.fills(request.query["account"]))

    async def _session(self, request: web.Request) -> web.Response:
        self._ended = request.match_info["moment"] == "end"
        at = self._clock()
        self.ledger.session("end" if self._ended else "start", at)
        return _answer({"at": at})

    async def _verdict(self, request: web.Request) -> web.Response:
        since, until = (
            int(request.query[name]) if name in request.query else None for name in ("since", "until")
        )
        verdict = judge(self.ledger.records, self._clock(), since, until, timeframes=self._timeframes)
        return _answer({"ok": verdict.ok, **msgspec.to_builtins(verdict)})

    # running

    async def _trading(self, application: web.Application) -> AsyncIterator[None]:
        self._run(self._walk())
        if self._stream is not None:
            self._run(self._make_up_fills(self._stream))
        yield
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hang_up(self, application: web.Application) -> None:
        await self._feeds.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@web.middleware
async def _say_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except DuplicateId as problem:
        return _answer({"error": problem.message, "order": problem.order}, 409)
    except UnknownOrder as problem:
        return _answer({"error": problem.message}, 404)
    except (Unacceptable, BadContract) as problem:
        return _answer({"error": problem.message}, 422)
    except msgspec.MsgspecError as problem:
        return _answer({"error": f"not an order: {problem}"}, 400)
    except KeyError as problem:
        return _answer({"error": f"{request.path} needs ?{problem.args[0]}="}, 400)
    except ValueError as problem:
        return _answer({"error": f"{request.path}: {problem}"}, 400)


def _answer(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _account(name: str) -> str:
    return f"account {name}"
