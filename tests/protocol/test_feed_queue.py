"""A bot's side of a feed: what it applies, in which order, and what it reports as lost. No processes."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol.feed_position import FeedPosition, FeedRange
from neverblink.protocol.feed_queue import MOST_BYTES, FeedEntry, FeedItem, FeedQueues
from neverblink.protocol.feed_ring import FeedRing
from neverblink.protocol.frame import NumberGap, Traffic, Vitals


def entries(*names: str, at: int = 0) -> list[FeedEntry]:
    return [FeedEntry(at + index, name.encode()) for index, name in enumerate(names)]


def apply_all(queues: FeedQueues, most: int = 1000) -> list[FeedItem]:
    """Apply what waits, a turn after another."""
    applied: list[FeedItem] = []
    while batch := queues.batch(most, 1 << 40):
        queues.mark(batch)
        queues.apply(batch)
        applied += batch
    return applied


def names_of(applied: list[FeedItem]) -> list[str]:
    return [item.data.decode() for item in applied]


def test_events_are_applied_in_the_order_of_their_numbers_and_once() -> None:
    queues = FeedQueues()
    queues.receive("trades", 5, 1, entries("a", "b"))
    queues.receive("trades", 5, 1, entries("a", "b", "c"))  # it connected again
    assert names_of(apply_all(queues)) == ["a", "b", "c"]
    assert queues.receive("trades", 5, 2, entries("b", "c")) == 0
    assert queues.positions() == {"trades": FeedPosition(5, 3)}


def test_a_turn_is_reported_as_a_range_of_numbers_without_data() -> None:
    queues = FeedQueues()
    queues.receive("trades", 5, 1, entries("a", "b", "c"))
    batch = queues.batch(2, 1000)
    queues.mark(batch)
    assert queues.apply(batch) == ((FeedRange("trades", 5, 1, 2),), [])
    assert queues.waiting == 1


def test_a_follower_drops_what_its_leader_has_applied_and_goes_on_after_it() -> None:
    follower = FeedQueues()
    follower.receive("trades", 5, 1, entries("a", "b", "c"))
    follower.absorb([FeedRange("trades", 5, 1, 2)])
    assert follower.waiting == 1
    assert names_of(apply_all(follower)) == ["c"]


def test_a_worker_that_begins_with_a_snapshot_drops_what_was_applied_before_it() -> None:
    queues = FeedQueues()
    queues.receive("trades", 5, 1, entries("a", "b", "c"))
    queues.restore({"trades": FeedPosition(5, 2)})
    assert names_of(apply_all(queues)) == ["c"]


def test_a_worker_that_goes_back_to_an_earlier_state_receives_again_from_there() -> None:
    queues = FeedQueues()
    queues.receive("trades", 5, 1, entries("a", "b", "c"))
    apply_all(queues)
    queues.restore({"trades": FeedPosition(5, 1)})
    assert queues.queue("trades").received == FeedPosition(5, 1)


def test_numbers_that_left_the_replay_buffer_are_reported_with_the_event_after_them() -> None:
    queues = FeedQueues()
    queues.receive("trades", 5, 1, entries("a"))
    apply_all(queues)
    queues.receive("trades", 5, 4, entries("d"))
    batch = queues.batch(10, 1000)
    queues.mark(batch)
    mark = queues.mark_of(batch[0])
    assert mark is not None
    assert (mark.gap, mark.restarted) == ((2, 3), False)
    assert queues.apply(batch)[1] == [NumberGap("trades", 2, 3)]


def test_a_gap_is_that_of_the_bot_and_not_of_one_process() -> None:
    """The follower did not receive 2 and 3, but its leader applied them."""
    follower = FeedQueues()
    follower.receive("trades", 5, 1, entries("a"))
    follower.receive("trades", 5, 4, entries("d"))
    follower.absorb([FeedRange("trades", 5, 1, 3)])
    batch = follower.batch(10, 1000)
    follower.mark(batch)
    assert follower.mark_of(batch[0]) is None
    assert follower.apply(batch)[1] == []


def test_the_first_event_after_a_restart_of_the_feed_says_so_and_what_is_known_lost() -> None:
    queues = FeedQueues()
    queues.receive("trades", 5, 1, entries("a"))
    apply_all(queues)
    queues.queue("trades").ended(5, 3)
    queues.receive("trades", 9, 1, entries("x", "y"))
    batch = queues.batch(10, 1000)
    queues.mark(batch)
    first, second = (queues.mark_of(item) for item in batch)
    assert first is not None
    assert (first.restarted, first.gap) == (True, (2, 3))
    assert second is None
    ranges, gaps = queues.apply(batch)
    assert ranges == (FeedRange("trades", 9, 1, 2),)
    assert gaps == [NumberGap("trades", 2, 3)]


def test_a_turn_over_a_restart_reports_both_runs() -> None:
    queues = FeedQueues()
    queues.receive("trades", 5, 1, entries("a"))
    queues.receive("trades", 9, 1, entries("x"))
    batch = queues.batch(10, 1000)
    queues.mark(batch)
    assert queues.apply(batch)[0] == (FeedRange("trades", 5, 1, 1), FeedRange("trades", 9, 1, 1))
    assert queues.positions() == {"trades": FeedPosition(9, 1)}


def test_events_of_a_process_that_was_replaced_are_dropped() -> None:
    queues = FeedQueues()
    queues.receive("trades", 9, 1, entries("x"))
    assert queues.receive("trades", 5, 4, entries("d")) == 0


def test_events_of_several_feeds_are_applied_by_the_time_of_publication_and_each_in_its_order() -> None:
    queues = FeedQueues()
    queues.receive("trades", 5, 1, entries("t1", "t2", at=10))
    queues.receive("book", 7, 1, [FeedEntry(5, b"b1"), FeedEntry(11, b"b2"), FeedEntry(4, b"b3")])
    assert names_of(apply_all(queues)) == ["b1", "t1", "t2", "b2", "b3"]


def test_a_batch_has_at_most_so_many_bytes_but_at_least_one_event() -> None:
    queues = FeedQueues()
    queues.receive("trades", 5, 1, entries("aaaa", "bbbb", "cccc"))
    assert names_of(queues.batch(10, 8)) == ["aaaa", "bbbb"]
    assert names_of(queues.batch(10, 1)) == ["aaaa"]


def test_a_process_stops_reading_before_it_holds_too_much() -> None:
    queues = FeedQueues()
    queue = queues.queue("trades")
    queues.receive("trades", 5, 1, [FeedEntry(0, bytes(MOST_BYTES // 2))])
    assert not queue.full
    queues.receive("trades", 5, 2, [FeedEntry(0, bytes(MOST_BYTES // 2))])
    assert queue.full
    queues.absorb([FeedRange("trades", 5, 1, 1)])
    assert not queue.full


def test_an_older_neverblink_reads_a_frame_that_has_ranges_and_a_newer_one_that_has_none() -> None:
    class OldTraffic(msgspec.Struct, frozen=True, array_like=True):
        received: tuple[str, ...] = ()

    packed = msgspec.msgpack.encode(Traffic(("a",), feeds=(FeedRange("trades", 5, 1, 2),)))
    old = msgspec.msgpack.decode(packed, type=OldTraffic)
    assert old.received == ("a",)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=Traffic).feeds == ()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(()), type=Vitals).feeds == {}


class World:
    """A feed that may restart, and two workers of which one leads. What is published is counted from 0."""

    def __init__(self, buffer: int) -> None:
        self.buffer = buffer
        self.published: list[tuple[int, int]] = []
        self.ring = FeedRing(1, buffer)
        self.before: tuple[int, int] | None = None
        self.workers = [FeedQueues(), FeedQueues()]
        self.leader = 0
        self.connected = [False, False]
        self.applied: list[int] = []
        self.told_lost = 0

    def publish(self) -> None:
        index = len(self.published)
        self.published.append(
            (self.ring.run, self.ring.add(msgspec.msgpack.encode((index, str(index).encode()))))
        )

    def restart(self) -> None:
        self.before = self.ring.run, self.ring.last
        self.ring = FeedRing(self.ring.run + 1, self.buffer)
        self.connected = [False, False]

    def receive(self, worker: int, most: int) -> None:
        """Worker connects if it has to, and receives up to so many bytes."""
        queues = self.workers[worker]
        queue = queues.queue("f")
        if not self.connected[worker]:
            self.connected[worker] = True
            if self.before is not None:
                queue.ended(*self.before)
        start = self.ring.start_for(queue.received.run, queue.received.n)
        first, raw = self.ring.batch(start, most)
        queues.receive(
            "f", self.ring.run, first, [msgspec.msgpack.decode(one, type=FeedEntry) for one in raw]
        )

    def turn(self, most: int) -> None:
        leader = self.workers[self.leader]
        batch = leader.batch(most, 1 << 40)
        leader.mark(batch)
        ranges, gaps = leader.apply(batch)
        self.applied += [int(item.data) for item in batch]
        self.told_lost += sum(gap.last - gap.first + 1 for gap in gaps)
        self.workers[1 - self.leader].absorb(ranges)

    def fail_over(self) -> None:
        """The leader dies; another process takes its place as the follower."""
        positions = self.workers[self.leader].positions()
        self.workers[self.leader] = FeedQueues()
        self.workers[self.leader].restore(positions)
        self.connected[self.leader] = False
        self.leader = 1 - self.leader


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 5)),
        st.tuples(st.just("receive"), st.integers(0, 1)),
        st.tuples(st.just("turn"), st.integers(1, 4)),
        st.tuples(st.just("hand over"), st.just(0)),
        st.tuples(st.just("fail over"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=60,
)


def run(world: World, steps: list[tuple[str, int]]) -> None:
    for what, value in steps:
        match what:
            case "publish":
                for _ in range(value):
                    world.publish()
            case "receive":
                world.receive(value, 40)
            case "turn":
                world.turn(value)
            case "hand over":
                world.leader = 1 - world.leader
            case "fail over":
                world.fail_over()
            case _:
                world.restart()
    for _ in range(400):
        world.receive(world.leader, 1 << 20)
        world.turn(1000)


@settings(max_examples=300, deadline=None)
@given(_steps)
def test_nothing_is_doubled_or_reordered_whatever_happens(steps: list[tuple[str, int]]) -> None:
    world = World(buffer=30)
    run(world, steps)
    assert world.applied == sorted(set(world.applied))


@settings(max_examples=300, deadline=None)
@given(_steps.map(lambda steps: [step for step in steps if step[0] != "restart"]))
def test_nothing_is_lost_while_the_buffer_reaches_back_and_what_it_does_not_have_is_told(
    steps: list[tuple[str, int]],
) -> None:
    world = World(buffer=1 << 20)
    run(world, steps)
    assert world.applied == list(range(len(world.published)))
    assert world.told_lost == 0
    small = World(buffer=30)
    run(small, steps)
    # What left the buffer before the first event was applied is before the bot's time.
    first = small.applied[0] if small.applied else 0
    assert len(small.applied) + small.told_lost == len(small.published) - first
