from __future__ import annotations

import copy
import datetime
import decimal
import enum
import pickle
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.errors import NeverblinkError
from neverblink.worker.model.table import RowTypeError, StateError, Table, check_row_type

MOMENT = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


class Turn:
    def __init__(self) -> None:
        self.open = True


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Candle(msgspec.Struct, frozen=True):
    close: float
    at: datetime.datetime
    side: Side = Side.BUY
    tags: tuple[str, ...] = ()
    levels: frozenset[int] = frozenset()
    before: Candle | None = None
    kind: Literal["live", "past"] = "live"
    size: decimal.Decimal | None = None
    id: uuid.UUID | None = None


class Loose(msgspec.Struct):
    close: float


class Tagged(msgspec.Struct, frozen=True):
    tags: list[str]


class Nested(msgspec.Struct, frozen=True):
    best: tuple[Tagged, int]


class Anything(msgspec.Struct, frozen=True):
    data: Any


class Holder(msgspec.Struct, frozen=True):
    loose: Loose | None


class Pair(NamedTuple):
    a: int
    b: str


class Bad(NamedTuple):
    a: list[int]


class Typed(TypedDict):
    a: int


@dataclass(frozen=True)
class Fine:
    a: int
    b: tuple[int, str]


@dataclass
class Soft:
    a: int


keys = st.sampled_from(["a", "b", "c", "d", "e"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), keys, st.integers(0, 9)),
        st.tuples(st.just("delete"), keys, st.just(0)),
        st.tuples(st.just("setdefault"), keys, st.integers(0, 9)),
        st.tuples(st.just("pop"), keys, st.just(0)),
        st.tuples(st.just("popitem"), keys, st.just(0)),
        st.tuples(st.just("clear"), keys, st.just(0)),
        st.tuples(st.just("take"), keys, st.just(0)),
    ),
    max_size=40,
)


def act(target: dict[str, int], step: tuple[str, str, int]) -> object:
    kind, key, value = step
    if kind == "set":
        target[key] = value
    elif kind == "delete" and key in target:
        del target[key]
    elif kind == "setdefault":
        return target.setdefault(key, value)
    elif kind == "pop":
        return target.pop(key, None)
    elif kind == "popitem" and target:
        return target.popitem()
    elif kind == "clear":
        target.clear()
    return None


def replay(touched: dict[str, bool], source: dict[str, int], target: dict[str, int]) -> None:
    for key, deleted in touched.items():
        if deleted:
            target.pop(key, None)
        if key in source:
            target[key] = source[key]


@given(steps)
def test_a_table_behaves_like_a_dict_and_reports_touched_keys(made: list[tuple[str, str, int]]) -> None:
    table: Table[str, int] = Table()
    plain: dict[str, int] = {}
    follower: dict[str, int] = {}
    for step in made:
        assert act(table, step) == act(plain, step)
        assert list(table.items()) == list(plain.items())
        if step[0] == "take":
            replay(table.take(), table, follower)
            # The same rows in the same order.
            assert list(follower.items()) == list(plain.items())
    replay(table.take(), table, follower)
    assert list(follower.items()) == list(plain.items())
    assert not table.touched


WRITES: dict[str, Callable[[Table[str, int]], object]] = {
    "set": lambda t: t.__setitem__("a", 2),
    "set new": lambda t: t.__setitem__("z", 2),
    "delete": lambda t: t.__delitem__("a"),
    "pop": lambda t: t.pop("a"),
    "pop default": lambda t: t.pop("a", None),
    "popitem": lambda t: t.popitem(),
    "clear": lambda t: t.clear(),
    "setdefault": lambda t: t.setdefault("z", 1),
    "update": lambda t: t.update({"a": 3}),
    "update pairs": lambda t: t.update([("a", 3)]),
    "ior": lambda t: t.__ior__({"a": 3}),
}


@pytest.mark.parametrize("name", WRITES)
def test_every_write_outside_a_turn_is_refused_at_once(name: str) -> None:
    turn = Turn()
    table = Table({"a": 1})
    table.guard, table.name = turn, "candles"
    table.take()
    turn.open = False
    with pytest.raises(StateError, match="table candles was written outside a turn") as caught:
        WRITES[name](table)
    assert caught.value.field == "candles"
    assert dict(table) == {"a": 1}
    assert not table.touched
    turn.open = True
    WRITES[name](table)
    assert table.touched


