"""Replicas of a leader and its followers: the same frames make the same state, on the same or other code."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol.frame import (
    GENESIS,
    NOTHING,
    Changes,
    Frame,
    Item,
    Kind,
    Led,
    Timing,
    Traffic,
    decode_frame,
    encode_frame,
)
from neverblink.protocol.journal import Closed, Opened, Position, decode_snapshot, encode_payload
from neverblink.protocol.stream import Ack, FollowerMessage, Subscribe, leader_codec
from neverblink.worker.model.cells import Cells, StateUnreadable
from neverblink.worker.model.inbox import Inbox
from neverblink.worker.model.migration import MigrationError, Migrations, Translator, migration
from neverblink.worker.model.replica import ChainBroken, Replica
from neverblink.worker.model.table import Table
from neverblink.worker.replication.follower import CopyDone, Follower, Unreadable
from neverblink.worker.replication.publisher import Publisher

from ...hypothesis_profile import examples

Raw = dict[str, Any]


class Candle(msgspec.Struct, frozen=True):
    close: float


class Cents(msgspec.Struct, frozen=True):
    cents: int


class Book(msgspec.Struct):
    positions: dict[str, float] = {}
    note: str = ""
    candles: Table[str, Candle] = msgspec.field(default_factory=Table)


class Lots(msgspec.Struct):
    """What `Book` became in schema 2."""

    lots: dict[str, int] = {}
    note: str = ""
    candles: Table[str, Cents] = msgspec.field(default_factory=Table)


class Strict(msgspec.Struct):
    """A `Book` that lacks fields."""

    positions: dict[str, int] = {}
    note: str = ""


@migration(1, 2)
def lots(root: Raw) -> Raw:
    return {
        "lots": {name: round(size * 100) for name, size in root["positions"].items()},
        "note": root["note"],
    }


@migration(1, 2, table="candles")
def cents(row: Raw) -> Raw:
    return {"cents": round(row["close"] * 100)}


@migration(2, 1)
def sizes(root: Raw) -> Raw:
    return {"positions": {name: size / 100 for name, size in root["lots"].items()}, "note": root["note"]}


@migration(2, 1, table="candles")
def close(row: Raw) -> Raw:
    return {"close": row["cents"] / 100}


def _steps(*functions: Any) -> Migrations:
    return Migrations([step for function in functions for step in function.__neverblink_migrations__])


UP = _steps(lots, cents)
BOTH = _steps(lots, cents, sizes, close)
NONE = Migrations()


def replica(state: Any = Book, version: int = 1, migrations: Migrations = NONE) -> Replica:
    cells = Cells(state, version)
    return Replica(cells, cells.schema, migrations, Inbox(lambda: 1, lambda: None, 100, 10**9))


class Leader:
    """A replica that makes frames from the changes a test made to its state."""

    def __init__(self, made: Replica) -> None:
        self.replica = made
        if made.state is None:
            made.state = made.cells.fresh()
        made.epoch += 1
        self.frames: list[tuple[Frame, bytes, Position]] = []
        self.replica.lead()

    @property
    def state(self) -> Any:
        return self.replica.state

    def turn(self, kind: Kind = "tick", **more: Any) -> tuple[Frame, bytes, Position]:
        made = self.replica
        seq = (-1 if made.seq is None else made.seq) + (kind == "tick")
        applied: tuple[str, ...] = more.pop("applied", ())
        for key in applied:
            made.inbox.apply([Item(key, "event", b"", 0)], seq + 1000)
        if more.get("paused") is not None:
            made.paused = more["paused"]
        frame = Frame(
            epoch=made.epoch,
            number=made.number + 1,
            seq=seq,
            kind=kind,
            schema=made.schema,
            prev=made.digest,
            timing=Timing(due=seq + 500, ended=seq + 1000),
            changes=made.cells.collect(made.state) or NOTHING,
            traffic=made.inbox.traffic(applied) or Traffic(),
            timers=made.timers.take_changes(),
            **more,
        )
        body = encode_frame(frame)
        position = Position(1, made.position.offset + len(body))
        made.advance(frame, body, position)
        self.frames.append((decode_frame(body), body, position))
        return self.frames[-1]


def copy(source: Replica, into: Replica) -> None:
    """Give a follower the whole state, as the stream does."""
    into.restore(decode_snapshot(encode_payload(source.snapshot())), source.position)
    for table in source.cells.sizes(source.state):
        keys = source.cells.keys(source.state, table)
        into.add_rows(table, source.cells.rows(source.state, table, keys))


def same(one: Replica, other: Replica) -> bool:
    """Whether two replicas are equal, including the order of a table's rows."""
    return (
        one.state == other.state
        and list(one.state.candles.items()) == list(other.state.candles.items())
        and (one.number, one.digest, one.seq, one.due, one.epoch, one.position)
        == (other.number, other.digest, other.seq, other.due, other.epoch, other.position)
        and one.timers.all() == other.timers.all()
        and one.inbox.memory() == other.inbox.memory()
        and one.paused == other.paused
        and one.open == other.open
    )


