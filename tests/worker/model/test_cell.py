"""A Cell is encoded when it says that it changed, and only then."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from neverblink.worker import Cell, Codec, Table
from neverblink.worker.model.cells import Cells, StateError
from neverblink.worker.model.shape import Shape, StateTypeError


class Model:
    """Counts how often it is encoded."""

    encoded = 0

    def __init__(self, seen: int = 0) -> None:
        self.seen = seen


def encode(model: Model) -> int:
    Model.encoded += 1
    return model.seen


CODECS = [Codec(Model, encode, Model)]


class Book(msgspec.Struct):
    count: int = 0
    model: Cell[Model] = msgspec.field(default_factory=lambda: Cell(Model()))


class Slow(msgspec.Struct):
    model: Cell[Model] = msgspec.field(default_factory=lambda: Cell(Model(), every="10s"))


@pytest.fixture
def leader() -> tuple[Cells, Any]:
    cells = Cells(Book, codecs=CODECS)
    state = cells.fresh()
    Model.encoded = 0
    return cells, state


def test_an_untouched_cell_is_not_encoded_again(leader: tuple[Cells, Any]) -> None:
    cells, state = leader
    for _ in range(100):
        state.count += 1
        assert cells.collect(state).cells.keys() == {"count"}
        assert not cells.differing(state)
    cells.root(state)
    assert Model.encoded == 0


def test_a_touched_cell_is_encoded_once_and_reaches_a_follower(leader: tuple[Cells, Any]) -> None:
    cells, state = leader
    follower = Cells(Book, codecs=CODECS)
    twin = follower.load(cells.root(state))
    state.model.value.seen = 7
    state.model.touch()
    changes = cells.collect(state)
    assert changes.cells.keys() == {"model"}
    assert Model.encoded == 1
    assert not cells.collect(state)
    follower.apply(twin, changes)
    assert twin.model.value.seen == 7
    assert not follower.differing(twin)
    assert follower.root(twin) == cells.root(state)
    assert Model.encoded == 1


def test_assigning_the_value_or_changing_it_in_a_block_touches_the_cell(leader: tuple[Cells, Any]) -> None:
    cells, state = leader
    state.model.value = Model(3)
    assert cells.collect(state).cells.keys() == {"model"}
    with state.model.change() as model:
        model.seen = 4
    assert cells.collect(state).cells.keys() == {"model"}
    with pytest.raises(ZeroDivisionError), state.model.change() as model:
        model.seen = 1 // 0
    assert state.model.touched


def test_another_cell_in_its_place_is_a_change_too(leader: tuple[Cells, Any]) -> None:
    cells, state = leader
    state.model = Cell(Model(9))
    assert cells.collect(state).cells.keys() == {"model"}


def test_a_cell_touched_outside_a_turn_is_found(leader: tuple[Cells, Any]) -> None:
    cells, state = leader
    state.model.value.seen = 1
    state.model.touch()
    assert cells.differing(state) == ("model",)


def test_a_touch_that_was_forgotten_is_found_when_it_is_looked_for(leader: tuple[Cells, Any]) -> None:
    cells, state = leader
    assert not cells.touch_is_missing(state, "model")
    state.model.value.seen = 1
    assert not cells.collect(state)
    assert cells.touch_is_missing(state, "model")
    state.model.touch()
    assert not cells.touch_is_missing(state, "model")


def test_a_cell_with_a_shortest_time_is_encoded_at_most_so_often_and_before_a_handoff() -> None:
    cells = Cells(Slow, codecs=CODECS)
    now = 10**12
    cells.pace.clock = lambda: now
    state = cells.fresh()
    Model.encoded = 0
    for _ in range(100):
        now += 10**9
        state.model.value.seen += 1
        state.model.touch()
        cells.collect(state, all_of_it=False)
        assert not cells.differing(state)
    assert Model.encoded <= 11
    state.model.value = Model(101)
    cells.collect(state, all_of_it=False)
    assert cells.pace.waiting
    assert cells.collect(state).cells["model"] == msgspec.msgpack.encode(101)
    assert not cells.pace.waiting


def test_a_follower_keeps_the_shortest_time_that_the_state_declares() -> None:
    leader, follower = Cells(Slow, codecs=CODECS), Cells(Slow, codecs=CODECS)
    twin = follower.load(leader.root(leader.fresh()))
    assert twin.model.every == 10_000_000_000


def test_a_value_that_cannot_be_encoded_is_named_and_stays_touched(leader: tuple[Cells, Any]) -> None:
    cells, state = leader
    state.model.value.seen = object()
    state.model.touch()
    with pytest.raises(StateError, match="state field model"):
        cells.collect(state)
    state.model.value.seen = 2
    assert cells.collect(state).cells.keys() == {"model"}


def test_a_field_can_become_a_cell_and_back_without_a_migration(leader: tuple[Cells, Any]) -> None:
    class Plain(msgspec.Struct):
        count: int = 0
        model: Model = msgspec.field(default_factory=Model)

    cells, state = leader
    plain = Cells(Plain, codecs=CODECS)
    state.model.value = Model(5)
    read = plain.load(cells.root(state))
    assert read.model.seen == 5
    assert cells.load(plain.root(read)).model.value.seen == 5


def test_what_replaces_a_cell_must_be_a_cell(leader: tuple[Cells, Any]) -> None:
    cells, state = leader
    state.model = Model()
    with pytest.raises(StateError, match=r"self\.state\.model\.value = "):
        cells.collect(state)


@pytest.mark.parametrize(
    ("hint", "default", "message"),
    [
        (Cell, lambda: Cell(1), r"does not say what it holds: write Cell\[River\]"),
        (Cell[int], int, "the default of cell value is not a Cell"),
        (dict[str, Cell[int]], dict, "has a Cell inside"),
        (Cell[Table[str, int]], lambda: Cell(Table()), "has a Table inside"),
    ],
)
def test_a_cell_is_a_field_of_the_state_with_a_default(hint: Any, default: Any, message: str) -> None:
    with pytest.raises(StateTypeError, match=message):
        Shape(msgspec.defstruct("Bad", [("value", hint, msgspec.field(default_factory=default))]))


def test_a_copy_of_a_cell_is_a_cell_of_its_own() -> None:
    cell = Cell([1])
    deep = copy.deepcopy(cell)
    deep.value.append(2)
    assert (cell.value, copy.copy(cell) == cell, deep.touched) == ([1], True, True)