def test_every_method_of_dict_that_writes_is_overridden() -> None:
    reads = {"copy", "fromkeys", "get", "items", "keys", "values"}
    named = {name for name in vars(dict) if not name.startswith("_")}
    assert named - reads <= vars(Table).keys()
    assert {"__setitem__", "__delitem__", "__ior__"} <= vars(Table).keys()


def test_reads_are_dicts_own_methods() -> None:
    for name in ("__getitem__", "__contains__", "__len__", "__iter__", "get", "items", "keys", "values"):
        assert getattr(Table, name) is getattr(dict, name)


def test_a_row_of_another_type_is_refused_where_it_is_written() -> None:
    table: Table[str, Any] = Table()
    table.name, table.row = "candles", Candle
    with pytest.raises(StateError, match=r"table candles: the row for 'BTC' is of type int, expected Candle"):
        table["BTC"] = 5
    assert not table


def test_missing_keys_and_empty_tables_raise_like_dict() -> None:
    table: Table[str, int] = Table()
    with pytest.raises(KeyError):
        del table["a"]
    with pytest.raises(KeyError):
        table.pop("a")
    with pytest.raises(KeyError):
        table.popitem()
    assert not table.touched


def test_a_copy_of_a_table_belongs_to_no_state() -> None:
    turn = Turn()
    table = Table({"a": 1})
    table.guard = turn
    turn.open = False
    for twin in (copy.copy(table), copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        assert type(twin) is Table
        assert twin == table
        assert twin.guard is None
        twin["b"] = 2
    assert "b" not in table
    assert repr(table) == "Table({'a': 1})"


class Book(msgspec.Struct):
    candles: Table[str, Candle] = msgspec.field(default_factory=lambda: Table[str, Candle]())
    plain: Table[str, Candle] = msgspec.field(default_factory=Table)


def test_states_do_not_share_a_table() -> None:
    one, two = Book(), Book()
    one.candles["a"] = Candle(1.0, MOMENT)
    one.plain["a"] = Candle(1.0, MOMENT)
    assert not two.candles
    assert not two.plain


@pytest.mark.parametrize(
    "row",
    [
        *(
            Candle,
            Fine,
            Pair,
            Side,
            Literal["a", "b"],
            int,
            float,
            bool,
            str,
            bytes,
            None,
            int | None,
            uuid.UUID,
        ),
        *(datetime.date, datetime.time, datetime.timedelta, decimal.Decimal),
        *(tuple[int, ...], frozenset[str], tuple[str, Candle], tuple[Fine | Pair | None, ...]),
    ],
    ids=str,
)
def test_immutable_rows_are_accepted(row: Any) -> None:
    check_row_type(row)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (list[int], ["it is a list", "tuple[X, ...]"]),
        (dict[str, int], ["it is a dict", "frozen msgspec.Struct"]),
        (set[int], ["it is a set", "frozenset"]),
        (bytearray, ["a bytearray", "write bytes"]),
        (Typed, ["TypedDict"]),
        (Any, ["of any type"]),
        (object, ["object"]),
        (Loose, ["row type Loose", "the struct Loose", "class Loose(msgspec.Struct, frozen=True)"]),
        (Soft, ["the dataclass Soft", "@dataclass(frozen=True)"]),
        (Bad, ["field 'a' is a list"]),
        (Tagged, ["row type Tagged", "field 'tags' is a list"]),
        (Nested, ["row type Nested", "field 'best.tags' is a list"]),
        (Anything, ["field 'data' is of any type"]),
        (Holder, ["field 'loose' is the struct Loose"]),
        (tuple[int, list[int]], ["a list"]),
        (Table[str, int], ["Table, a type msgspec does not know"]),
    ],
)
def test_mutable_rows_are_refused_with_the_mend(row: Any, words: list[str]) -> None:
    with pytest.raises(RowTypeError) as caught:
        check_row_type(row, "candles")
    for word in ["table candles", *words]:
        assert word in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, NeverblinkError)
