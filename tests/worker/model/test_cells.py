from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.frame import NOTHING, Changes
from neverblink.worker.model.cells import Cells, StateUnreadable
from neverblink.worker.model.shape import Shape, StateTypeError
from neverblink.worker.model.table import RowTypeError, StateError, Table


class Turn:
    def __init__(self) -> None:
        self.open = True


class Position(msgspec.Struct):
    size: float
    side: str = "up"


class Candle(msgspec.Struct, frozen=True, array_like=True):
    open: float
    close: float


class Book(msgspec.Struct):
    positions: dict[str, Position] = {}
    armed: dict[str, float] = {}
    count: int = 0
    note: str | None = None
    candles: Table[str, Candle] = msgspec.field(default_factory=Table)
    levels: Table[tuple[str, int], float] = msgspec.field(default_factory=Table)


@dataclass
class Ledger:
    total: float = 0.0
    names: list[str] = field(default_factory=list[str])
    rows: Table[int, Candle] = field(default_factory=Table[int, Candle])


class Plain(msgspec.Struct):
    """What `Book` looks like where `candles` is a dict and `armed` a table."""

    positions: dict[str, Position] = {}
    armed: Table[str, float] = msgspec.field(default_factory=Table)
    candles: dict[str, Candle] = {}


class Only(msgspec.Struct):
    rows: Table[str, int] = msgspec.field(default_factory=Table)


class One(msgspec.Struct):
    value: int = 0


def copy_of(cells: Cells, state: Any, other: Cells) -> Any:
    """A follower's state, built as the stream builds it: root, then rows."""
    twin = other.load(cells.root(state))
    for table in cells.sizes(state):
        rows = cells.rows(state, table, cells.keys(state, table))
        other.apply(twin, Changes({}, {table: list(rows)}))
    return twin


def sent(changes: Changes) -> Changes:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(changes), type=Changes)


def test_a_turn_that_changes_nothing_has_no_changes() -> None:
    cells = Cells(Book)
    state = cells.fresh()
    assert cells.collect(state) is NOTHING
    assert cells.differing(state) == ()


def test_only_changed_cells_are_sent() -> None:
    cells = Cells(Book)
    state = cells.fresh()
    state.positions["BTC"] = Position(1.0)
    state.candles["BTC"] = Candle(1.0, 2.0)
    found = cells.collect(state)
    assert found.cells.keys() == {"positions"}
    assert found.tables.keys() == {"candles"}
    state.positions["BTC"].size += 1  # in the depth, through no hands of ours
    assert cells.differing(state) == ("positions",)
    assert cells.collect(state).cells.keys() == {"positions"}
    assert cells.collect(state) is NOTHING


def test_written_and_deleted_rows_are_sent_by_key() -> None:
    cells = Cells(Book)
    state = cells.fresh()
    state.levels["BTC", 1] = 5.0
    state.levels["ETH", 2] = 6.0
    cells.collect(state)
    del state.levels["BTC", 1]
    rows = cells.collect(state).tables["levels"]
    assert rows == [(msgspec.msgpack.encode(("BTC", 1)), None)]


names = st.sampled_from(["BTC", "ETH", "SOL", "XRP"])
moves = st.lists(
    st.one_of(
        st.tuples(st.just("position"), names, st.floats(0, 10)),
        st.tuples(st.just("close"), names, st.just(0.0)),
        st.tuples(st.just("candle"), names, st.floats(0, 10)),
        st.tuples(st.just("forget"), names, st.just(0.0)),
        st.tuples(st.just("replace"), names, st.floats(0, 10)),
        st.tuples(st.just("count"), names, st.just(0.0)),
        st.tuples(st.just("boundary"), names, st.just(0.0)),
        st.tuples(st.just("reset"), names, st.just(0.0)),
    ),
    max_size=30,
)


def move(state: Book, kind: str, name: str, value: float) -> None:
    if kind == "position":
        state.positions.setdefault(name, Position(0.0)).size = value
    elif kind == "close":
        state.positions.pop(name, None)
    elif kind == "candle":
        state.candles[name] = Candle(value, value)
    elif kind == "forget":
        state.candles.pop(name, None)
    elif kind == "replace":
        state.candles = Table({name: Candle(value, value)})
    elif kind == "count":
        state.count += 1


