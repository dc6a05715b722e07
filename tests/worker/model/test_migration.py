from __future__ import annotations

from itertools import pairwise
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.frame import Changes, Schema
from neverblink.worker.model.cells import Cells
from neverblink.worker.model.migration import (
    MigrationError,
    MigrationFailed,
    MigrationMissing,
    Migrations,
    Translator,
    migration,
)
from neverblink.worker.model.table import Table

Raw = dict[str, Any]
encode = msgspec.msgpack.encode


class Candle(msgspec.Struct, frozen=True):
    close: float


class CandleCents(msgspec.Struct, frozen=True):
    cents: int


class Old(msgspec.Struct):
    sizes: dict[str, float] = {}
    fee: float = 0.0
    candles: Table[str, Candle] = msgspec.field(default_factory=Table)
    levels: Table[str, int] = msgspec.field(default_factory=Table)


class New(msgspec.Struct):
    lots: dict[str, int] = {}
    total: int = 0
    fee: float = 0.0
    candles: Table[str, CandleCents] = msgspec.field(default_factory=Table)
    trades: Table[str, int] = msgspec.field(default_factory=Table)


@migration(1, 2)
def sizes_became_lots(root: Raw) -> Raw:
    root["lots"] = {market: round(size * 100) for market, size in root.pop("sizes").items()}
    root["total"] = sum(root["lots"].values())
    return root


@migration(1, 2, table="candles")
def close_in_cents(row: Raw) -> Raw:
    return {"cents": round(row["close"] * 100)}


class Bot:
    @staticmethod
    @migration(2, 3)
    def keeps_nothing_else(root: Raw) -> Raw:
        return {"lots": root["lots"]}

    @migration(3, 2)
    @staticmethod
    def back(root: Raw) -> Raw:
        return {"total": sum(root["lots"].values()), **root}


def schema(version: int) -> Schema:
    return Schema(version, "")


def steps(*edges: tuple[int, int]) -> Migrations:
    def step(a: int, b: int) -> Any:
        @migration(a, b)
        def made(root: Raw) -> Raw:
            root.setdefault("way", []).append([a, b])
            return root

        return made

    module = ModuleType("steps")
    for a, b in edges:
        setattr(module, f"m{a}_{b}", step(a, b))
    return Migrations.of(module)


def only(function: Any) -> Migrations:
    module = ModuleType("only")
    module.__dict__["function"] = function
    return Migrations.of(module)


def test_migrations_are_found_in_the_class_and_its_module() -> None:
    found = Migrations.of(Bot)
    assert found.path(1, 3) == (1, 2, 3)
    assert found.path(3, 2) == (3, 2)
    assert [step.name for step in found.roots(1, 3)] == ["sizes_became_lots", "Bot.keeps_nothing_else"]
    assert [step.name for step in found.tables(1, 3)["candles"]] == ["close_in_cents"]


def test_a_decorated_migration_is_still_the_plain_function() -> None:
    assert close_in_cents({"close": 1.5}) == {"cents": 150}
    assert Bot.back({"lots": {"a": 1}}) == {"total": 1, "lots": {"a": 1}}


def test_the_shortest_chain_of_migrations_is_used() -> None:
    assert steps((1, 2), (2, 3), (3, 4)).path(1, 4) == (1, 2, 3, 4)
    assert steps((1, 2), (2, 3), (1, 3)).path(1, 3) == (1, 3)
    assert steps((1, 2), (2, 1)).path(2, 1) == (2, 1)
    assert steps().path(5, 5) == (5,)


def test_a_missing_migration_is_reported_with_the_mend() -> None:
    with pytest.raises(MigrationMissing) as caught:
        steps((1, 2), (2, 3)).path(1, 4)
    assert str(caught.value) == (
        "no migration leads from schema 1 to 4 (there are: 1 -> 2, 2 -> 3): write @migration(1, 4)"
    )
    assert (caught.value.source, caught.value.target) == (1, 4)


def test_two_equally_short_chains_are_refused() -> None:
    with pytest.raises(MigrationError, match="1 -> 2 -> 4 and 1 -> 3 -> 4: write @migration"):
        steps((1, 2), (2, 4), (1, 3), (3, 4)).path(1, 4)


