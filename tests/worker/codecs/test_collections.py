"""deque, defaultdict, OrderedDict and Counter in a state are the same in every process."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from typing import Any, cast

import msgspec
import pytest

from neverblink.worker.model.cells import Cells, StateError, StateUnreadable
from neverblink.worker.model.shape import Shape, StateTypeError

from .round_trip import round_trip, state_with


class Lot(msgspec.Struct):
    size: float = 0.0
    fills: deque[int] = msgspec.field(default_factory=lambda: deque[int]())


class Named(msgspec.Struct):
    name: str


class Box(msgspec.Struct):
    inside: list[deque[Decimal]] = []


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (deque[float], deque([1.0, 2.5])),
        (deque[float], deque([1.0, 2.0, 3.0], maxlen=3)),
        (deque, deque(["a", 1, None], maxlen=0)),
        (deque[Lot], deque([Lot(1.0, deque([1, 2], maxlen=9))])),
        (dict[str, deque[int]], {"a": deque([1])}),
        (deque[int] | None, None),
        (deque[int] | None, deque([1])),
        (OrderedDict[int, Decimal], OrderedDict([(2, Decimal("0.1")), (1, Decimal(3))])),
        (Counter[str], Counter("abca")),
        (Counter[int], Counter({1: -2, 2: 0})),
        (defaultdict[str, int], defaultdict(int, {"a": 1})),
        (Box, Box([deque([Decimal(1)])])),
        (tuple[deque[int], Counter[str]], (deque([1]), Counter("a"))),
    ],
)
def test_a_value_comes_back_as_what_it_was(hint: Any, value: Any) -> None:
    found = round_trip(hint, value)
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, deque):
        assert found.maxlen == value.maxlen


MISSING: list[tuple[Any, Any]] = [
    (defaultdict[str, int], 0),
    (defaultdict[str, float], 0.0),
    (defaultdict[str, str], ""),
    (defaultdict[str, Decimal], Decimal(0)),
    (defaultdict[str, list[int]], []),
    (defaultdict[str, dict[str, int]], {}),
    (defaultdict[str, set[int]], set()),
    (defaultdict[str, tuple[int, ...]], ()),
    (defaultdict[str, deque[int]], deque()),
    (defaultdict[str, Counter[str]], Counter()),
    (defaultdict[str, Lot], Lot()),
]


@pytest.mark.parametrize(("hint", "missing"), MISSING)
def test_a_defaultdict_makes_of_a_missing_key_what_its_type_says(hint: Any, missing: Any) -> None:
    unset: defaultdict[Any, Any] = defaultdict(None)
    found = round_trip(hint, defaultdict(lambda: missing), default=lambda: unset)
    assert found["new"] == missing
    assert type(found["new"]) is type(missing)


def test_a_nested_defaultdict_has_the_factory_of_its_own_type() -> None:
    books: defaultdict[str, Any] = defaultdict(lambda: cast(Any, defaultdict(list)))
    found = round_trip(defaultdict[str, defaultdict[str, list[int]]], books)
    found["a"]["b"].append(1)
    assert found == {"a": {"b": [1]}}


def test_a_factory_that_the_fields_default_has_is_used_in_every_process() -> None:
    found = round_trip(defaultdict[str, float], defaultdict(lambda: 100.0, {"a": 1.0}))
    assert found["new"] == 100.0
    named = round_trip(defaultdict[str, Named], defaultdict(lambda: Named("?")))
    assert named["new"] == Named("?")


def test_a_defaultdict_of_what_cannot_be_made_without_arguments_is_refused_with_the_mend() -> None:
    for hint in (defaultdict[str, Named], defaultdict[str, int | None], defaultdict[str, tuple[int, int]]):
        with pytest.raises(StateTypeError, match=r"'value'.*missing key.*default_factory"):
            Shape(state_with(dict[str, hint], dict))


def test_a_deque_where_a_list_is_declared_is_refused_with_what_to_declare() -> None:
    cells = Cells(state_with(dict[str, list[float]], dict))
    state = cells.fresh()
    state.value = {"a": deque([1.0])}
    with pytest.raises(
        StateError, match=r"value\['a'\]: a deque cannot be encoded here.*declare deque\[float\]"
    ):
        cells.collect(state)


def test_an_item_of_the_wrong_type_is_named_with_its_place() -> None:
    cells = Cells(state_with(dict[str, deque[float]], dict))
    state = cells.fresh()
    state.value = {"a": deque([1.0, None])}
    with pytest.raises(
        StateUnreadable, match=r"deque: Expected `float`, got `null` - at `\[1\]` - at `value"
    ):
        cells.check(cells.collect(state))


def test_a_subclass_without_a_codec_is_refused_by_name() -> None:
    class Recent(deque[int]):
        pass

    with pytest.raises(StateTypeError, match=r"it is Recent.*codecs = \[Codec\(Recent"):
        Shape(state_with(Recent, Recent))
    cells = Cells(state_with(deque[int], deque))
    state = cells.fresh()
    state.value = Recent()
    with pytest.raises(StateError, match=r"a Recent where a deque is declared"):
        cells.collect(state)


def test_a_list_or_dict_can_become_one_of_these_and_back_without_a_migration() -> None:
    pairs: list[tuple[Any, Any, Any]] = [
        (list[int], deque[int], [1, 2]),
        (dict[str, int], defaultdict[str, int], {"a": 1}),
        (dict[str, int], Counter[str], {"a": 1}),
    ]
    for plain, special, value in pairs:
        old, new = Cells(state_with(plain, lambda value=value: value)), Cells(state_with(special, special))
        state = new.load(old.root(old.fresh()))
        assert type(state.value) is not type(value)
        assert old.load(new.root(state)).value == value


def test_what_is_inside_a_codec_is_part_of_the_fingerprint() -> None:
    def fingerprint(hint: Any) -> str:
        return Shape(state_with(hint, lambda: None)).fingerprint

    kinds: list[Any] = [deque[int], deque[str], Counter[str], OrderedDict[str, int], OrderedDict[str, str]]
    assert len({fingerprint(kind) for kind in kinds}) == len(kinds)
    assert fingerprint(deque[int]) == fingerprint(deque[int])


def test_a_generic_struct_knows_the_codec_of_its_parameter() -> None:
    from .generic_state import Ring

    found = round_trip(Ring[int], Ring(deque([1, 2], maxlen=2)))
    assert found.items == deque([1, 2])
    assert found.items.maxlen == 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the statement `type` needs Python 3.12")
def test_the_type_that_a_generic_alias_stands_for_has_its_codec() -> None:
    names: dict[str, Any] = {}
    exec("type Line[T] = deque[T]\nhint = dict[str, Line[float]]", {"deque": deque}, names)
    value = {"BTC": deque([1.5, 2.5])}
    found = round_trip(names["hint"], value)
    assert found == value
    assert type(found["BTC"]) is deque