# --- one code ---


def test_a_follower_that_applied_every_frame_equals_the_leader() -> None:
    leader, follower = Leader(replica()), replica()
    copy(leader.replica, follower)
    leader.state.positions["BTC"] = 1.5
    leader.state.candles["1m"] = Candle(3.0)
    leader.replica.timers.set("exit", 5, 10**18, None, None)
    follower.apply(*leader.turn())
    leader.state.note = "in"
    del leader.state.candles["1m"]
    leader.state.candles["5m"] = Candle(4.0)
    follower.apply(*leader.turn(paused=True, applied=("fill-1",)))
    leader.replica.timers.cancel("exit")
    follower.apply(*leader.turn("event"))
    assert same(leader.replica, follower)
    assert follower.state == Book({"BTC": 1.5}, "in", Table({"5m": Candle(4.0)}))
    assert (follower.number, follower.seq, follower.paused) == (2, 1, True)


deeds = st.one_of(
    st.tuples(st.just("position"), st.sampled_from("abc"), st.floats(-100, 100).map(lambda x: round(x, 2))),
    st.tuples(st.just("close"), st.sampled_from("abc"), st.none()),
    st.tuples(st.just("candle"), st.sampled_from("abcdef"), st.floats(0, 100).map(lambda x: round(x, 2))),
    st.tuples(st.just("drop"), st.sampled_from("abcdef"), st.none()),
    st.tuples(st.just("note"), st.text(max_size=3), st.none()),
    st.tuples(st.just("timer"), st.sampled_from("xy"), st.integers(1, 50)),
    st.tuples(st.just("frame"), st.sampled_from(["tick", "event"]), st.booleans() | st.none()),
    st.tuples(st.just("copy"), st.none(), st.none()),
    st.tuples(st.just("hand over"), st.none(), st.none()),
)


def do(leader: Leader, deed: tuple[str, Any, Any]) -> None:
    state = leader.state
    match deed:
        case ("position", name, size):
            state.positions[name] = size
        case ("close", name, _):
            state.positions.pop(name, None)
        case ("candle", name, value):
            state.candles[name] = Candle(value)
        case ("drop", name, _):
            state.candles.pop(name, None)
        case ("note", text, _):
            state.note = text
        case ("timer", name, after):
            leader.replica.timers.set(name, 0, None, f"{after}ns", None)
        case _:
            pass


@settings(max_examples=examples(60))
@given(st.lists(deeds, max_size=40))
def test_leader_and_follower_are_equal_after_every_frame(story: list[tuple[str, Any, Any]]) -> None:
    leader, follower = Leader(replica()), replica()
    copy(leader.replica, follower)
    for deed in story:
        do(leader, deed)
        if deed[0] == "frame":
            follower.apply(*leader.turn(deed[1], paused=deed[2]))
        elif deed[0] == "copy":
            follower.apply(*leader.turn())
            follower = replica()
            copy(leader.replica, follower)
        elif deed[0] == "hand over":
            follower.apply(*leader.turn("yield"))
            leader, follower = Leader(follower), leader.replica
            about = Led("w", "r", "handoff")
            follower.apply(*leader.turn("lead", about=about))
        else:
            continue
        assert same(leader.replica, follower)
        assert follower.cells.differing(follower.state) == ()
    assert leader.replica.epoch == 1 + sum(deed[0] == "hand over" for deed in story)