@given(moves)
def test_a_follower_that_applied_every_boundary_has_the_leaders_state(
    made: list[tuple[str, str, float]],
) -> None:
    cells, others = Cells(Book), Cells(Book)
    state = cells.fresh()
    twin = others.fresh()
    for kind, name, value in [*made, ("boundary", "", 0.0)]:
        if kind == "reset":
            cells.forget()
        elif kind != "boundary":
            move(state, kind, name, value)
            continue
        others.apply(twin, sent(cells.collect(state)))
        assert twin == state
        assert list(twin.candles) == list(state.candles)
        # The follower could lead at once: it finds no change that it has not applied.
        assert others.differing(twin) == ()
    late = Cells(Book)
    assert copy_of(cells, state, late) == state


def test_after_a_reset_a_follower_has_no_earlier_rows() -> None:
    cells, others = Cells(Book), Cells(Book)
    state, twin = cells.fresh(), others.fresh()
    twin.candles["old"] = Candle(1.0, 1.0)
    twin.count = 7
    others.settle(twin)
    state.candles["new"] = Candle(2.0, 2.0)
    cells.settle(state)
    cells.forget()
    others.apply(twin, sent(cells.collect(state)))
    assert twin == state
    assert cells.collect(state) is NOTHING


def test_a_table_cannot_be_written_outside_a_turn() -> None:
    turn = Turn()
    cells = Cells(Book, guard=turn)
    state = cells.fresh()
    turn.open = False
    with pytest.raises(StateError, match="outside a turn"):
        state.candles["BTC"] = Candle(1.0, 2.0)
    twin = cells.load(cells.root(state))
    cells.apply(twin, Changes({}, {"candles": [(b"\xa3BTC", msgspec.msgpack.encode(Candle(1.0, 2.0)))]}))
    assert twin.candles == {"BTC": Candle(1.0, 2.0)}
    assert not twin.candles.touched
    turn.open = True
    twin.candles = Table({"ETH": Candle(3.0, 4.0)})
    cells.collect(twin)
    turn.open = False
    with pytest.raises(StateError, match="outside a turn"):
        twin.candles.clear()


def test_a_row_of_the_wrong_type_fails_where_it_is_written() -> None:
    state: Any = Cells(Book).fresh()
    with pytest.raises(StateError, match="expected Candle"):
        state.candles["BTC"] = (1.0, 2.0)


def test_a_table_replaced_by_a_dict_is_refused() -> None:
    cells = Cells(Book)
    state: Any = cells.fresh()
    state.candles = {}
    with pytest.raises(StateError, match="table candles was replaced by a dict: assign a Table"):
        cells.collect(state)


def lock(state: Any) -> None:
    state.armed["x"] = threading.Lock()


def huge(state: Any) -> None:
    state.count = 1 << 80


def deep(state: Any) -> None:
    state.positions["BTC"] = Position(cast(Any, object()))


def surrogate(state: Any) -> None:
    state.note = "\ud800"


def cycle(state: Any) -> None:
    state.armed["self"] = state.armed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lock, ["armed['x']", "lock", "build it in on_load"]),
        (huge, ["count", "int", "write another value"]),
        (deep, ["positions['BTC'].size", "object", "build it in on_load"]),
        (surrogate, ["note", "str", "write another value"]),
        (cycle, ["armed['self']:", "it contains itself", "write another value"]),
    ],
)
def test_an_unencodable_value_is_reported_with_its_path(change: Any, words: list[str]) -> None:
    cells = Cells(Book)
    state = cells.fresh()
    state.candles["BTC"] = Candle(1.0, 1.0)
    change(state)
    for ask in (cells.collect, cells.differing):
        with pytest.raises(StateError) as caught:
            ask(state)
        for word in words:
            assert word in str(caught.value)


def test_an_unencodable_row_is_reported_with_its_key() -> None:
    cells = Cells(Only)
    state = cells.fresh()
    state.rows["big"] = 1 << 80
    with pytest.raises(StateError, match="table rows: the row for 'big' cannot be encoded"):
        cells.collect(state)
    state.rows["big"] = 1
    assert cells.collect(state).tables["rows"] == [(b"\xa3big", b"\x01")]  # nothing was lost by the failure


