"""The order of events: by number in a stream, else the leader's order of arrival, across any handoff."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.event_order import MOST_RANGES, NEVER, EventOrder, Numbers, size_of
from neverblink.protocol.frame import Item, NumberGap, Traffic

HOLD = 100


def item(key: str | int, n: int | None = None, stream: str = "s", at: int = 0) -> Item:
    return Item(str(key), "event", b"data", at, stream if n is not None else "", n)


def leader() -> EventOrder:
    order = EventOrder(HOLD)
    order.lead(0)
    return order


def apply_all(order: EventOrder) -> list[str]:
    """What a turn that takes everything applies."""
    keys = list(order.line)
    for key in keys:
        order.apply(key)
    return keys


# --- sets of numbers ---


@given(st.lists(st.integers(0, 60)))
def test_numbers_hold_what_was_added_as_ranges_that_do_not_touch(added: list[int]) -> None:
    numbers = Numbers()
    for n in added:
        numbers.add(n)
    assert [n for n in range(62) if n in numbers] == sorted(set(added))
    assert all(one[1] + 1 < other[0] for one, other in pairwise(numbers.ranges()))
    assert numbers.next == (max(added) + 1 if added else None)
    assert Numbers(numbers.ranges()).ranges() == numbers.ranges()


def test_the_oldest_gap_is_closed_when_there_are_too_many() -> None:
    numbers = Numbers()
    for n in range(0, 2 * MOST_RANGES + 2, 2):
        numbers.add(n)
    assert len(numbers.ranges()) == MOST_RANGES
    assert 1 in numbers
    assert 3 not in numbers


# --- a leader alone ---


def test_events_without_a_number_are_applied_in_the_order_of_arrival() -> None:
    order = leader()
    for key in "cab":
        assert order.arrived(item(key), 1)
    assert not order.arrived(item("a"), 2)
    assert apply_all(order) == ["c", "a", "b"]


def test_events_with_a_number_are_applied_by_it() -> None:
    order = leader()
    for n in (7, 10, 9, 8, 11):
        order.arrived(item(n, n), 1)
    assert apply_all(order) == ["7", "8", "9", "10", "11"]
    assert order.done["s"].ranges() == ((7, 11),)
    assert order.due == NEVER


def test_a_gap_is_waited_for_up_to_the_bound_and_told_with_the_event_after_it() -> None:
    order = leader()
    order.arrived(item(1, 1), 0)
    order.arrived(item(5, 5), 10)
    order.arrived(item(4, 4), 50)
    assert apply_all(order) == ["1"]
    assert order.due == 10 + HOLD
    assert order.release(10 + HOLD - 1) == []
    assert order.release(10 + HOLD) == ["4", "5"]
    mark = order.marks["4"]
    assert (mark.gap, mark.late) == ((2, 3), False)
    assert "5" not in order.marks
    assert apply_all(order) == ["4", "5"]


def test_a_number_that_comes_after_its_gap_was_told_is_applied_once_and_marked_late() -> None:
    order = leader()
    order.arrived(item(1, 1), 0)
    order.arrived(item(3, 3), 0)
    order.release(HOLD)
    apply_all(order)
    assert order.arrived(item(2, 2), HOLD + 1)
    assert order.marks["2"].late
    assert apply_all(order) == ["2"]
    assert not order.arrived(item("another key", 2), HOLD + 2)
    assert order.done["s"].ranges() == ((1, 3),)


def test_a_number_applied_before_is_dropped_whatever_its_key() -> None:
    order = leader()
    order.arrived(item("a", 1), 0)
    apply_all(order)
    assert not order.arrived(item("b", 1), 0)
    assert not order.offered(item("c", 1), 0)


def test_one_stream_does_not_wait_for_another() -> None:
    order = leader()
    order.arrived(item("x1", 1, "x"), 0)
    order.arrived(item("x3", 3, "x"), 0)
    order.arrived(item("y7", 7, "y"), 0)
    order.arrived(item("plain"), 0)
    assert apply_all(order) == ["x1", "y7", "plain"]


def test_a_clock_that_goes_back_does_not_make_an_event_wait_longer_than_the_bound() -> None:
    order = leader()
    order.arrived(item(1, 1), 10_000)
    order.arrived(item(3, 3), 10_000)
    assert order.release(50) == []
    assert order.due == 50 + HOLD


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 60)), max_size=40), st.data())
def test_any_arrival_is_applied_once_in_order_and_within_the_bound(
    arrivals: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Numbers come in any order, again and again, with time between them; the leader may die at any moment."""
    order, now = leader(), 0
    came: dict[str, int] = {}
    applied: list[tuple[str, bool]] = []
    in_gaps: set[int] = set()
    for n, wait in arrivals:
        now += wait
        if now >= order.due:
            order.release(now)
        if order.arrived(item(n, n), now):
            came.setdefault(str(n), now)
        if data.draw(st.booleans()):
            for key in list(order.line):
                mark = order.marks.get(key)
                order.apply(key)
                applied.append((key, bool(mark and mark.late)))
                if mark and mark.gap:
                    in_gaps |= set(range(mark.gap[0], mark.gap[1] + 1))
        if data.draw(st.integers(0, 5)) == 0:
            # Another process goes on: it knows the numbers applied, and received the same.
            successor = EventOrder(HOLD)
            successor.begin({stream: numbers.ranges() for stream, numbers in order.done.items()})
            for waiting in order.items():
                successor.arrived(waiting, now)
            successor.lead(now)
            order = successor
    order.release(now + HOLD)
    for mark in order.marks.values():
        if mark.gap:
            in_gaps |= set(range(mark.gap[0], mark.gap[1] + 1))
    late_ones = {key for key, mark in order.marks.items() if mark.late}
    applied += [(key, key in late_ones) for key in apply_all(order)]
    assert sorted(key for key, _ in applied) == sorted(came)
    in_order = [int(key) for key, late in applied if not late]
    assert in_order == sorted(in_order)
    first = in_order[0] if in_order else 0
    assert all(int(key) in in_gaps or int(key) < first for key, late in applied if late)
    assert order.size == 0


