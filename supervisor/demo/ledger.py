"""The exchange's ledger: records in order, in memory and as JSON lines in a file.

Records are only appended. An order's state and the client order ids in use follow from them; so does the verdict, which
can therefore be computed from the file after the exchange has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal

import msgspec

from ...protocol.errors import NeverblinkError

__all__ = [
    "Confirmed",
    "DemoSession",
    "Direction",
    "DuplicateId",
    "Filled",
    "Ledger",
    "OrderRefused",
    "Record",
    "Repeated",
    "Reserved",
    "Side",
    "UnknownOrder",
    "read_ledger",
]

Side = Literal["buy", "sell"]
Direction = Literal["up", "down"]


class _Record(msgspec.Struct, frozen=True, tag_field="record", kw_only=True):
    at: int
    """Wall clock, ns."""


class DemoSession(_Record, frozen=True, tag="session"):
    """The session, in which every contract is to be traded, began or ended."""

    moment: Literal["start", "end"]


class Reserved(_Record, frozen=True, tag="reserved"):
    """The first half of an order: it has an id and a price, and must be confirmed."""

    order: str
    account: str
    client_id: str
    contract: str
    side: Side
    direction: Direction
    size: int
    price: float


class Confirmed(_Record, frozen=True, tag="confirmed"):
    """The second half: the order is valid and will be filled."""

    order: str


class Filled(_Record, frozen=True, tag="filled"):
    """A part of an order was executed. `n` counts an account's fills from 0, without gaps."""

    fill: str
    n: int
    account: str
    order: str
    contract: str
    side: Side
    direction: Direction
    size: int
    price: float


class Repeated(_Record, frozen=True, tag="repeated"):
    """A client order id was used a second time and refused; `order` is the order that has it."""

    account: str
    client_id: str
    order: str


class OrderRefused(_Record, frozen=True, tag="refused"):
    """An order that was refused for another reason."""

    account: str
    client_id: str
    reason: str


Record = DemoSession | Reserved | Confirmed | Filled | Repeated | OrderRefused


class DuplicateId(NeverblinkError):
    """The client order id is taken; `order` has it."""

    def __init__(self, client_id: str, order: str) -> None:
        super().__init__(
            f"client order id {client_id!r} is taken by order {order}: every order needs its own id"
        )
        self.client_id = client_id
        self.order = order


class UnknownOrder(NeverblinkError):
    """There is no such order."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no order {name!r}")
        self.name = name


class Ledger:
    """The records, with the orders and fills that follow from them. Each record is written to `file` at once."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self.records: list[Record] = []
        self._file = file
        self._orders: dict[str, Reserved] = {}
        self._by_client: dict[tuple[str, str], Reserved] = {}
        self._confirmed: set[str] = set()
        self._fills: dict[str, list[Filled]] = {}
        self._fill_count = 0

    def session(self, moment: Literal["start", "end"], at: int) -> None:
        self._append(DemoSession(at=at, moment=moment))

    def reserve(
        self,
        *,
        at: int,
        account: str,
        client_id: str,
        contract: str,
        side: Side,
        direction: Direction,
        size: int,
        price: float,
    ) -> Reserved:
        """Begin an order. Records a duplicate and raises `DuplicateId`."""
        taken = self._by_client.get((account, client_id))
        if taken is not None:
            self._append(Repeated(at=at, account=account, client_id=client_id, order=taken.order))
            raise DuplicateId(client_id, taken.order)
        order = Reserved(
            at=at,
            order=f"o-{len(self._orders) + 1}",
            account=account,
            client_id=client_id,
            contract=contract,
            side=side,
            direction=direction,
            size=size,
            price=price,
        )
        self._orders[order.order] = self._by_client[account, client_id] = order
        self._append(order)
        return order

    def confirm(self, order: str, at: int) -> bool:
        """Confirm an order; return False if it was confirmed already. Raises `UnknownOrder`."""
        if order not in self._orders:
            raise UnknownOrder(order)
        if order in self._confirmed:
            return False
        self._confirmed.add(order)
        self._append(Confirmed(at=at, order=order))
        return True

    def fill(self, order: Reserved, size: int, at: int) -> Filled:
        """Execute `size` of an order; made-up fills have an order that is not in the ledger."""
        fills = self._fills.setdefault(order.account, [])
        self._fill_count += 1
        fill = Filled(
            at=at,
            fill=f"f-{self._fill_count}",
            n=len(fills),
            account=order.account,
            order=order.order,
            contract=order.contract,
            side=order.side,
            direction=order.direction,
            size=size,
            price=order.price,
        )
        fills.append(fill)
        self._append(fill)
        return fill

    def refuse(self, account: str, client_id: str, reason: str, at: int) -> None:
        """Record a refused order."""
        self._append(OrderRefused(at=at, account=account, client_id=client_id, reason=reason))

    def order(self, name: str) -> Reserved:
        """The order of that id. Raises `UnknownOrder`."""
        try:
            return self._orders[name]
        except KeyError:
            raise UnknownOrder(name) from None

    def of_client(self, account: str, client_id: str) -> Reserved:
        """The order with that client order id. Raises `UnknownOrder`."""
        try:
            return self._by_client[account, client_id]
        except KeyError:
            raise UnknownOrder(client_id) from None

    def is_confirmed(self, order: str) -> bool:
        return order in self._confirmed

    def fills(self, account: str, start: int = 0) -> list[Filled]:
        """The account's fills from number `start` on."""
        return self._fills.get(account, [])[start:]

    def _append(self, record: Record) -> None:
        self.records.append(record)
        if self._file is not None:
            self._file.write(msgspec.json.encode(record) + b"\n")
            self._file.flush()


def read_ledger(path: Path) -> list[Record]:
    """The records in a ledger's file."""
    return list(_decode(path.read_bytes().splitlines()))


def _decode(lines: Iterable[bytes]) -> Iterator[Record]:
    decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
    return map(decoder.decode, lines)