def test_a_change_that_does_not_fit_is_not_applied_at_all() -> None:
    cells = Cells(Book, version=3)
    state = cells.fresh()
    encode = msgspec.msgpack.encode
    with pytest.raises(StateUnreadable) as caught:
        cells.apply(
            state, Changes({"count": encode(5), "positions": encode({"BTC": {"size": "much"}})}, {}), 2
        )
    assert caught.value.field == "positions"
    assert "Expected `float`, got `str` - at `positions[...].size`" in str(caught.value)
    assert "@migration(2, 3)" in str(caught.value)
    assert state.count == 0
    assert cells.collect(state) is NOTHING
    with pytest.raises(
        StateUnreadable, match=r"field 'candles': row 'BTC': Expected.*@migration\(2, 3, table=\"candles\"\)"
    ):
        cells.apply(state, Changes({"count": encode(5)}, {"candles": [(encode("BTC"), encode("?"))]}), 2)
    assert state.count == 0
    with pytest.raises(StateUnreadable, match=r"raise the schema to 4 and write @migration\(3, 4\)"):
        cells.apply(state, Changes({"count": b"\xc1"}, {}))


def test_check_finds_values_of_the_wrong_type() -> None:
    cells = Cells(Book)
    state: Any = cells.fresh()
    state.note = 5
    changes = cells.collect(state)
    with pytest.raises(StateUnreadable, match="note"):
        cells.check(changes)
    state.note = "5"
    cells.check(cells.collect(state))


class Grown(msgspec.Struct):
    count: int
    fee: float
    note: str | None = None
    extra: list[int] = []


def test_schema_changes_within_msgspecs_rules_need_no_migration() -> None:
    old, new = Cells(Book), Cells(One)
    state = old.fresh()
    assert new.load(old.root(state)) == One()
    assert old.load(new.root(One(3))) == Book()


def test_a_field_that_became_required_is_refused_with_the_mend() -> None:
    cells = Cells(Grown, version=2)
    with pytest.raises(StateUnreadable) as caught:
        cells.load(Cells(Book).root(Book()), source=1)
    assert str(caught.value) == (
        "state field 'fee': it is required and the state has none: "
        "give it a default or write @migration(1, 2)"
    )
    with pytest.raises(StateError, match=r"a first Grown cannot be made.*give count, fee a default"):
        cells.fresh()


def test_a_dict_can_become_a_table_and_a_table_a_dict() -> None:
    cells, others = Cells(Book), Cells(Plain)
    state = cells.fresh()
    state.positions["BTC"] = Position(1.0)
    state.armed["BTC"] = 5.0
    state.candles["BTC"] = Candle(1.0, 2.0)
    cells.settle(state)
    twin = copy_of(cells, state, others)
    assert twin == Plain({"BTC": Position(1.0)}, Table({"BTC": 5.0}), {"BTC": Candle(1.0, 2.0)})
    state.armed = {"ETH": 6.0}
    state.candles["ETH"] = Candle(3.0, 4.0)
    del state.candles["BTC"]
    others.apply(twin, sent(cells.collect(state)))
    assert twin.armed == {"ETH": 6.0}
    assert twin.candles == {"ETH": Candle(3.0, 4.0)}
    assert others.differing(twin) == ()


def test_a_table_is_refused_where_a_single_value_is_expected() -> None:
    cells = Cells(Book)
    with pytest.raises(StateUnreadable, match=r"count.*has a Table here"):
        cells.apply(cells.fresh(), Changes({}, {"count": [(b"\x01", b"\x01")]}))


def test_a_value_encoded_differently_by_another_release_does_not_count_as_changed() -> None:
    cells = Cells(Book)
    state = cells.fresh()
    # Another release wrote whole numbers, and a field that this release does not have.
    cells.apply(state, Changes({"positions": msgspec.msgpack.encode({"BTC": {"size": 1, "new": 2}})}, {}))
    assert state.positions == {"BTC": Position(1.0)}
    assert cells.differing(state) == ()


def put(state: dict[str, float]) -> None:
    state["BTC"] = 1.0


def append(state: list[int]) -> None:
    state.append(1)


def add(state: set[str]) -> None:
    state.add("BTC")


SINGLE: list[tuple[Any, Any, Callable[[Any], None]]] = [
    (dict[str, float], dict[str, float](), put),
    (list[int], list[int](), append),
    (set[str], set[str](), add),
]


@pytest.mark.parametrize(("state_type", "first", "change"), SINGLE)
def test_a_dict_list_or_set_is_a_state_of_one_cell(state_type: Any, first: Any, change: Any) -> None:
    cells, others = Cells(state_type), Cells(state_type)
    state = cells.fresh()
    assert state == first
    twin = others.load(cells.root(state))
    known = twin
    change(state)
    changes = cells.collect(state)
    assert changes.cells.keys() == {""}
    others.apply(twin, sent(changes))
    assert twin == state
    assert known is twin
    assert others.differing(twin) == ()


