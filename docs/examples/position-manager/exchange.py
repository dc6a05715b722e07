"""The exchange's HTTP interface. Every call blocks: those that only read run in threads of their own."""

import json
import os
import urllib.error
import urllib.request
from typing import Any

import msgspec

from book import Account, Fill

TIMEOUT = 2.0


class Rejected(Exception):
    """The exchange refused an order."""


class Order(msgspec.Struct, frozen=True):
    client_id: str
    position: str
    price: int


class Exchange:
    """Raises `OSError` when the exchange cannot be reached."""

    def __init__(self, url: str = "") -> None:
        self._url = url or os.environ.get("MARKET_URL", "http://127.0.0.1:8791")

    def prices(self) -> dict[str, int]:
        return msgspec.json.decode(self._get("/prices"), type=dict[str, int])

    def fills(self, after: int) -> list[Fill]:
        """The account's fills after number `after`; waits up to a second for the next one."""
        return msgspec.json.decode(self._get(f"/fills?after={after}"), type=list[Fill])

    def account(self) -> Account:
        return msgspec.json.decode(self._get("/account"), type=Account)

    def sell(self, client_id: str, position: str) -> Order:
        """Close a position at the market's price. Raises `Rejected`."""
        body = json.dumps({"client_id": client_id, "position": position}).encode()
        try:
            return msgspec.json.decode(self._get("/orders", body), type=Order)
        except urllib.error.HTTPError as problem:
            raise Rejected(problem.read().decode()) from None

    def order(self, client_id: str) -> Order | None:
        """The order with this id, if it reached the exchange."""
        try:
            return msgspec.json.decode(self._get(f"/orders/{client_id}"), type=Order)
        except urllib.error.HTTPError as problem:
            if problem.code == 404:
                return None
            raise

    def _get(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(self._url + path, body, TIMEOUT) as answer:
            return answer.read()
