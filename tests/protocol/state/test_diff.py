"""What differs between two states, also of different types."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.state.diff import StateDiff, state_diff, type_words
from neverblink.protocol.state.values import StateValues
from neverblink.worker import Table
from neverblink.worker.model.cells import Cells
from neverblink.worker.model.shape import Shape
from neverblink.worker.model.state_schema import state_schema


class Lot(msgspec.Struct, frozen=True):
    size: float
    why: str = ""


class Before(msgspec.Struct):
    realised: float = 0.0
    fees: int = 0
    tags: list[str] = []
    lots: Table[str, Lot] = msgspec.field(default_factory=Table)
    old: Table[int, Lot] = msgspec.field(default_factory=Table)


class After(msgspec.Struct):
    pnl: float = 0.0
    fees: float = 0
    tags: list[str] = []
    lots: Table[str, Lot] = msgspec.field(default_factory=Table)


def values(state: Any) -> StateValues:
    """As a journal would have it."""
    cells = Cells(type(state))
    cells.settle(state)
    found = StateValues(
        cells.schema, msgspec.json.decode(cells.types), cells.boundary(), list(cells.table_names)
    )
    for table in cells.table_names:
        found.add_rows(table, cells.rows(state, table, list(cells.keys(state, table))))
    return found


def test_a_rename_shows_the_dropped_value_and_the_added_default() -> None:
    before = values(Before(realised=103.25, old=Table({1: Lot(1.0), 2: Lot(2.0)})))
    found = state_diff(before, values(After()))
    fields = {field.name: field for field in found.fields}
    assert {name: field.kind for name, field in fields.items()} == {
        "realised": "dropped",
        "old": "dropped",
        "pnl": "added",
        "fees": "retyped",
    }
    assert (fields["realised"].value, fields["realised"].default) == (103.25, False)
    assert (fields["old"].rows, fields["old"].default) == (2, False)
    assert (fields["fees"].before, fields["fees"].after) == ("int", "float")
    assert (fields["pnl"].value, fields["pnl"].after) == (0.0, "float")


def test_a_dropped_field_that_has_its_default_loses_nothing() -> None:
    found = state_diff(values(Before()), values(After()))
    assert {field.name: field.default for field in found.fields if field.kind == "dropped"} == {
        "realised": True,
        "old": True,
    }


class Blob(msgspec.Struct, frozen=True, array_like=True):
    data: bytes = b"x"
    keys: dict[int, float] = msgspec.field(default_factory=lambda: {1: math.nan})


class Odd(msgspec.Struct):
    kept: int = 0
    blob: Blob = Blob()
    when: datetime = datetime(2026, 11, 24, tzinfo=UTC)
    keys: dict[int, float] = msgspec.field(default_factory=lambda: {1: math.inf})


class Less(msgspec.Struct):
    kept: int = 0


def test_a_default_is_known_as_one_whatever_its_type() -> None:
    found = state_diff(values(Odd()), values(Less()))
    assert {field.name: field.default for field in found.fields} == {"blob": True, "when": True, "keys": True}
    found = state_diff(values(Odd(Less().kept, Blob(b"y"), keys={2: math.inf})), values(Less()))
    assert {field.name: field.default for field in found.fields} == {
        "blob": False,
        "when": True,
        "keys": False,
    }


def test_rows_are_counted_and_values_named_by_their_path() -> None:
    before = Before(tags=["a", "b"], lots=Table({"x": Lot(1.0), "y": Lot(2.0), "z": Lot(3.0)}))
    after = Before(tags=["a", "c", "d"], lots=Table({"x": Lot(1.0), "y": Lot(2.5, "more"), "a.b": Lot(4.0)}))
    found = state_diff(values(before), values(after))
    (rows,) = found.tables
    assert (rows.name, rows.before, rows.after, rows.added, rows.removed, rows.changed) == (
        "lots",
        3,
        3,
        1,
        1,
        1,
    )
    assert {(change.path, change.there) for change in found.changes} == {
        ("tags[1]", "both"),
        ("tags[2]", "after"),
        ("lots.y.size", "both"),
        ("lots.y.why", "both"),
        ("lots.z", "before"),
        ('lots["a.b"]', "after"),
    }
    assert not found.same


def test_of_many_values_the_first_are_listed_and_all_are_counted() -> None:
    before = Before(lots=Table({f"k{n}": Lot(float(n)) for n in range(1000)}))
    after = Before(lots=Table({f"k{n}": Lot(float(n + 1)) for n in range(1000)}))
    found = state_diff(values(before), values(after), limit=10)
    assert (len(found.changes), found.total, found.tables[0].changed) == (10, 1000, 1000)


rows = st.dictionaries(
    st.text(max_size=2), st.builds(Lot, st.floats(0, 3), st.sampled_from("ab")), max_size=4
)
books = st.builds(
    Before,
    realised=st.floats(0, 2),
    fees=st.integers(0, 2),
    tags=st.lists(st.sampled_from("ab"), max_size=3),
    lots=rows.map(Table),
)


@given(one=books, other=books)
@pytest.mark.deep
def test_two_states_are_the_same_only_where_nothing_is_listed(one: Before, other: Before) -> None:
    found: StateDiff = state_diff(values(one), values(other))
    assert found.same == (one == other)
    back = state_diff(values(other), values(one))
    assert back.total == found.total


def test_types_are_told_in_words() -> None:
    schema = state_schema(Shape(Before))
    assert type_words(schema["properties"]["lots"], schema) == "table of str to Lot"
    assert type_words(schema["properties"]["old"], schema) == "table of int to Lot"
    assert type_words(schema["properties"]["tags"], schema) == "list of str"
