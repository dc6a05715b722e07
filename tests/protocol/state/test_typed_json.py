"""A state as JSON and back: nothing of it is lost, whatever its types."""

from __future__ import annotations

import enum
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.state.typed_json import BadStateValue, from_json, to_json
from neverblink.worker import Table
from neverblink.worker.model.shape import Shape
from neverblink.worker.model.state_schema import state_schema


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Buy(msgspec.Struct, tag="buy", frozen=True):
    size: float


class Sell(msgspec.Struct, tag="sell", frozen=True):
    size: float
    reason: str = ""


class Level(msgspec.Struct, array_like=True, frozen=True):
    price: float
    size: Decimal = Decimal(1)
    parts: tuple[int, ...] = ()


class Up(msgspec.Struct, array_like=True, tag=True, frozen=True):
    n: int = 0


class Down(msgspec.Struct, array_like=True, tag=True, frozen=True):
    n: int = 0
    why: str = ""


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Tree(msgspec.Struct):
    value: int = 0
    below: list[Tree] = []


class Everything(msgspec.Struct):
    number: float = math.nan
    whole: int = 0
    blob: bytes = b""
    when: datetime | None = None
    day: date = date(2026, 11, 24)
    span: timedelta = timedelta(0)
    exact: Decimal = Decimal(0)
    id: UUID | None = None
    side: Side = Side.BUY
    mode: Literal["slow", "fast"] = "slow"
    size: Literal[1, 3] = 1
    order: Buy | Sell | None = None
    move: Up | Down = Up()
    level: Level = Level(1.0)
    levels: dict[int, Level] = {}
    named: dict[str, list[Level]] = {}
    keyed: dict[tuple[int, str], bytes] = {}
    dated: dict[datetime, float] = {}
    pair: Pair = Pair(1)
    tree: Tree = msgspec.field(default_factory=Tree)
    tags: set[int] = set()
    anything: Any = None
    rows: Table[int, Level] = msgspec.field(default_factory=Table)


SCHEMA = state_schema(Shape(Everything))

numbers = st.floats(allow_nan=False) | st.just(math.nan)
levels = st.builds(
    Level,
    numbers,
    st.decimals(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(-5, 5)).map(tuple),
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.integers(-(10**15), 7 * 10**15).map(lambda us: EPOCH + timedelta(microseconds=us))
names = st.text(max_size=5) | st.sampled_from(["$map", "$float", "a.b", ""])
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | numbers
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | moments,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | st.integers(-9, 9) | st.binary(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
trees = st.recursive(
    st.builds(Tree, st.integers(0, 9)),
    lambda inner: st.builds(Tree, st.integers(0, 9), st.lists(inner, max_size=2)),
)
states = st.builds(
    Everything,
    number=numbers,
    whole=st.integers(-(2**63), 2**63 - 1),
    blob=st.binary(max_size=5),
    when=st.none() | moments,
    span=st.timedeltas(timedelta(days=-9), timedelta(days=9)),
    exact=st.decimals(allow_nan=False, allow_infinity=False),
    id=st.none() | st.uuids(),
    side=st.sampled_from(Side),
    mode=st.sampled_from(["slow", "fast"]),
    size=st.sampled_from([1, 3]),
    order=st.none() | st.builds(Buy, numbers) | st.builds(Sell, numbers, st.text(max_size=3)),
    move=st.builds(Up, st.integers(0, 9)) | st.builds(Down, st.integers(0, 9), st.text(max_size=3)),
    level=levels,
    levels=st.dictionaries(st.integers(-9, 9), levels, max_size=3),
    named=st.dictionaries(names, st.lists(levels, max_size=2), max_size=3),
    keyed=st.dictionaries(
        st.tuples(st.integers(0, 9), st.text(max_size=2)), st.binary(max_size=2), max_size=3
    ),
    dated=st.dictionaries(moments, numbers, max_size=2),
    pair=st.builds(Pair, st.integers(0, 9), st.text(max_size=2)),
    tree=trees,
    tags=st.sets(st.integers(0, 9), max_size=3),
    anything=plain,
)


@given(state=states)
def test_every_value_survives_json_and_comes_back_as_the_same_bytes(state: Everything) -> None:
    for name in Everything.__struct_fields__:
        packed = msgspec.msgpack.encode(getattr(state, name))
        about = SCHEMA["properties"][name]
        document = to_json(msgspec.msgpack.decode(packed), about, SCHEMA)
        # What goes through a file is JSON text.
        document = msgspec.json.decode(msgspec.json.encode(document))
        assert msgspec.msgpack.encode(from_json(document, about, SCHEMA)) == packed, (name, document)


@given(value=plain)
def test_a_value_without_a_type_survives_too(value: Any) -> None:
    packed = msgspec.msgpack.encode(value)
    document = msgspec.json.decode(msgspec.json.encode(to_json(msgspec.msgpack.decode(packed))))
    assert msgspec.msgpack.encode(from_json(document)) == packed


def test_the_schema_gives_names_to_what_travels_as_an_array() -> None:
    document = to_json(
        msgspec.msgpack.decode(msgspec.msgpack.encode(Down(3, "late"))), SCHEMA["properties"]["move"], SCHEMA
    )
    assert document == {"type": "Down", "n": 3, "why": "late"}


@pytest.mark.parametrize(
    ("name", "document", "words"),
    [
        ("blob", "not base64!", "expected bytes as base64"),
        ("level", {"prize": 1.0}, "there is no field 'prize': expected price, size, parts"),
        ("level", {"size": "1"}, "field 'price' is missing"),
        ("anything", {"$float": "much"}, "$float"),
        ("anything", {"$thing": 1}, "is not a form that values have"),
        ("anything", {"$map": [1]}, "$map"),
        ("anything", {"$map": [[{"a": 1}, 2]]}, "$map"),
        ("anything", {"$ext": [900, ""]}, "$ext"),
    ],
)
def test_a_form_that_no_value_has_is_refused(name: str, document: Any, words: str) -> None:
    with pytest.raises(BadStateValue) as raised:
        from_json(document, SCHEMA["properties"][name], SCHEMA)
    assert words in raised.value.message


def test_fields_left_out_of_an_array_have_their_defaults() -> None:
    document = from_json({"price": 2.0, "parts": [1]}, SCHEMA["properties"]["level"], SCHEMA)
    assert msgspec.convert(document, Level) == Level(2.0, Decimal(1), (1,))