def test_a_bot_that_never_ticked_has_no_seq() -> None:
    leader, follower = Leader(replica()), replica()
    assert leader.replica.snapshot().seq == -1
    copy(leader.replica, follower)
    assert follower.seq is None
    assert (follower.number, follower.digest) == (-1, GENESIS)


def test_decisions_in_doubt_are_sent_to_followers_and_reported_to_one_leader() -> None:
    leader, follower = Leader(replica()), replica()
    opened = [Opened(f"1-0-{n}", 1, 0, "enter", {"n": n}, 9) for n in range(3)]
    leader.replica.note(opened[0], "")
    copy(leader.replica, follower)
    for made in (leader.replica, follower):
        made.note(opened[1], "")
        made.note(opened[2], "")
        made.note(None, opened[0].id)
        made.note(None, Closed(opened[2].id, 1, "done", 10))
        made.note(None, "never heard of")
        made.note(None, "")
    assert follower.open == leader.replica.open == {opened[1].id: opened[1]}
    successor = Leader(follower)
    successor.turn("lead", about=Led("w", "r", "failover", in_doubt=(opened[1].id,)))
    assert follower.open == {}


# --- the chain ---


def test_a_frame_that_does_not_continue_the_chain_is_refused_and_changes_nothing() -> None:
    leader, follower = Leader(replica()), replica()
    copy(leader.replica, follower)
    stranger = Leader(replica())
    frames: list[tuple[tuple[Frame, bytes, Position], tuple[Frame, bytes, Position]]] = []
    for note in "abc":
        leader.state.note = note
        stranger.state.note = note.upper()
        frames.append((leader.turn(), stranger.turn()))
    follower.apply(*frames[0][0])
    before = (follower.number, follower.digest, follower.seq, follower.state.note)
    for wrong in (frames[0][0], frames[2][0], frames[1][1], frames[2][1]):
        with pytest.raises(ChainBroken):
            follower.apply(*wrong)
        assert (follower.number, follower.digest, follower.seq, follower.state.note) == before
    follower.apply(*frames[1][0])
    assert follower.state.note == "b"


def test_the_digest_includes_unknown_parts_of_a_frame() -> None:
    """A frame of a newer release has parts that this release ignores. The digest includes them."""
    leader, follower = Leader(replica()), replica()
    copy(leader.replica, follower)
    frame, body, position = leader.turn()
    raw: list[Any] = msgspec.msgpack.decode(body)
    longer = msgspec.msgpack.encode([*raw, "more"])
    assert decode_frame(longer) == frame
    follower.apply(decode_frame(longer), longer, position)
    with pytest.raises(ChainBroken):
        follower.apply(*leader.turn())


# --- what cannot be read ---


def test_an_unreadable_frame_is_refused_with_the_fields_name_and_changes_nothing() -> None:
    leader, follower = Leader(replica()), replica(Strict)
    leader.state.positions["BTC"] = 2
    copy(leader.replica, follower)
    leader.state.note = "new"
    leader.state.positions["BTC"] = 1.5
    bad = leader.turn()
    with pytest.raises(StateUnreadable, match="positions"):
        follower.apply(*bad)
    assert (follower.number, follower.state) == (-1, Strict({"BTC": 2}, ""))
    with pytest.raises(StateUnreadable, match="positions"):
        copy(leader.replica, replica(Strict))


def test_a_frozen_replica_keeps_its_state_and_follows_the_chain() -> None:
    leader, follower = Leader(replica()), replica(Strict)
    leader.state.positions["BTC"] = 2
    copy(leader.replica, follower)
    leader.state.positions["BTC"] = 1.5
    bad = leader.turn(paused=True, applied=("fill-1",))
    follower.freeze("it cannot read positions")
    follower.apply(*bad)
    leader.replica.timers.set("exit", 0, 10**18, None, None)
    follower.apply(*leader.turn())
    assert follower.state == Strict({"BTC": 2}, "")
    assert (follower.number, follower.digest, follower.seq) == (
        leader.replica.number,
        leader.replica.digest,
        leader.replica.seq,
    )
    # It can still lead from there: no event is applied twice, no timer lost, no tick run again.
    assert follower.inbox.memory() == leader.replica.inbox.memory()
    assert follower.timers.all() == leader.replica.timers.all()
    assert follower.paused


