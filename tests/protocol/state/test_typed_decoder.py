"""What the bot's own types accept, the types in the journal accept, and the other way round."""

from __future__ import annotations

import datetime
import enum
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import msgspec
import pytest

from neverblink.protocol.state.typed_decoder import TypedDecoder
from neverblink.worker.model.shape import Shape
from neverblink.worker.model.state_schema import state_schema
from neverblink.worker.model.table import Table

encode = msgspec.msgpack.encode


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Node(msgspec.Struct):
    value: float
    below: list[Node] = []


class Fill(msgspec.Struct, frozen=True, array_like=True):
    price: float
    size: int = 0


class Limit(msgspec.Struct, tag="limit"):
    price: float


class Market(msgspec.Struct, tag="market"):
    size: int


class Pair(NamedTuple):
    left: int
    right: str = ""


@dataclass
class Order:
    size: float = 0.0
    notes: list[str] = field(default_factory=list[str])


class Book(msgspec.Struct):
    price: float = 0.0
    maybe: float | None = None
    size: int = 0
    note: str = ""
    flag: bool = False
    raw: bytes = b""
    side: Side = Side.BUY
    mode: Literal["on", "off"] = "on"
    level: Literal[1, 3] = 1
    at: datetime.datetime | None = None
    day: datetime.date | None = None
    wait: datetime.timedelta | None = None
    cash: Decimal = Decimal(0)
    id: uuid.UUID | None = None
    marks: set[int] = set()
    pair: tuple[int, str] = (0, "")
    named: Pair | None = None
    levels: dict[int, list[float]] = {}
    orders: dict[str, Order] = {}
    placed: list[Limit | Market] = []
    fills: list[Fill] = []
    tree: Node | None = None
    anything: Any = None
    renamed: int = msgspec.field(default=0, name="re-named")
    candles: Table[str, Fill] = msgspec.field(default_factory=Table)


SHAPE = Shape(Book)
DECODER = TypedDecoder(state_schema(SHAPE))

GOOD: list[tuple[str, Any]] = [
    ("price", 1.5),
    ("price", 3),
    ("maybe", None),
    ("size", -4),
    ("note", "x"),
    ("flag", True),
    ("raw", b"\xff"),
    ("side", Side.SELL),
    ("level", 3),
    ("at", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)),
    ("day", datetime.date(2026, 1, 1)),
    ("wait", datetime.timedelta(seconds=3)),
    ("cash", Decimal("1.50")),
    ("id", uuid.UUID(int=3)),
    ("marks", {1, 2}),
    ("pair", (1, "x")),
    ("named", Pair(1)),
    ("levels", {1: [1.5]}),
    ("orders", {"a": Order(1.0, ["n"])}),
    ("placed", [Limit(1.0), Market(2)]),
    ("fills", [Fill(1.0, 2)]),
    ("tree", Node(1.0, [Node(2.0)])),
    ("anything", {"a": [1, None]}),
    ("re-named", 4),
]

WRONG: list[tuple[str, Any]] = [
    ("price", None),
    ("price", "1"),
    ("maybe", "x"),
    ("size", 1.5),
    ("note", 3),
    ("flag", 1),
    ("side", "hold"),
    ("mode", "idle"),
    ("at", "yesterday"),
    ("cash", "much"),
    ("id", "me"),
    ("marks", ["a"]),
    ("pair", [1]),
    ("named", ["x"]),
    ("levels", {"a": [1.5]}),
    ("levels", {1: [None]}),
    ("orders", {"a": {"size": None}}),
    ("placed", [{"type": "limit", "price": None}]),
    ("placed", [{"type": "stop"}]),
    ("fills", [[None, 1]]),
    ("tree", {"below": []}),
    ("re-named", "x"),
]


def by_the_bot(name: str, value: Any) -> bool:
    """Whether the bot's own types read it."""
    cell = next(cell for cell in SHAPE.cells if cell.name == name)
    try:
        msgspec.msgpack.decode(encode(value), type=cell.type)
    except msgspec.MsgspecError:
        return False
    return True


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_the_bot_reads_is_right(name: str, value: Any) -> None:
    assert by_the_bot(name, value)
    assert DECODER.problem_of_field(name, encode(value)) == ""


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_the_bot_cannot_read_is_named(name: str, value: Any) -> None:
    assert not by_the_bot(name, value)
    assert DECODER.problem_of_field(name, encode(value))


def test_rows_and_keys_are_decoded_too() -> None:
    assert DECODER.problem_of_row("candles", encode("a"), encode(Fill(1.0))) == ""
    assert DECODER.problem_of_row("candles", encode("a"), None) == ""
    assert "candles row" in DECODER.problem_of_row("candles", encode("a"), encode([None, 1]))
    assert "candles key" in DECODER.problem_of_row("candles", encode(3), encode(Fill(1.0)))


def test_nothing_is_told_of_a_field_without_a_type() -> None:
    assert TypedDecoder({}).problem_of_field("price", encode(None)) == ""
    assert DECODER.problem_of_field("unknown", encode(None)) == ""
    assert TypedDecoder({}).problem_of_row("rows", encode(1), encode(None)) == ""


def test_a_single_value_is_decoded_by_its_type() -> None:
    decoder = TypedDecoder(state_schema(Shape(dict[str, int])))
    assert decoder.problem_of_field("", encode({"a": 1})) == ""
    assert "state" in decoder.problem_of_field("", encode({"a": None}))