def test_a_dataclass_is_a_state() -> None:
    cells, others = Cells(Ledger), Cells(Ledger)
    state = cells.fresh()
    state.names.append("BTC")
    state.rows[5] = Candle(1.0, 2.0)
    twin = others.fresh()
    others.apply(twin, sent(cells.collect(state)))
    assert twin == state


@pytest.mark.parametrize("state_type", [Only, One])
def test_a_state_may_have_no_cell_or_one_cell(state_type: Any) -> None:
    cells = Cells(state_type)
    state = cells.fresh()
    assert cells.collect(state) is NOTHING
    assert cells.differing(state) == ()


class Renamed(msgspec.Struct, rename="camel"):
    open_orders: int = 0


def test_a_renamed_field_is_encoded_under_its_other_name() -> None:
    cells = Cells(Renamed)
    state = cells.fresh()
    state.open_orders = 3
    assert cells.collect(state).cells == {"openOrders": b"\x03"}
    assert cells.load({"openOrders": b"\x04"}) == Renamed(4)


def many() -> Any:
    return msgspec.defstruct("Many", [(f"f{i}", int, 0) for i in range(40)])


def test_a_state_may_have_many_cells() -> None:
    cells = Cells(many())
    state = cells.fresh()
    assert cells.differing(state) == ()
    state.f39 = 5
    assert cells.differing(state) == ("f39",)


class Frozen(msgspec.Struct, frozen=True):
    a: int = 0


class Inside(msgspec.Struct):
    deep: dict[str, Table[str, int]] = {}


class Bare(msgspec.Struct):
    rows: Table = msgspec.field(default_factory=Table)  # type: ignore[type-arg]  # pyright: ignore


class Required(msgspec.Struct):
    rows: Table[str, int]


class SoftRows(msgspec.Struct):
    rows: Table[str, Position] = msgspec.field(default_factory=Table)


class Locked(msgspec.Struct):
    lock: threading.Event | None = None


@pytest.mark.parametrize(
    ("state_type", "words"),
    [
        (Frozen, "Frozen is frozen, but a state must change"),
        (Inside, "field 'deep' has a Table inside"),
        (Bare, "does not name its key and row types: write Table"),
        (Required, "default_factory=Table"),
        (SoftRows, r"table rows: row type Position: it is the struct Position.*frozen=True"),
        (Locked, "field 'lock': it is Event.*build it in on_load"),
        (int, "cannot change in place"),
        (threading.Event, "it is Event"),
    ],
)
def test_types_that_cannot_be_a_state_are_refused(state_type: Any, words: str) -> None:
    with pytest.raises((StateTypeError, RowTypeError), match=words) as caught:
        Cells(state_type)
    assert isinstance(caught.value, TypeError)


def test_the_fingerprint_depends_on_names_and_types_only() -> None:
    base = msgspec.defstruct("A", [("a", int, 0), ("b", dict[str, Position], {})])
    same = msgspec.defstruct("Other", [("b", dict[str, Position], {}), ("a", int, 7)])
    assert Shape(base).fingerprint == Shape(same).fingerprint
    others: list[list[Any]] = [
        [("a", int, 0)],
        [("a", float, 0.0), ("b", dict[str, Position], {})],
        [("c", int, 0), ("b", dict[str, Position], {})],
        [("a", int), ("b", dict[str, Position])],
        [("a", int, 0), ("b", dict[str, Candle], {})],
        [("a", int, 0), ("b", Table[str, Candle], msgspec.field(default_factory=Table))],
    ]
    for other in others:
        assert Shape(msgspec.defstruct("A", other)).fingerprint != Shape(base).fingerprint
    assert Shape(Book).schema(4).version == 4


class Tree(msgspec.Struct, frozen=True):
    value: int | str | None
    left: Tree | None = None


class Forest(msgspec.Struct):
    trees: list[Tree] = []
    kinds: Table[str, Tree] = msgspec.field(default_factory=Table)


def test_the_fingerprint_is_the_same_on_every_python_and_msgspec() -> None:
    # Kept as it is, on every Python and msgspec: a new value would make every running bot's state look like
    # another shape. (A set that showed through would fail now and then: strings hash anew in each process.)
    assert Shape(Forest).fingerprint == "f897e24276b81f92"
    assert Shape(Book).fingerprint == "2b9b804289121c5b"
