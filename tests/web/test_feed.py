"""The event feed is bounded for every kind of listener."""

from __future__ import annotations

import asyncio

import pytest

from neverblink.supervisor.web.event_feed import EventFeed, Missed


class Everything:
    def __contains__(self, topic: object) -> bool:
        return True


ALL = Everything()


def test_a_listener_gets_only_newer_events() -> None:
    async def test() -> None:
        feed = EventFeed("a")
        feed.publish("phase", b"1")
        place = feed.now
        feed.publish("phase", b"2")
        feed.publish("pulse", b"3")
        text, place = feed.since(place, {"phase"})
        assert text == b"event: phase\nid: a-2\ndata: 2\n\n"
        assert feed.since(place, ALL) == (b"", place)
        waiting = asyncio.create_task(feed.wait(place))
        await asyncio.sleep(0)
        assert not waiting.done()
        feed.publish("phase", b"4")
        await waiting

    asyncio.run(test())


def test_the_feed_is_bounded_by_count_and_bytes_and_late_listeners_are_told_to_reset() -> None:
    async def test() -> None:
        feed = EventFeed("a", most=10, most_bytes=100_000)
        for number in range(25):
            feed.publish("phase", b"%d" % number)
        with pytest.raises(Missed):
            feed.since(15, ALL)
        assert feed.since(16, ALL)[0].count(b"event:") == 10
        for _ in range(9):
            feed.publish("output", b"x" * 40_000)
        assert feed.bytes <= 100_000
        # An event larger than the whole buffer is sent anyway.
        place = feed.now
        feed.publish("output", b"x" * 300_000)
        assert len(feed.since(place, ALL)[0]) > 300_000
        feed.publish("phase", b"1")
        assert feed.bytes < 1000

    asyncio.run(test())


def test_a_listener_resumes_only_if_no_event_is_missing() -> None:
    async def test() -> None:
        feed = EventFeed("a-b", most=3)
        for number in range(5):
            feed.publish("phase", b"%d" % number)
        assert feed.place_of("a-b-5") == 6
        assert feed.place_of("a-b-2") == 3
        for other in ("a-b-1", "a-b-6", "c-3", "a-b-", "a-b-x", "", "a-b-" + "9" * 30, "a-b-²"):
            with pytest.raises(Missed):
                feed.place_of(other)

    asyncio.run(test())
