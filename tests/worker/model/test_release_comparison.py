"""What code loses of a state that another release wrote, at every depth, in a copy and in frames."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.frame import Changes
from neverblink.protocol.journal import Position
from neverblink.protocol.state_changes import LostField, StateChanges
from neverblink.worker import Table
from neverblink.worker.model.cells import Cells
from neverblink.worker.model.inbox import Inbox
from neverblink.worker.model.migration import Migrations, migration
from neverblink.worker.model.replica import Replica

Raw = dict[str, Any]


class Position1(msgspec.Struct):
    size: float
    entry: float = 0.0
    leverage: int = 10


class Position2(msgspec.Struct, omit_defaults=True):
    qty: float = 0.0
    entry: float = 0.0


class Fill1(msgspec.Struct, frozen=True):
    price: float
    fee: float = 0.0


class Fill2(msgspec.Struct, frozen=True):
    price: float


class Pair1(msgspec.Struct, array_like=True):
    bid: float = 0.0
    ask: float = 0.0


class Pair2(msgspec.Struct, array_like=True):
    bid: float = 0.0


class Book1(msgspec.Struct):
    ticks: int = 0
    realised: float = 0.0
    mode: str = "fast"
    positions: dict[str, Position1] = {}
    history: list[Position1] = []
    quote: Pair1 = msgspec.field(default_factory=Pair1)
    fills: Table[str, Fill1] = msgspec.field(default_factory=Table)


class Book2(msgspec.Struct):
    """`realised`, `mode` and `size` are renamed; `fee`, `leverage` and `ask` are dropped."""

    ticks: float = 0.0
    pnl: float = 0.0
    way: str = "fast"
    positions: dict[str, Position2] = {}
    history: list[Position2] = []
    quote: Pair2 = msgspec.field(default_factory=Pair2)
    fills: Table[str, Fill2] = msgspec.field(default_factory=Table)


class Renamed(msgspec.Struct):
    """A book whose table has another name."""

    ticks: int = 0
    realised: float = 0.0
    mode: str = "fast"
    positions: dict[str, Position1] = {}
    history: list[Position1] = []
    quote: Pair1 = msgspec.field(default_factory=Pair1)
    trades: Table[str, Fill1] = msgspec.field(default_factory=Table)


class Named(msgspec.Struct):
    """A book with a field renamed in Python only."""

    ticks: int = 0
    pnl: float = msgspec.field(default=0.0, name="realised")
    mode: str = "fast"
    positions: dict[str, Position1] = {}
    history: list[Position1] = []
    quote: Pair1 = msgspec.field(default_factory=Pair1)
    fills: Table[str, Fill1] = msgspec.field(default_factory=Table)


class Tagged(msgspec.Struct, tag="long"):
    size: float = 0.0


class Untagged(msgspec.Struct):
    size: float = 0.0


class OldTag(msgspec.Struct):
    position: Tagged = msgspec.field(default_factory=Tagged)


class NewTag(msgspec.Struct):
    position: Untagged = msgspec.field(default_factory=Untagged)


class Item1(msgspec.Struct):
    same: Any = None
    goes: Any = None


class Item2(msgspec.Struct, omit_defaults=True):
    same: Any = None


class OldAny(msgspec.Struct):
    kept: Any = None
    goes: Any = None
    items: list[Item1] = []


class NewAny(msgspec.Struct):
    kept: Any = None
    items: list[Item2] = []


def replica(state: Any, version: int = 1, *steps: Any) -> Replica:
    cells = Cells(state, version)
    migrations = Migrations([step for function in steps for step in function.__neverblink_migrations__])
    return Replica(cells, cells.schema, migrations, Inbox(lambda: 1, lambda: None, 100, 10**9))


def copied(state: Any, new: Any, version: int = 1, *steps: Any) -> Replica:
    """A worker on the type `new` that has got a copy of `state`."""
    old, made = replica(type(state)), replica(new, version, *steps)
    old.state = state
    old.cells.settle(state)
    made.restore(old.snapshot(), Position(0, 0))
    for rows in old.copy_rows():
        made.add_rows(rows.table, rows.rows)
    return made


def changes(state: Any, new: Any, version: int = 1, *steps: Any) -> StateChanges:
    found = copied(state, new, version, *steps).changes()
    assert found is not None
    return found


def dropped(state: Any, new: Any) -> dict[str, LostField]:
    return {lost.field: lost for lost in changes(state, new).dropped}


def test_a_renamed_field_is_dropped_with_its_value_and_added_with_its_default() -> None:
    found = changes(Book1(realised=12.5), Book2)
    lost = next(one for one in found.dropped if one.field == "realised")
    assert (lost.at, lost.value, lost.default) == ("realised", "12.5", False)
    assert ("pnl", "float", "0.0") in [(new.field, new.type, new.value) for new in found.added]


def test_a_value_that_is_the_old_releases_default_is_not_lost() -> None:
    assert dropped(Book1(), Book2)["mode"].default
    assert not dropped(Book1(mode="slow"), Book2)["mode"].default
    assert not dropped(Book1(mode=""), Book2)["mode"].default


def test_a_field_of_a_struct_in_a_dict_is_found_with_its_path_and_counted() -> None:
    book = Book1(positions={"BTC": Position1(0.0), "ETH": Position1(0.5), "SOL": Position1(2.0)})
    lost = dropped(book, Book2)["positions.size"]
    assert (lost.at, lost.value, lost.count, lost.default) == ("positions.ETH.size", "0.5", 2, False)
    # A default of the old release, and a field that the new one has and leaves out as its default.
    assert dropped(book, Book2)["positions.leverage"].default
    assert "positions.entry" not in dropped(book, Book2)


def test_a_field_of_a_struct_in_a_list_is_found() -> None:
    assert (
        dropped(Book1(history=[Position1(0.0), Position1(3.0)]), Book2)["history.size"].at
        == "history[1].size"
    )


def test_an_item_of_a_struct_that_travels_as_an_array_is_found() -> None:
    lost = dropped(Book1(quote=Pair1(1.0, 2.0)), Book2)["quote.ask"]
    assert (lost.at, lost.value) == ("quote.ask", "2.0")


def test_a_field_of_a_tables_rows_is_found_and_the_rows_are_counted() -> None:
    book = Book1(fills=Table({"f1": Fill1(1.0), "f2": Fill1(2.0, 0.25)}))
    assert dropped(book, Book2)["fills.fee"].at == "fills.f2.fee"
    assert changes(book, Book2).rows == {"fills": 2}


def test_a_renamed_table_is_dropped_with_all_of_its_rows() -> None:
    found = changes(Book1(fills=Table({"f1": Fill1(1.0), "f2": Fill1(2.0)})), Renamed)
    assert [(one.field, one.rows, one.default) for one in found.dropped] == [("fills", 2, False)]
    assert [one.field for one in found.added] == ["trades"]
    empty = changes(Book1(), Renamed)
    assert [one for one in empty.dropped if not one.default] == []


def test_a_field_that_keeps_its_name_in_the_state_loses_nothing() -> None:
    made = copied(Book1(realised=12.5), Named)
    assert made.state.pnl == 12.5
    found = made.changes()
    assert found is None or found.same


def test_a_retyped_field_is_told_with_both_types_and_its_value_is_kept() -> None:
    made = copied(Book1(ticks=7), Book2)
    assert made.state.ticks == 7
    found = made.changes()
    assert found is not None
    assert ("ticks", "int", "float") in [(one.field, one.before, one.after) for one in found.retyped]
    assert "ticks" not in {one.field for one in found.dropped}


def test_an_integer_that_a_float_cannot_hold_is_lost() -> None:
    assert dropped(Book1(ticks=2**60 + 1), Book2)["ticks"].value == str(2**60 + 1)


def test_other_forms_of_the_same_value_are_not_lost() -> None:
    class Old(msgspec.Struct):
        when: str = ""
        days: dict[str, int] = {}
        names: list[str] = []
        gone: int = 0

    class New(msgspec.Struct):
        when: datetime | None = None
        days: dict[str, float] = {}
        names: set[str] = set()

    old = Old(datetime(2026, 11, 30, tzinfo=UTC).isoformat(), {"b": 1, "a": 2}, ["z", "a", "m"])
    assert {lost.field for lost in changes(old, New).dropped} == {"gone"}
    twice = Old("2026-11-30T00:00:00Z", {}, ["a", "a"])
    assert "names" in dropped(twice, New)


def test_a_tag_of_a_struct_is_no_value() -> None:
    assert [one for one in changes(OldTag(Tagged(1.0)), NewTag).dropped if not one.default] == []


def test_what_a_frame_makes_of_a_dropped_default_is_found_too() -> None:
    made = copied(Book1(), Book2)
    made.may_drop = ()
    assert made.refusal() == ""
    comparison = made.comparison
    assert comparison is not None
    comparison.note(Changes({"realised": msgspec.msgpack.encode(4.0)}, {}))
    assert "realised = 4.0" in made.refusal()
    comparison.note(Changes({"realised": msgspec.msgpack.encode(0.0)}, {}))
    assert made.refusal() == ""


def test_the_same_type_needs_no_comparison() -> None:
    assert copied(Book1(realised=1.0), Book1).changes() is None


@migration(1, 2)
def renames(root: Raw) -> Raw:
    root["pnl"] = root.pop("realised")
    return root


@migration(1, 2)
def copies(root: Raw) -> Raw:
    return {"ticks": root["ticks"], "positions": {}, "pnl": 0.0}


@migration(1, 2, drops=["realised", "mode", "positions", "history", "quote", "fills.fee"])
def declares(root: Raw) -> Raw:
    return {"ticks": root["ticks"]}


@migration(1, 2, table="fills")
def row(fill: Raw) -> Raw:
    return {"price": fill["price"]}


def test_what_a_migration_has_read_is_its_own_affair() -> None:
    made = copied(Book1(realised=12.5), Book2, 2, renames)
    assert made.state.pnl == 12.5
    found = made.changes()
    assert found is not None
    assert "realised" not in {lost.field for lost in found.dropped}
    assert [new.by for new in found.added if new.field == "pnl"] == ["migration"]


def test_what_a_migration_leaves_out_without_reading_it_is_lost_in_the_root_and_in_rows() -> None:
    book = Book1(realised=12.5, positions={"BTC": Position1(1.0)}, fills=Table({"f1": Fill1(1.0, 0.5)}))
    found = {lost.field: lost for lost in changes(book, Book2, 2, copies, row).dropped}
    assert (found["realised"].by, found["realised"].value) == ("copies", "12.5")
    assert (found["fills.fee"].by, found["fills.fee"].at) == ("row", "fills.f1.fee")
    assert found["history"].default


def test_a_migration_may_declare_what_it_drops() -> None:
    book = Book1(realised=12.5, positions={"BTC": Position1(1.0)}, fills=Table({"f1": Fill1(1.0, 0.5)}))
    made = copied(book, Book2, 2, declares, row)
    made.may_drop = ()
    assert made.refusal() == ""
    assert {one.field for one in changes(book, Book2, 2, declares, row).dropped if one.declared} >= {
        "realised"
    }


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), _values, max_size=4), _values, _values)
def test_nothing_of_a_field_that_stays_is_reported_and_all_of_one_that_goes(
    kept: dict[str, Any], goes: Any, inner: Any
) -> None:
    found = dropped(OldAny(kept, goes, [Item1(kept, inner)]), NewAny)
    assert found.keys() == {"goes", "items.goes"}
    assert found["goes"].default == (goes is None)
    assert found["items.goes"].default == (inner is None)
