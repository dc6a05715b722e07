"""A bot's own codecs, and pickles."""

from __future__ import annotations

import datetime
import pickle
from fractions import Fraction
from typing import Any

import msgspec
import pytest

from neverblink.worker import Codec, Worker, pickled
from neverblink.worker.codecs.codec import CodecError
from neverblink.worker.model.cells import Cells, StateError, StateUnreadable
from neverblink.worker.model.migration import Migrations, Translator, migration
from neverblink.worker.model.shape import Shape
from neverblink.worker.runtime.declaration import BotError
from neverblink.worker.worker import WorkerBot

from .round_trip import round_trip, state_with

FRACTION = Codec(Fraction, encode=lambda f: [f.numerator, f.denominator], decode=lambda d: Fraction(*d))


class Model:
    """Something with no form of its own."""

    def __init__(self, weights: list[float]) -> None:
        self.weights = weights

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self.weights == other.weights

    __hash__ = None  # pyright: ignore[reportAssignmentType]


class Parts(msgspec.Struct):
    above: int
    below: int


def test_two_functions_are_enough_for_a_class_of_the_authors() -> None:
    assert round_trip(Fraction, Fraction(1, 3), [FRACTION]) == Fraction(1, 3)
    nested = {"a": [Fraction(1, 3), Fraction(2)]}
    assert round_trip(dict[str, list[Fraction]], nested, [FRACTION]) == nested


def test_a_wire_type_is_decoded_before_the_codec_sees_it() -> None:
    codec = Codec(
        Fraction,
        encode=lambda f: Parts(f.numerator, f.denominator),
        decode=lambda parts: Fraction(parts.above, parts.below),
        wire=Parts,
    )
    assert round_trip(Fraction, Fraction(1, 3), [codec]) == Fraction(1, 3)
    book = state_with(Fraction, Fraction)
    assert Shape(book, [codec]).fingerprint != Shape(book, [FRACTION]).fingerprint
    with pytest.raises(StateUnreadable, match="Fraction: Object missing required field `below`"):
        Cells(book, codecs=[codec]).load({"value": msgspec.msgpack.encode({"above": 1})})


def test_a_codec_that_raises_is_named_with_its_line() -> None:
    def broken(value: Any) -> Any:
        return value["missing"]

    line = broken.__code__.co_firstlineno + 1
    for codec, what in (
        (Codec(Model, broken, lambda d: Model(d)), "encode"),
        (Codec(Model, lambda m: m.weights, broken), "decode"),
    ):
        cells = Cells(state_with(dict[str, Model], lambda: {"a": Model([1.0])}), codecs=[codec])
        with pytest.raises(
            StateError, match=rf"value.*the codec of Model: {what} \(test_codec.py:{line}\) raised TypeError"
        ):
            cells.load(cells.root(cells.fresh()))


def test_a_migration_gets_what_the_codec_encoded() -> None:
    @migration(1, 2)
    def doubled(root: dict[str, Any]) -> dict[str, Any]:
        above, below = root["value"]
        return {"value": [2 * above, below]}

    old, new = (Cells(state_with(Fraction, Fraction), version, codecs=[FRACTION]) for version in (1, 2))
    state = old.fresh()
    state.value = Fraction(1, 3)
    step = type("Steps", (), {"doubled": staticmethod(doubled)})
    translator = Translator(Migrations.of(step), old.schema, new.schema)
    assert new.load(translator.load(old.root(state))).value == Fraction(2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((datetime.datetime, str, str), "msgspec encodes datetime itself"),
        ((list[int], str, str), "expected a class"),
        ((Model, None, str), "encode is None: expected a function"),
        ((type("Sorted", (dict,), {}), str, dict), "write encode=dict"),
    ],
)
def test_what_cannot_be_a_codec_is_refused_with_the_reason(arguments: Any, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        Codec(*arguments)


def test_a_subclass_of_dict_has_a_codec_that_encodes_it_as_a_dict() -> None:
    kind: Any = type("Sorted", (dict,), {})
    found = round_trip(kind, kind(a=1), [Codec(kind, encode=dict, decode=kind)])
    assert type(found) is kind
    assert found == {"a": 1}


def test_a_pickle_is_what_an_author_asks_for_by_name() -> None:
    assert round_trip(Model, Model([1.0, 2.0]), [pickled(Model)]) == Model([1.0, 2.0])
    with pytest.raises(StateError, match="Model, which cannot be encoded"):
        round_trip(Model, Model([1.0]))


def test_a_pickle_that_cannot_be_read_says_who_wrote_it() -> None:
    cells = Cells(state_with(Model, lambda: Model([])), codecs=[pickled(Model)])
    data = msgspec.msgpack.encode([pickle.dumps(Model([]))[:-3], "river 0.21.0"])
    with pytest.raises(
        StateUnreadable, match=r"the pickle was written by river 0\.21\.0 and cannot be read by"
    ):
        cells.load({"value": data})


def test_a_bot_with_codecs_has_a_state_of_their_types() -> None:
    class Book(msgspec.Struct):
        share: Fraction = Fraction(0)

    class Bot(Worker[Book]):
        codecs = [FRACTION]

        def on_tick(self, tick: Any) -> None: ...

    cells = WorkerBot(Bot).cells()
    assert cells.load(cells.root(cells.fresh())).share == Fraction(0)


@pytest.mark.parametrize(
    ("codecs", "message"),
    [
        ("numpy", "codecs is a str: expected a list"),
        (["numpy"], "codecs holds 'numpy': expected Codec"),
        ([FRACTION, FRACTION], "codecs has two for Fraction"),
    ],
)
def test_codecs_that_are_none_are_refused_when_the_class_is_read(codecs: Any, message: str) -> None:
    class Book(msgspec.Struct):
        count: int = 0

    class Bot(Worker[Book]):
        def on_tick(self, tick: Any) -> None: ...

    Bot.codecs = codecs
    with pytest.raises(BotError, match=message):
        WorkerBot(Bot)