# --- two workers ---


def handed(old: EventOrder, new: EventOrder, now: int) -> None:
    """What the final frame says, and the lead."""
    new.reported(list(old.items()), tuple(old.aside), now)
    new.follow_numbers({stream: numbers.ranges() for stream, numbers in old.done.items()})
    old.follow()
    new.lead(now)


def offer(follower: EventOrder, to: EventOrder, worker: str, applied: list[str], now: int) -> None:
    """What a follower has received."""
    for entry in list(follower.line.values()):
        if entry.key in applied:
            to.meet(worker, entry.stream)
        else:
            to.offered(entry, now, worker)


def test_what_only_a_follower_received_waits_for_the_leaders_own_feed() -> None:
    order = leader()
    order.arrived(item(1), 0)
    assert order.offered(item(3, at=5), 10)
    order.arrived(item(2), 11)
    assert apply_all(order) == ["1", "2"]
    order.arrived(item(3, at=12), 12)
    order.arrived(item(4), 13)
    assert order.line["3"].at == 5
    assert apply_all(order) == ["3", "4"]


def test_what_never_comes_to_the_leader_itself_is_applied_after_the_bound() -> None:
    order = leader()
    order.arrived(item("its own"), 0)
    apply_all(order)
    order.offered(item("only there"), 10)
    assert order.due == 10 + HOLD
    assert order.release(10 + HOLD) == ["only there"]
    assert apply_all(order) == ["only there"]


def test_an_earlier_receipt_elsewhere_is_kept() -> None:
    order = leader()
    order.arrived(item("a", at=20), 20)
    assert not order.offered(item("a", at=5), 30)
    assert order.line["a"].at == 5


