"""pydantic models in a state are the same in every process."""

from __future__ import annotations

import datetime
import enum
import math
import uuid
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field

from neverblink.worker.model.cells import Cells, StateError, StateUnreadable

from .round_trip import round_trip, state_with

T = TypeVar("T")


class Side(enum.Enum):
    BUY = "buy"


class Level(BaseModel):
    price: Decimal
    size: float = 0.0


class Order(BaseModel):
    model_config = ConfigDict(strict=True)

    id: uuid.UUID = uuid.UUID(int=7)
    side: Side = Side.BUY
    when: datetime.datetime = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    local: datetime.datetime = datetime.datetime.fromisoformat("2026-01-01T12:00:00")
    day: datetime.date = datetime.date(2026, 1, 2)
    span: datetime.timedelta = datetime.timedelta(seconds=1.5)
    raw: bytes = b"\xff\x00"
    levels: list[Level] = []
    by_price: dict[int, Level] = {}
    tags: set[str] = set()
    pair: tuple[int, str] = (1, "a")
    parent: Order | None = None
    renamed: int = Field(alias="reNamed")

    @computed_field
    @property
    def double(self) -> int:
        return 2 * self.renamed


class Page(BaseModel, Generic[T]):
    items: list[T]


class Names(RootModel[list[str]]):
    pass


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    a: int = 1


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (Order, Order(reNamed=3)),
        (
            Order,
            Order(
                reNamed=5,
                levels=[Level(price=Decimal("1.50"))],
                by_price={3: Level(price=Decimal(3))},
                tags={"x"},
                parent=Order(reNamed=6),
            ),
        ),
        (dict[str, Level], {"a": Level(price=Decimal("0.1"))}),
        (Page[Level], Page[Level](items=[Level(price=Decimal(1))])),
        (Names, Names(["a", "b"])),
        (Open, Open.model_validate({"a": 2, "b": [1, "x"]})),
        (Level | None, None),
    ],
)
def test_a_model_comes_back_equal(hint: Any, value: Any) -> None:
    found = round_trip(hint, value)
    assert found == value
    assert type(found) is type(value)


def test_nan_and_infinity_come_back() -> None:
    found = round_trip(Level, Level(price=Decimal(1), size=math.nan))
    assert math.isnan(found.size)
    assert round_trip(Level, Level(price=Decimal(1), size=-math.inf)).size == -math.inf


def test_a_model_that_no_longer_fits_names_field_and_reason() -> None:
    cells = Cells(state_with(dict[str, Level], dict))
    data = msgspec.msgpack.encode({"a": {"price": "much"}})
    with pytest.raises(StateUnreadable, match=r"Level\.price: .* - at `value\[\.\.\.\]`.*@migration"):
        cells.load({"value": data})


def test_a_field_that_cannot_be_encoded_is_named() -> None:
    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)

        thing: Any = None

    cells = Cells(state_with(Odd, Odd))
    state = cells.fresh()
    state.value.thing = object()
    with pytest.raises(StateError, match="state field value"):
        cells.collect(state)