def test_two_functions_for_one_step_are_refused() -> None:
    @migration(1, 2)
    def other(root: Raw) -> Raw:
        return root

    module = ModuleType("double")
    module.__dict__.update(one=sizes_became_lots, again=sizes_became_lots)
    assert Migrations.of(module).path(1, 2) == (1, 2)  # one function under two names is one
    module.__dict__.update(two=other)
    with pytest.raises(
        MigrationError, match=r"sizes_became_lots and .*other both migrate the root.*keep one"
    ):
        Migrations.of(module)


def test_a_migration_to_the_same_version_is_refused() -> None:
    with pytest.raises(MigrationError, match="leads nowhere"):
        migration(2, 2)


@given(st.sets(st.tuples(st.integers(1, 5), st.integers(1, 5)).filter(lambda edge: edge[0] != edge[1])))
def test_every_chain_consists_of_known_steps_and_is_the_shortest(edges: set[tuple[int, int]]) -> None:
    found = steps(*edges)
    lengths = shortest(edges)
    for target in range(1, 6):
        try:
            path = found.path(1, target)
        except MigrationMissing:
            assert target not in lengths
        except MigrationError:
            assert target in lengths
        else:
            assert set(pairwise(path)) <= edges
            assert len(path) - 1 == lengths[target]


def shortest(edges: set[tuple[int, int]]) -> dict[int, int]:
    found = {1: 0}
    for _ in range(6):
        for a, b in edges:
            if a in found:
                found[b] = min(found.get(b, 99), found[a] + 1)
    return found


markets = st.sampled_from(["BTC", "ETH", "SOL"])
moves = st.lists(
    st.tuples(
        st.sampled_from(["size", "close", "candle", "drop", "fee", "level"]), markets, st.integers(0, 9)
    ),
    max_size=20,
)


def move(state: Old, kind: str, market: str, value: int) -> None:
    if kind == "size":
        state.sizes[market] = float(value)
    elif kind == "close":
        state.sizes.pop(market, None)
    elif kind == "candle":
        state.candles[market] = Candle(float(value))
    elif kind == "drop":
        state.candles.pop(market, None)
    elif kind == "fee":
        state.fee = float(value)
    else:
        state.levels[market] = value


@given(moves, moves)
def test_a_follower_on_newer_code_has_the_migrated_state_at_every_boundary(
    before: list[tuple[str, str, int]], after: list[tuple[str, str, int]]
) -> None:
    old, new = Cells(Old), Cells(New, version=2)
    translator = Translator(Migrations.of(Bot), schema(1), schema(2))
    state = old.fresh()
    for step in before:
        move(state, *step)
    old.settle(state)
    follower = new.load(translator.load(old.root(state)))
    for table in old.sizes(state):
        rows = list(old.rows(state, table, old.keys(state, table)))
        new.apply(follower, translator.translate(Changes({}, {table: [*rows]})))
    for step in after:
        move(state, *step)
        new.apply(follower, translator.translate(old.collect(state)))
        assert follower.lots == {market: round(size * 100) for market, size in state.sizes.items()}
        assert follower.total == sum(follower.lots.values())
        assert follower.fee == state.fee
        assert follower.candles == {m: CandleCents(round(c.close * 100)) for m, c in state.candles.items()}
        assert not follower.trades  # a table the old code does not have; `levels` was dropped
        assert new.differing(follower) == ()
    old.forget()
    new.apply(follower, translator.translate(old.collect(state)))
    assert follower.candles == {m: CandleCents(round(c.close * 100)) for m, c in state.candles.items()}


def test_only_migrated_cells_that_differ_are_returned() -> None:
    translator = Translator(Migrations.of(Bot), schema(1), schema(2))
    root = translator.load({"sizes": encode({"BTC": 1.0}), "fee": encode(0.5)})
    assert root.keys() == {"lots", "total", "fee"}
    assert translator.translate(Changes({"fee": encode(0.25)}, {})) == Changes({"fee": encode(0.25)}, {})
    assert not translator.translate(Changes({"sizes": encode({"BTC": 1.001})}, {}))
    assert translator.translate(Changes({"sizes": encode({"BTC": 2.0})}, {})).cells.keys() == {
        "lots",
        "total",
    }


