"""Rows and keys of a Table whose types have codecs."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest

from neverblink.protocol.frame import Changes
from neverblink.worker import Codec, Table, Tick, Worker
from neverblink.worker.model.cells import Cells, RowTypeError, StateUnreadable
from neverblink.worker.model.verifier import Verifier
from neverblink.worker.testing import Simulation

FRACTION = Codec(
    Fraction, encode=lambda f: [f.numerator, f.denominator], decode=lambda d: Fraction(*d), frozen=True
)


class Lot(msgspec.Struct, frozen=True):
    share: Fraction
    note: str = ""


class Lots(msgspec.Struct):
    lots: Table[str, Lot] = msgspec.field(default_factory=Table)
    by_share: Table[Fraction, int] = msgspec.field(default_factory=Table)


def processes(count: int) -> list[Cells]:
    return [Cells(Lots, codecs=[FRACTION]) for _ in range(count)]


def write(state: Any) -> None:
    state.lots["BTC"] = Lot(Fraction(1, 3))
    state.lots["ETH"] = Lot(Fraction(2, 7), "later")
    state.by_share[Fraction(1, 3)] = 5


def test_rows_with_a_codec_reach_a_follower_row_by_row_and_in_a_copy() -> None:
    leader, follower, successor = processes(3)
    state = leader.fresh()
    twin = follower.load(leader.root(state))
    write(state)
    follower.apply(twin, leader.collect(state))
    assert twin == state
    del state.lots["BTC"]
    follower.apply(twin, leader.collect(state))
    assert twin == state
    last = successor.load(follower.root(twin))
    for table in ("lots", "by_share"):
        rows = follower.rows(twin, table, list(follower.keys(twin, table)))
        successor.apply(last, Changes({}, {table: list(rows)}))
    assert last == state


def test_a_whole_state_and_an_exchanged_table_have_rows_with_a_codec() -> None:
    leader, follower = processes(2)
    state = leader.fresh()
    twin = follower.load(leader.root(state))
    write(state)
    leader.forget()
    follower.apply(twin, leader.collect(state))
    state.lots = Table({"SOL": Lot(Fraction(1, 9))})
    follower.apply(twin, leader.collect(state))
    assert twin == state


def test_rows_with_a_codec_are_read_back() -> None:
    (leader,) = processes(1)
    state = leader.fresh()
    write(state)
    leader.collect(state)
    verifier = Verifier(leader)
    assert verifier.check_all(state) == []
    state.lots["BTC"] = Lot(0.5)  # pyright: ignore[reportArgumentType]
    leader.collect(state)
    (problem,) = verifier.check_all(state)
    assert problem.path == "lots['BTC'].share"


def test_a_row_that_this_code_cannot_read_is_named() -> None:
    leader, follower = processes(2)
    state = leader.fresh()
    twin = follower.load(leader.root(state))
    state.lots["BTC"] = Lot(7)  # pyright: ignore[reportArgumentType]
    with pytest.raises(StateUnreadable, match="row 'BTC'"):
        follower.apply(twin, leader.collect(state))


def test_a_codec_is_part_of_the_fingerprint_of_a_table() -> None:
    other = Codec(Fraction, encode=str, decode=Fraction, wire=str, frozen=True)
    assert Cells(Lots, codecs=[FRACTION]).schema != Cells(Lots, codecs=[other]).schema


def test_a_class_whose_codec_does_not_say_that_it_never_changes_is_refused_with_the_mend() -> None:
    loose = Codec(Fraction, encode=str, decode=Fraction)
    with pytest.raises(
        RowTypeError, match=r"table lots.*'share' is a Fraction.*Codec\(Fraction, .*frozen=True\)"
    ):
        Cells(Lots, codecs=[loose])
    with pytest.raises(
        RowTypeError, match=r"table lots.*Fraction, a type msgspec does not know.*frozen=True\)"
    ):
        Cells(Lots)


def test_rows_with_a_codec_survive_a_handoff_and_a_crash() -> None:
    class Bot(Worker[Lots]):
        tick = "1s"
        codecs = [FRACTION]

        def on_tick(self, tick: Tick[Lots]) -> None:
            write(self.state)
            self.state.lots[str(tick.seq)] = Lot(Fraction(1, 1 + tick.seq % 9))

    with Simulation(Bot) as simulation:
        simulation.ticks(3)
        simulation.hand_over(type("Bot", (Bot,), {}))
        simulation.ticks(2)
        assert simulation.state.lots["BTC"].share == Fraction(1, 3)
        assert simulation.state.by_share == {Fraction(1, 3): 5}
