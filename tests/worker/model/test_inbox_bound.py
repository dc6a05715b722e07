"""A full inbox: what waits is bounded, and what happens at the bound is what the bot has chosen."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from neverblink.protocol.frame import Item, Traffic
from neverblink.worker.model.inbox import Inbox
from neverblink.worker.model.inbox_bound import InboxBound, InboxFull


def inbox(**bound: Any) -> Inbox:
    box = Inbox(lambda: 10**18, lambda: None, 1000, 10**15, 10**9, InboxBound(**bound))
    box.lead()
    return box


def own(box: Inbox) -> list[Item]:
    """What is ready and was put by the bot."""
    return [item for item in box.ready(10**18) if isinstance(item, Item)]


def waiting(box: Inbox) -> list[str]:
    return [item.key for item in box.pending()]


def traffic(box: Inbox) -> Traffic:
    found = box.traffic(())
    assert found is not None
    return found


def test_a_full_inbox_refuses_an_event_and_keeps_what_waits() -> None:
    box = inbox(events=3)
    for key in "abc":
        box.put(key, 1)
    with pytest.raises(
        InboxFull, match=r"event 'd': the inbox is full: 3 events .* at most 3 .*inbox_bound"
    ) as caught:
        box.put("d", 1)
    assert caught.value.key == "d"
    assert (box.refused, box.dropped, box.waiting) == (1, 0, 3)
    box.apply(own(box)[:1], 1)
    box.put("d", 1)
    assert waiting(box) == ["b", "c", "d"]


def test_the_bound_in_bytes_holds_too() -> None:
    box = inbox(bytes="100B")
    box.put("a", "x" * 80)
    with pytest.raises(InboxFull):
        box.put("b", "x" * 80)
    with pytest.raises(InboxFull):
        inbox(bytes="100B", when_full="drop-oldest").put("larger than the whole inbox", "x" * 200)


def test_a_thread_that_puts_into_a_full_inbox_gets_the_error_too() -> None:
    box = inbox(events=1)
    box.put("a", 1)
    raised: list[BaseException] = []

    def put() -> None:
        try:
            box.put("b", 1)
        except InboxFull as problem:
            raised.append(problem)

    thread = threading.Thread(target=put)
    thread.start()
    thread.join()
    assert len(raised) == 1


def test_the_oldest_events_are_dropped_where_the_bot_says_so() -> None:
    box = inbox(events=3, when_full="drop-oldest")
    for key in "abcde":
        box.put(key, 1)
    assert waiting(box) == ["c", "d", "e"]
    for key in "fg":
        box.put(key, 1)
    assert waiting(box) == ["e", "f", "g"]
    assert (box.dropped, box.refused) == (4, 0)


def test_a_dropped_event_is_reported_and_does_not_come_back() -> None:
    box = inbox(events=2, when_full="drop-oldest")
    for n, key in enumerate("abc"):
        box.put(key, 1, stream="s", n=n)
    box.sort_in()
    assert waiting(box) == ["b", "c"]
    said = traffic(box)
    assert said.dropped == ("a",)
    assert said.numbers == {"s": ((0, 0),)}
    box.put("a", 1, stream="s", n=0)
    assert waiting(box) == ["b", "c"]
    follower = inbox()
    follower.follow()
    follower.put("a", 1)
    follower.sort_in()
    follower.absorb(said, 1)
    assert "a" not in waiting(follower)


def test_of_each_stream_the_latest_event_is_kept_where_the_bot_says_so() -> None:
    box = inbox(events=3, when_full="keep-latest")
    for key, stream in (("b1", "btc"), ("e1", "eth"), ("b2", "btc"), ("b3", "btc"), ("e2", "eth")):
        box.put(key, 1, stream=stream)
    assert waiting(box)[-2:] == ["b3", "e2"]
    assert "b1" not in waiting(box)
    box.put("s1", 1, stream="sol")
    assert {"b3", "e2", "s1"} <= set(waiting(box))


def test_with_more_streams_than_room_and_for_an_event_without_a_stream_keep_latest_refuses() -> None:
    box = inbox(events=2, when_full="keep-latest")
    box.put("b1", 1, stream="btc")
    box.put("e1", 1, stream="eth")
    with pytest.raises(InboxFull):
        box.put("plain", 1)
    with pytest.raises(InboxFull):
        box.put("s1", 1, stream="sol")


@pytest.mark.parametrize("when_full", ["drop-oldest", "keep-latest"])
def test_no_more_than_twice_the_bound_waits_while_a_turn_runs(when_full: Any) -> None:
    box = inbox(events=100, when_full=when_full)
    for n in range(100):
        box.put(f"before {n}", n, stream="s")
    box.sort_in()
    for n in range(10_000):
        box.put(f"then {n}", n, stream="s")
    assert box.waiting <= 200
    box.sort_in()
    assert box.waiting <= 100
    assert waiting(box)[-1] == "then 9999"


def test_a_command_is_never_refused_or_dropped() -> None:
    box = inbox(events=2, when_full="drop-oldest")
    box.command("1", "close", {})
    for key in "abcdef":
        box.put(key, 1)
    assert waiting(box)[0] == "command/1"


def test_what_a_follower_offers_stays_with_it_while_the_leader_is_full() -> None:
    leader, follower = inbox(events=1), inbox()
    follower.follow()
    leader.put("a", 1)
    leader.sort_in()
    follower.put("b", 1)
    follower.sort_in()
    leader.admit(follower.only_here(10), "w2")
    assert waiting(leader) == ["a"]
    assert [item.key for item in follower.only_here(10)] == ["b"]
    leader.apply(own(leader), 1)
    leader.admit(follower.only_here(10), "w2")
    assert leader.waiting == 1