@given(
    st.integers(0, 12),
    st.booleans(),
    st.lists(st.sampled_from(["old", "new", "offer", "turn", "frame", "handoff", "pass"]), max_size=60),
)
def test_no_handoff_changes_the_order_however_far_apart_the_feeds_are(
    ahead: int, numbered: bool, happens: list[str]
) -> None:
    """Two feeds bring 0, 1, 2, …; one begins `ahead` of the other, or falls behind; the lead goes to and fro."""
    made = {"old": leader(), "new": EventOrder(HOLD)}
    made["old"].arrived(item(0, 0 if numbered else None), 0)
    feeds = {"old": 1, "new": 1 + ahead}
    leads = "old"
    applied: list[str] = []
    listening = {"old"}
    for now, what in enumerate(happens, 1):
        other = "new" if leads == "old" else "old"
        first, second = made[leads], made[other]
        match what:
            case "old" | "new":
                n = feeds[what]
                feeds[what] += 1
                listening.add(what)
                one = item(n, n if numbered else None)
                if one.key not in applied:
                    made[what].arrived(one, now)
            case "offer":
                offer(second, first, other, applied, now)
            case "turn":
                keys = apply_all(first)
                applied += keys
                for key in keys:
                    second.apply(key)
                second.follow_numbers({stream: held.ranges() for stream, held in first.done.items()})
            case "frame":
                second.reported(list(first.items()), tuple(first.aside), now)
            case "handoff":
                offer(second, first, other, applied, now)
                if len(listening) == 2 and not first.unmet(other, now):
                    handed(first, second, now)
                    leads = other
            case _:
                pass
    in_order = [int(key) for key in applied]
    assert in_order == sorted(in_order)
    assert len(set(applied)) == len(applied)
    for entry in made.values():
        line = [*entry.line.values()] + [waiting for waiting, _ in entry.aside.values()]
        assert entry.size == sum(map(size_of, line))


def test_a_feed_that_never_brought_anything_of_a_stream_is_not_waited_for() -> None:
    order = leader()
    order.arrived(item("of another stream"), 0)
    order.offered(Item("fill 1", "event", b"", 0, "fills"), 0)
    assert apply_all(order) == ["of another stream", "fill 1"]


def test_a_leader_does_not_yield_before_its_feed_has_reached_what_the_successors_began_with() -> None:
    order = leader()
    order.arrived(item(1), 0)
    assert not order.unmet("new", 5)
    order.offered(item(3), 1, "new")
    order.offered(item(4), 1, "new")
    assert order.unmet("new", 5)
    assert not order.unmet("another", 5)
    order.arrived(item(2), 2)
    assert order.unmet("new", 5)
    order.arrived(item(3), 3)
    assert not order.unmet("new", 5)
    order.offered(item(5), 4, "new")
    assert not order.unmet("new", 5)


def test_a_leader_waits_no_longer_than_the_bound_for_its_own_feed() -> None:
    order = leader()
    order.arrived(item(1), 0)
    order.offered(item(3), 1, "new")
    order.release(1 + HOLD)
    assert not order.unmet("new", 1 + HOLD)
    # Its own feed is farther behind than that: it brings only what was before.
    order.arrived(item(2), 2 + HOLD)
    order.offered(item(9), 3 + HOLD, "new")
    assert not order.unmet("new", 4 + HOLD)


def test_a_feed_that_does_not_bring_what_a_follower_receives_is_waited_for_once_and_until_it_comes_back() -> (
    None
):
    order = leader()
    order.arrived(Item("fill 0", "event", b"", 0, "fills"), 0)
    order.arrived(item("x"), 0)
    apply_all(order)
    order.offered(Item("fill 1", "event", b"", 0, "fills"), 0)
    order.release(HOLD)
    order.offered(Item("fill 2", "event", b"", 0, "fills"), HOLD + 1)
    order.offered(item("of another stream"), HOLD + 1)
    assert apply_all(order) == ["fill 1", "fill 2"]
    order.arrived(Item("fill 3", "event", b"", 0, "fills"), HOLD + 2)
    order.offered(Item("fill 4", "event", b"", 0, "fills"), HOLD + 3)
    assert apply_all(order) == ["fill 3"]


# --- releases without this rule ---


class _OldItem(msgspec.Struct, frozen=True, array_like=True):
    key: str
    kind: str
    data: bytes
    at: int


class _OldTraffic(msgspec.Struct, frozen=True, array_like=True):
    received: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    repeated: int = 0
    waiting: tuple[_OldItem, ...] = ()


def test_an_earlier_release_reads_what_this_one_writes_and_the_other_way_round() -> None:
    traffic = Traffic(
        ("a",), ("b",), 1, (item(7, 7),), ("a",), ("c",), {"s": ((1, 7),)}, (NumberGap("s", 2, 3),)
    )
    data = msgspec.msgpack.encode(traffic)
    old = msgspec.msgpack.decode(data, type=_OldTraffic)
    assert (old.received, old.applied, old.repeated, old.waiting[0].key) == (("a",), ("b",), 1, "7")
    new = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=Traffic)
    assert new.waiting == (Item("7", "event", b"data", 0),)
    assert (new.aside, new.dropped, new.numbers, new.gaps) == ((), (), {}, ())
