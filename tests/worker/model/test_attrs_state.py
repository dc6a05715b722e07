"""A state that is a class of attrs, which msgspec reads as it reads a dataclass."""

from __future__ import annotations

import attrs
import pytest

from neverblink.worker.model.cells import Cells
from neverblink.worker.model.shape import Shape, StateTypeError
from neverblink.worker.model.table import RowTypeError, Table


@attrs.frozen
class Candle:
    close: float


@attrs.define
class Position:
    size: float = 0.0


@attrs.define
class Book:
    count: int = 0
    positions: dict[str, Position] = attrs.field(factory=dict[str, Position])
    candles: Table[str, Candle] = attrs.field(factory=Table[str, Candle])


@attrs.frozen
class Fixed:
    count: int = 0


@attrs.define
class Loose:
    rows: Table[str, Position] = attrs.field(factory=Table[str, Position])


def test_a_change_in_an_attrs_state_reaches_a_follower() -> None:
    leader, follower = Cells(Book), Cells(Book)
    state = leader.fresh()
    twin = follower.load(leader.root(state))
    state.count = 7
    state.positions["BTC"] = Position(1.5)
    state.candles["BTC"] = Candle(2.0)
    follower.apply(twin, leader.collect(state))
    assert (twin.count, twin.positions, twin.candles["BTC"]) == (7, {"BTC": Position(1.5)}, Candle(2.0))
    state.positions["BTC"].size = 3.0
    assert leader.collect(state).cells.keys() == {"positions"}


def test_a_frozen_attrs_class_is_refused_as_a_state_by_name() -> None:
    with pytest.raises(StateTypeError, match="Fixed is frozen"):
        Shape(Fixed)


def test_a_mutable_attrs_row_is_refused_with_the_mend() -> None:
    with pytest.raises(RowTypeError, match=r"attrs class Position.*@attrs\.frozen"):
        Shape(Loose)
