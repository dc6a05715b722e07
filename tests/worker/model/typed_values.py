"""States of every type that msgspec knows, with values that are of their types and values that are not."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple, cast
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import strategies as st

from neverblink.worker.model.table import Table

__all__ = ["Everything", "canonical", "changes", "right_values", "wrong_values"]


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Flat(msgspec.Struct, frozen=True):
    price: float
    name: str | None = None


class Packed(msgspec.Struct, array_like=True):
    size: int = 0
    inner: list[float] = []


class Limit(msgspec.Struct, tag=True):
    price: float = 0.0


class Market(msgspec.Struct, tag=True):
    size: int = 0


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclass
class Record:
    amount: Decimal = Decimal(0)
    notes: list[str] = field(default_factory=list[str])


class Everything(msgspec.Struct):
    nothing: None = None
    flag: bool = False
    whole: int = 0
    real: float = 0.0
    text: str = ""
    raw: bytes = b""
    maybe: float | None = None
    at: datetime.datetime | None = None
    day: datetime.date | None = None
    time: datetime.time | None = None
    wait: datetime.timedelta | None = None
    id: uuid.UUID | None = None
    cash: Decimal = Decimal(0)
    side: Side = Side.BUY
    level: Level = Level.LOW
    mode: Literal["on", "off"] = "on"
    rank: Literal[1, 3] = 1
    items: list[int] = []
    pair: tuple[int, str] = (0, "")
    run: tuple[float, ...] = ()
    marks: set[int] = set()
    fixed: frozenset[str] = frozenset()
    named: dict[str, float] = {}
    numbered: dict[int, list[str]] = {}
    flat: Flat | None = None
    packed: Packed = msgspec.field(default_factory=Packed)
    order: Limit | Market | None = None
    point: Point = Point(0)
    record: Record = msgspec.field(default_factory=Record)
    anything: Any = None
    rows: Table[str, Flat] = msgspec.field(default_factory=Table)


_REALS = st.floats()
_WHOLE = st.integers(-(2**63), 2**63 - 1)
_UTC_TIMES = st.datetimes(timezones=st.just(datetime.UTC))
_DAYS = datetime.timedelta(days=9999)
_FLAT = st.builds(Flat, _REALS, st.none() | st.text())
_PLAIN = st.recursive(
    st.none() | st.booleans() | _WHOLE | _REALS | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)

right_values: dict[str, st.SearchStrategy[Any]] = {
    "nothing": st.none(),
    "flag": st.booleans(),
    "whole": _WHOLE,
    "real": _REALS | st.integers(-(2**53), 2**53),
    "text": st.text(),
    "raw": st.binary(),
    "maybe": st.none() | _REALS,
    "at": st.none() | _UTC_TIMES | st.datetimes(),
    "day": st.dates(),
    "time": st.times(),
    "wait": st.timedeltas(-_DAYS, _DAYS),
    "id": st.uuids(),
    "cash": st.decimals(allow_nan=False),
    "side": st.sampled_from(Side),
    "level": st.sampled_from(Level),
    "mode": st.sampled_from(["on", "off"]),
    "rank": st.sampled_from([1, 3]),
    "items": st.lists(_WHOLE, max_size=5),
    "pair": st.tuples(_WHOLE, st.text()),
    "run": st.lists(_REALS, max_size=4).map(tuple),
    "marks": st.sets(_WHOLE, max_size=4),
    "fixed": st.frozensets(st.text(), max_size=3),
    "named": st.dictionaries(st.text(), _REALS, max_size=4),
    "numbered": st.dictionaries(_WHOLE, st.lists(st.text(), max_size=2), max_size=3),
    "flat": _FLAT,
    "packed": st.builds(Packed, _WHOLE, st.lists(_REALS, max_size=3)),
    "order": st.builds(Limit, _REALS) | st.builds(Market, _WHOLE),
    "point": st.builds(Point, _WHOLE, _REALS),
    "record": st.builds(Record, st.decimals(allow_nan=False), st.lists(st.text(), max_size=2)),
    "anything": _PLAIN,
}
"""For each field, values that another process reads as they are."""

_GENERIC: list[Any] = [
    None,
    True,
    7,
    2**60 + 1,
    "7",
    b"7",
    1.5,
    [1],
    (1,),
    {1},
    {"a": 1},
    {1: "a"},
    defaultdict(list, a=[1]),
    Counter("aab"),
    OrderedDict(a=1.0),
    Decimal("1.0"),
    Side.SELL,
    Level.HIGH,
    Flat(1.0),
    Packed(1),
    Limit(),
    Record(),
    Point(1),
    uuid.UUID(int=1),
    datetime.date(2026, 1, 1),
    datetime.timedelta(1),
    datetime.time(1),
    datetime.datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Paris")),
    datetime.datetime(2026, 7, 1, tzinfo=datetime.UTC),
    [None],
    {"a": None},
    {"a": (1, 2)},
    ("x", 1),
    frozenset({"a"}),
]
wrong_values: st.SearchStrategy[Any] = st.sampled_from(_GENERIC)
"""Values of all types, for any field: wrong for most, and right for some."""

changes: st.SearchStrategy[list[tuple[str, Any]]] = st.lists(
    st.sampled_from(sorted(right_values)).flatmap(
        lambda name: st.tuples(st.just(name), right_values[name] | wrong_values)
    )
    | st.tuples(st.just("rows"), st.tuples(st.text(max_size=2), _FLAT | st.just(Flat(None)))),  # pyright: ignore[reportArgumentType]
    min_size=1,
    max_size=4,
)


def canonical(value: Any) -> Any:
    """A value with its types, all the way down, so that `==` compares both; an int is written as where it stands."""
    kind = cast(Any, type(value))
    if isinstance(value, float):
        return "float", "nan" if value != value else value
    if isinstance(value, enum.Enum):
        return kind.__name__, value.name
    if issubclass(kind, dict):
        return kind.__name__, [(canonical(key), canonical(value[key])) for key in value]
    if issubclass(kind, (list, tuple)):
        return kind.__name__, [canonical(item) for item in value]
    if issubclass(kind, (set, frozenset)):
        return kind.__name__, sorted(repr(canonical(item)) for item in value)
    if isinstance(value, (datetime.datetime, datetime.time)):
        return kind.__name__, value.isoformat(), str(value.tzinfo)
    if isinstance(value, msgspec.Struct):
        return kind.__name__, [canonical(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, Record):
        return kind.__name__, canonical(value.amount), canonical(value.notes)
    return kind.__name__, repr(value)