def test_a_frozen_replica_that_leads_resets_all_followers() -> None:
    leader, follower = Leader(replica()), replica()
    leader.state.positions["BTC"] = 2.0
    copy(leader.replica, follower)
    follower.freeze("for this test")
    leader.state.positions["BTC"] = 1.5
    leader.state.candles["1m"] = Candle(1.0)
    follower.apply(*leader.turn())
    back = Leader(follower)
    follower.cells.forget()
    frame = back.turn("reset")
    assert follower.frozen == ""
    leader.replica.apply(*frame)
    assert leader.state.positions == {"BTC": 2.0}
    assert leader.state.candles == {}
    assert same(follower, leader.replica)


def test_a_frozen_replica_ignores_a_reset_that_it_cannot_read() -> None:
    leader, follower = Leader(replica(Lots, 2)), replica()
    follower.state = follower.cells.fresh()
    follower.freeze("it cannot read schema 2")
    leader.replica.cells.forget()
    follower.apply(*leader.turn("reset"))
    assert (follower.number, follower.digest) == (leader.replica.number, leader.replica.digest)
    assert follower.frozen


# --- other code ---


def test_a_follower_on_newer_code_reads_through_its_migrations() -> None:
    leader, follower = Leader(replica()), replica(Lots, 2, UP)
    leader.state.positions["BTC"] = 1.5
    leader.state.candles["1m"] = Candle(3.0)
    copy(leader.replica, follower)
    assert follower.state == Lots({"BTC": 150}, "", Table({"1m": Cents(300)}))
    leader.state.positions["ETH"] = 0.25
    leader.state.candles["5m"] = Candle(4.5)
    follower.apply(*leader.turn())
    leader.state.note = "only this"
    follower.apply(*leader.turn())
    assert follower.state == Lots(
        {"BTC": 150, "ETH": 25}, "only this", Table({"1m": Cents(300), "5m": Cents(450)})
    )
    assert follower.leader_schema.version == 1
    assert follower.digest == leader.replica.digest


def test_without_a_migration_newer_code_is_refused_with_the_mend() -> None:
    leader, follower = Leader(replica()), replica(Lots, 2)
    with pytest.raises(MigrationError, match=r"write @migration\(1, 2\)"):
        copy(leader.replica, follower)


def test_the_old_worker_follows_frames_through_a_backward_migration() -> None:
    """After a handoff from schema 1 to 2: the new leader translates, the old one follows with the newest state."""
    old, new = Leader(replica()), replica(Lots, 2, BOTH)
    old.state.positions["BTC"] = 1.5
    copy(old.replica, new)
    new.apply(*old.turn("yield"))
    back = Translator(BOTH, new.schema, old.replica.schema)
    back.load(new.cells.root(new.state))
    leader = Leader(new)
    leader.state.lots["ETH"] = 25
    leader.state.candles["1m"] = Cents(300)
    frame, body, position = leader.turn("lead")
    old.replica.apply(frame, body, position, back.translate(frame.changes))
    assert old.state == Book({"BTC": 1.5, "ETH": 0.25}, "", Table({"1m": Candle(3.0)}))
    assert old.replica.digest == new.digest
    # The old worker leads again with the newest state, and the new code follows it through its migrations.
    old.replica.apply(*leader.turn("yield"))
    again = Leader(old.replica)
    again.state.note = "back"
    fresh = replica(Lots, 2, BOTH)
    copy(again.replica, fresh)
    fresh.apply(*again.turn("lead"))
    assert fresh.state == Lots({"BTC": 150, "ETH": 25}, "back", Table({"1m": Cents(300)}))