def test_between_equal_versions_nothing_is_translated() -> None:
    translator = Translator(Migrations(), Schema(3, "a"), Schema(3, "b"))
    cells = {"a": b"\x01"}
    changes = Changes(cells, {"t": [(b"\x01", None)]})
    assert translator.idle
    assert translator.load(cells) == cells
    assert translator.translate(changes) is changes


def test_a_missing_migration_is_reported_before_any_data_is_read() -> None:
    with pytest.raises(MigrationMissing):
        Translator(Migrations.of(Bot), schema(1), schema(9))


def test_a_state_of_one_cell_is_migrated_whole() -> None:
    @migration(1, 2)
    def doubled(root: Any) -> Any:
        return {key: value * 2 for key, value in root.items()}

    same = Translator(only(doubled), schema(1), schema(2))
    assert same.load({"": encode({"a": 1})}) == {"": encode({"a": 2})}
    assert same.translate(Changes({"": encode({"a": 5})}, {})).cells == {"": encode({"a": 10})}
    fields = Translator(only(doubled), schema(1), schema(2), single=False)
    assert fields.load({"": encode({"a": 1})}) == {"a": encode(2)}
    whole = Translator(only(doubled), schema(1), schema(2), single=True)
    assert whole.load({"a": encode(1)}) == {"": encode({"a": 2})}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "returned NoneType: return the root, a dict"),
        ([1], "returned list: return the root, a dict"),
        ({1: 2}, "returned the field name 1: names are text"),
        ({"a": object()}, "returned a value that cannot be encoded.*return plain data"),
    ],
)
def test_a_root_migration_must_return_an_encodable_dict(result: Any, words: str) -> None:
    @migration(1, 2)
    def odd(root: Raw) -> Any:
        return result

    translator = Translator(only(odd), schema(1), schema(2))
    with pytest.raises(MigrationFailed, match=rf"migration .*odd \(1 -> 2\): {words}"):
        translator.load({"a": b"\x01"})


def test_a_migration_that_raises_is_named() -> None:
    translator = Translator(Migrations.of(Bot), schema(1), schema(2))
    with pytest.raises(MigrationFailed) as caught:
        translator.load({"fee": encode(1.0)})
    assert str(caught.value) == "migration sizes_became_lots (1 -> 2): raised KeyError: 'sizes'"
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(
        MigrationFailed, match=r"close_in_cents \(1 -> 2\) on the row 'BTC' of table candles"
    ) as caught:
        translator.translate(Changes({}, {"candles": [(encode("BTC"), encode({"open": 1}))]}))
    assert caught.value.key == "BTC"


def test_a_row_migration_has_to_return_the_row() -> None:
    @migration(1, 2, table="rows")
    def forgot(row: Any) -> None:
        row["a"] = 1

    translator = Translator(only(forgot), schema(1), schema(2))
    with pytest.raises(MigrationFailed, match="returned None: return the row"):
        translator.translate(Changes({}, {"rows": [(encode(("BTC", 1)), encode({}))]}))


def test_a_failed_translation_leaves_the_translator_unchanged() -> None:
    translator = Translator(Migrations.of(Bot), schema(1), schema(2))
    translator.load({"sizes": encode({"BTC": 1.0}), "fee": encode(0.5)})
    with pytest.raises(MigrationFailed):
        translator.translate(Changes({"sizes": encode({"BTC": "much"})}, {}))
    assert translator.translate(Changes({"fee": encode(1.0)}, {})).cells == {"fee": encode(1.0)}


def test_a_root_migration_that_drops_a_field_it_returned_before_is_refused() -> None:
    @migration(1, 2)
    def moody(root: Raw) -> Raw:
        return {key: value for key, value in root.items() if value}

    translator = Translator(only(moody), schema(1), schema(2))
    translator.load({"a": encode(1)})
    with pytest.raises(MigrationFailed, match=r"returned no 'a' this time.*always return the same fields"):
        translator.translate(Changes({"a": encode(0)}, {}))
