"""The inbox: an event is applied exactly once, whichever of two workers received it."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.frame import Item, Traffic
from neverblink.worker.model.inbox import Inbox
from neverblink.worker.model.inbox_bound import EventError

HOUR = 3600 * 10**9
HOLD = 2 * 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 10**18

    def wall(self) -> int:
        self.now += 1
        return self.now


def inbox(limit: int = 1000, age: int = HOUR, clock: Clock | None = None) -> Inbox:
    return Inbox((clock or Clock()).wall, lambda: None, limit, age)


def applied(box: Inbox, key: str, at: int) -> None:
    """The leader has applied it."""
    box.apply([Item(key, "event", b"", at)], at)


def keys(items: list[Item]) -> list[str]:
    return [item.key for item in items]


# --- one inbox ---


def test_items_wait_in_the_order_in_which_they_were_received() -> None:
    box = inbox()
    for key in "cab":
        box.put(key, {"said": key})
    assert box.waiting == 3
    assert keys(box.sort_in()) == ["c", "a", "b"]
    assert box.sort_in() == []
    assert keys(box.pending()) == ["c", "a", "b"]
    first = box.peek()
    assert first is not None
    assert (first.key, first.kind, msgspec.msgpack.decode(first.data)) == ("c", "event", {"said": "c"})
    applied(box, "c", 1)
    assert keys(box.pending()) == ["a", "b"]
    assert (box.waiting, len(box.applied.at)) == (2, 1)


def test_an_empty_inbox_has_nothing_to_apply_or_report() -> None:
    box = inbox()
    assert box.peek() is None
    assert box.traffic(()) is None
    assert (box.waiting, len(box.applied.at), box.applied.forgotten) == (0, 0, 0)


def test_a_key_put_again_is_dropped_and_counted() -> None:
    box = inbox()
    box.put("fill-1", 1)
    box.put("fill-1", 2)
    assert keys(box.sort_in()) == ["fill-1"]
    applied(box, "fill-1", 5)
    box.put("fill-1", 3)
    assert box.sort_in() == []
    assert box.traffic(("fill-1",)) == Traffic(("fill-1",), ("fill-1",), 2)
    assert box.traffic(()) is None


def test_put_wakes_the_worker_and_can_be_called_from_any_thread() -> None:
    woken = threading.Event()
    box = Inbox(Clock().wall, woken.set, 10, HOUR)
    thread = threading.Thread(target=box.put, args=("k", 1))
    thread.start()
    thread.join()
    assert woken.is_set()
    assert keys(box.sort_in()) == ["k"]


@pytest.mark.parametrize("key", ["", 7, None, b"k", "command/1"])
def test_a_key_that_is_not_a_string_or_empty_is_refused(key: Any) -> None:
    with pytest.raises(EventError, match="a key is a non-empty str that does not begin with 'command/'"):
        inbox().put(key, 1)


def test_an_event_that_cannot_be_encoded_is_refused_by_put() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for event in (object(), {"a": threading.Lock()}, 2**70, endless, "\ud800"):
        box = inbox()
        with pytest.raises(EventError, match=r"event 'k': .*put data that msgspec can encode") as caught:
            box.put("k", event)
        assert caught.value.key == "k"
        assert box.waiting == 0


def test_a_command_waits_among_the_events_under_a_prefixed_key() -> None:
    box = inbox()
    box.put("7", "an event")
    box.command("7", "close", {"pct": 2.5})
    event, command = box.sort_in()
    assert (event.key, command.key, command.kind) == ("7", "command/7", "command")
    assert msgspec.msgpack.decode(command.data) == ["close", {"pct": 2.5}]


# --- what is remembered, and for how long ---


def test_the_number_of_remembered_keys_is_bounded_and_forgotten_keys_are_counted() -> None:
    box = inbox(limit=3)
    for at, key in enumerate("abcde"):
        applied(box, key, at)
    assert box.memory() == (("c", 2), ("d", 3), ("e", 4))
    assert (len(box.applied.at), box.applied.limit, box.applied.forgotten) == (3, 3, 2)


def test_keys_older_than_the_age_limit_are_forgotten() -> None:
    box = inbox(age=100)
    for at, key in ((0, "a"), (50, "b"), (100, "c"), (151, "d")):
        applied(box, key, at)
    assert box.memory() == (("c", 100), ("d", 151))
    assert box.applied.forgotten == 2


def test_an_inbox_with_a_limit_of_zero_remembers_no_key() -> None:
    box = inbox(limit=0)
    applied(box, "a", 1)
    assert box.memory() == ()
    assert box.applied.forgotten == 1


def test_a_key_applied_again_is_remembered_from_then_on() -> None:
    box = inbox(limit=2)
    for at, key in enumerate("abac"):
        applied(box, key, at)
    assert box.memory() == (("a", 2), ("c", 3))


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 400))),
    st.integers(0, 4),
    st.integers(0, 200),
)
def test_the_bounds_hold_for_any_order_of_applied_keys(
    story: list[tuple[str, int]], limit: int, age: int
) -> None:
    box = inbox(limit, age)
    for key, at in story:
        applied(box, key, at)
        assert len(box.applied.at) <= limit
        assert all(found == key or seen >= at - age for found, seen in box.memory()[:1])


# --- a follower ---


def test_a_follower_drops_what_the_leader_applied_and_keeps_the_rest() -> None:
    box = inbox()
    for key in "abc":
        box.put(key, 1)
    box.sort_in()
    box.absorb(Traffic(("a", "b"), ("a", "x"), 9), 5)
    assert keys(box.pending()) == ["b", "c"]
    box.put("x", 1)
    assert box.sort_in() == []


def test_a_new_leaders_first_frame_reports_exactly_what_waits() -> None:
    """Items that the old leader has applied or reported are not reported again."""
    box = inbox()
    for number in range(50):
        box.put(f"k{number}", number)
        box.sort_in()
        box.put(f"k{number}", number)
        box.sort_in()
        if number != 30:
            box.absorb(Traffic((f"k{number}",), (f"k{number}",)), number)
    assert box.traffic(()) == Traffic(("k30",), (), 0, tuple(box.pending()))


def test_a_copy_includes_the_leaders_remembered_keys() -> None:
    box = inbox()
    for key in "abc":
        box.put(key, 1)
    box.sort_in()
    box.restore([("a", 3), ("z", 4)])
    assert keys(box.pending()) == ["b", "c"]
    assert box.memory() == (("a", 3), ("z", 4))
    assert box.traffic(()) == Traffic(("b", "c"), (), 0, tuple(box.pending()))


def test_a_restored_memory_also_drops_items_not_yet_in_line() -> None:
    box = inbox()
    box.put("a", 1)
    box.restore([("a", 3)])
    assert box.pending() == []


def test_a_successor_applies_what_the_leader_had_in_line_before_what_it_received_itself() -> None:
    clock = Clock()
    old, successor = inbox(clock=clock), inbox(clock=clock)
    old.lead()
    for box, key in ((successor, "2"), (old, "1"), (old, "3"), (successor, "3"), (successor, "4")):
        box.put(key, None)
    successor.handed(old.unreported(), old.aside())
    successor.lead()
    assert keys(successor.pending()) == ["1", "3", "2", "4"]


def test_what_was_offered_before_it_arrived_is_handed_over_in_the_order_of_the_line() -> None:
    clock = Clock()
    old, successor = inbox(clock=clock), inbox(clock=clock)
    old.lead()
    old.put("0", None)
    old.sort_in()
    successor.put("2", None)
    old.admit(successor.sort_in(), "new")
    for key in ("1", "2"):
        old.put(key, None)
    old.sort_in()
    assert keys(old.pending()) == ["0", "1", "2"]
    traffic = old.traffic(())
    assert traffic is not None
    successor.absorb(traffic, 1)
    successor.handed(old.unreported(), old.aside())
    successor.lead()
    assert keys(successor.pending()) == ["0", "1", "2"]


# --- two workers, and a handoff anywhere ---


class Pair:
    """Two workers' inboxes. Frames arrive in order; offers may be lost or arrive twice."""

    def __init__(self, limit: int) -> None:
        self.clock = Clock()
        self.boxes = [inbox(limit, clock=self.clock) for _ in range(2)]
        self.leader = 0
        self.boxes[0].lead()
        self.offers: list[tuple[int, list[Item]]] = []
        self.applied: list[str] = []
        self.received: set[str] = set()

    def receive(self, worker: int, key: str) -> None:
        self.boxes[worker].put(key, key)
        new = self.boxes[worker].sort_in()
        if new and worker != self.leader:
            self.offers.append((worker, new))

    def lose_offer(self) -> None:
        if self.offers:
            self.offers.pop(0)

    def deliver_offer(self, again: bool) -> None:
        if self.offers:
            sender, items = self.offers[0] if again else self.offers.pop(0)
            if sender != self.leader:
                self.boxes[self.leader].admit(items)

    def turn(self) -> None:
        box = self.boxes[self.leader]
        box.sort_in()
        box.release(self.clock.now)
        item = box.peek()
        if item is not None:
            self.applied.append(item.key)
            applied(box, item.key, self.clock.wall())
        self.frame(() if item is None else (item.key,))

    def frame(self, applied: tuple[str, ...]) -> None:
        traffic = self.boxes[self.leader].traffic(applied)
        if traffic is None:
            return
        self.received |= set(traffic.received)
        assert set(traffic.applied) <= self.received  # nothing is applied that was not said to have come
        self.boxes[1 - self.leader].absorb(traffic, self.clock.now)

    def hand_over(self) -> None:
        old, successor = self.boxes[self.leader], self.boxes[1 - self.leader]
        self.frame(())
        successor.handed(old.unreported(), old.aside())
        old.follow()
        successor.lead()
        self.leader = 1 - self.leader

    def finish(self) -> None:
        """Let each worker lead once more and apply what waits."""
        for _ in range(2):
            while self.boxes[self.leader].waiting:
                self.clock.now += HOLD
                self.turn()
            self.hand_over()


steps = st.one_of(
    st.tuples(st.just("receive"), st.integers(0, 1), st.sampled_from("abcdefgh")),
    st.tuples(st.sampled_from(["turn", "hand over", "lose", "deliver", "deliver again", "copy"])),
)


@given(st.lists(steps, max_size=60))
def test_each_event_is_applied_exactly_once_across_handoffs(story: list[tuple[Any, ...]]) -> None:
    pair = Pair(limit=100)
    received: set[str] = set()
    for word, *rest in story:
        match word:
            case "receive":
                pair.receive(*rest)
                received.add(rest[1])
            case "turn":
                pair.turn()
            case "hand over":
                pair.hand_over()
            case "lose":
                pair.lose_offer()
            case "copy":
                pair.boxes[1 - pair.leader].restore(pair.boxes[pair.leader].memory())
            case _:
                pair.deliver_offer(again=word == "deliver again")
    pair.finish()
    assert sorted(pair.applied) == sorted(received)
    assert pair.boxes[0].memory() == pair.boxes[1].memory()