def test_the_old_worker_cannot_read_the_new_schema_without_a_backward_migration() -> None:
    new = Leader(replica(Lots, 2, BOTH))
    new.state.lots["BTC"] = 1
    old = replica()
    old.state = old.cells.fresh()
    frame, body, position = new.turn()
    with pytest.raises(MigrationError, match="the stream changed to state version 2, this code reads 1"):
        old.apply(frame, body, position)
    assert old.number == -1


@settings(max_examples=examples(40))
@given(st.lists(deeds, max_size=30))
def test_migrating_frame_by_frame_equals_migrating_the_whole_state(
    story: list[tuple[str, Any, Any]],
) -> None:
    leader, follower = Leader(replica()), replica(Lots, 2, UP)
    copy(leader.replica, follower)
    for deed in story:
        do(leader, deed)
        if deed[0] in ("frame", "copy", "hand over"):
            follower.apply(*leader.turn())
    follower.apply(*leader.turn())
    afresh = replica(Lots, 2, UP)
    copy(leader.replica, afresh)
    assert follower.state == afresh.state
    assert list(follower.state.candles) == list(afresh.state.candles)


def test_try_read_reports_the_unreadable_field_and_applies_nothing() -> None:
    old = replica(Strict)
    old.state = old.cells.fresh()
    newer = Cells(Book, 1)
    fine = Changes(newer.root(Book({"BTC": 1.0})), {})
    assert "positions" in old.try_read(newer.schema, fine)
    assert old.try_read(newer.schema, Changes(newer.root(Book({})), {})) == ""
    assert old.try_read(Cells(Lots, 2).schema, NOTHING) != ""
    assert old.state == Strict()


# --- copies through publisher and follower ---


class Far:
    """The connection of a follower: two lists, with its leader's publisher at the other end."""

    def __init__(self) -> None:
        self.messages: list[FollowerMessage] = []
        self.sent: list[bytes] = []
        self.clock = self

    def wall(self) -> int:
        return 1

    def mono(self) -> int:
        return 1

    def connect(self, leader: str) -> None:
        pass

    def to_leader(self, message: FollowerMessage) -> None:
        self.messages.append(message)

    def to_follower(self, worker: str, data: bytes) -> bool:
        self.sent.append(data)
        return True


def followed(leader: Leader, follower: Replica) -> list[object]:
    """Follow the leader until a copy is complete; return the results."""
    far: Any = Far()
    publisher = Publisher(leader.replica, far.to_follower)
    publisher.begin_leading()
    end = Follower("w-2", 1, follower, far)
    end.follow("w-1")
    bus: list[object] = []
    while far.messages or far.sent:
        match far.messages.pop(0) if far.messages else None:
            case Subscribe() as asked:
                publisher.subscribe(asked)
            case Ack() as ack:
                publisher.ack("w-2", ack)
            case _:
                pass
        publisher.pump(lambda: 0, 1)
        while far.sent:
            bus += end.receive(leader_codec.decode(far.sent.pop(0)))
    return bus


@given(st.integers(0, 3000))
@settings(max_examples=examples(10))
def test_a_copy_of_any_size_equals_the_leader(rows: int) -> None:
    leader, follower = Leader(replica()), replica()
    for number in range(rows):
        leader.state.candles[str(number)] = Candle(number)
    leader.turn()
    (copied,) = followed(leader, follower)
    assert isinstance(copied, CopyDone)
    assert copied.rows == rows
    assert same(leader.replica, follower)


def test_an_unreadable_root_of_a_copy_is_reported_with_the_fields_name() -> None:
    leader = Leader(replica())
    leader.state.positions["BTC"] = 1.5
    leader.turn()
    (bus,) = followed(leader, replica(Strict))
    assert isinstance(bus, Unreadable)
    assert "positions" in bus.reason


class Renamed(msgspec.Struct):
    """A `Book` with other rows under the same schema version."""

    candles: Table[str, Cents] = msgspec.field(default_factory=Table)


def test_an_unreadable_row_of_a_copy_is_reported_with_the_tables_name() -> None:
    leader = Leader(replica())
    leader.state.candles["1m"] = Candle(1.0)
    leader.turn()
    bus = followed(leader, replica(Renamed))
    assert [type(item) for item in bus] == [Unreadable]
    assert "candles" in str(bus)
