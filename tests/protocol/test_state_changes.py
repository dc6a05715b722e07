"""The rule whether a release may take over a state of which it would drop values."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.state_changes import (
    WOULD_DROP,
    LostField,
    NewField,
    RetypedField,
    StateChanges,
    refusal,
    refused,
    rollback_words,
)

REALISED = LostField("realised", "realised", "12.5")
SIZE = LostField("positions.size", "positions.BTC.size", "0.5", 3)

_names = st.sampled_from(["a", "b", "ab", "a.b", "a.b.c", "b.a", "a.bc"])
_lost = st.builds(
    LostField, _names, st.just("a"), st.just("1"), st.integers(1, 3), st.booleans(), declared=st.booleans()
)


def test_a_value_is_admitted_when_it_is_the_default_or_declared_or_named_and_never_otherwise() -> None:
    for default, declared, named in product((False, True), repeat=3):
        lost = LostField("realised", "realised", "12.5", default=default, declared=declared)
        found = refused(StateChanges((lost,)), ("realised",) if named else ("other",))
        assert bool(found) == (not default and not declared and not named)


@given(st.lists(_lost, max_size=5), st.lists(_names, max_size=3))
def test_exactly_the_fields_that_no_name_covers_are_refused(lost: list[LostField], named: list[str]) -> None:
    found = refused(StateChanges(tuple(lost)), named)
    for one in lost:
        parts = one.field.split(".")
        covered = any(".".join(parts[:end]) in named for end in range(1, len(parts) + 1))
        assert (one in found) == (not (one.default or one.declared or covered))
    assert bool(refusal(StateChanges(tuple(lost)), named)) == bool(found)


@given(st.lists(_lost, max_size=5))
def test_naming_every_refused_field_is_enough(lost: list[LostField]) -> None:
    changes = StateChanges(tuple(lost))
    assert refusal(changes, [one.field for one in refused(changes, ())]) == ""


def test_a_refusal_names_the_field_its_value_and_the_mends() -> None:
    text = refusal(StateChanges((REALISED, SIZE)), ())
    assert text.startswith(WOULD_DROP)
    for part in (
        "realised = 12.5",
        "positions.BTC.size = 0.5 and 2 more",
        "--drop realised --drop positions.size",
        "-o drop=realised",
        'msgspec.field(name="realised")',
        "migration",
    ):
        assert part in text


def test_a_misspelled_drop_is_answered_with_the_field_that_was_meant() -> None:
    assert "did you mean realised?" in refusal(StateChanges((REALISED,)), ("realized",))


def test_a_field_that_a_migration_left_out_is_to_be_declared_there() -> None:
    text = refusal(StateChanges((LostField("realised", "realised", "12.5", by="to_lots"),)), ())
    assert 'to_lots: `@migration(…, drops=["realised"])`' in text


def test_a_dropped_table_is_named_with_its_rows() -> None:
    assert "table fills (3 rows)" in refusal(StateChanges((LostField("fills", "fills", "", 3, rows=3),)), ())


def test_a_rollback_says_what_it_would_not_keep() -> None:
    changes = StateChanges((REALISED,), (NewField("pnl", "float", "0.0"),))
    assert rollback_words(changes) == "without pnl and with realised as of the handoff"
    assert rollback_words(StateChanges(retyped=(RetypedField("n", "int", "float"),))) == ""
