"""Bracing: the successor is asked when nothing else is in the way, and never waited for in vain."""

from __future__ import annotations

import pytest

from neverblink.protocol.link import YieldTo
from neverblink.worker.engine.bracing import Bracing
from neverblink.worker.io.final_frame_socket import NoFinalFrameSocket
from neverblink.worker.simulation.world import SimulatedClock

MS = 1_000_000
ORDER = YieldTo(7, "w2")


class Said:
    """A publisher that counts the messages to the successor."""

    def __init__(self) -> None:
        self.braced: list[int] = []
        self.sent = 0
        self.needs = 0

    def brace(self, worker: str, order: int) -> None:
        assert worker == "w2"
        self.braced.append(order)
        self.sent += 1

    def pid_of(self, worker: str) -> int:
        return 77

    def needs_of(self, worker: str) -> int:
        return self.needs

    def sent_to(self, worker: str) -> int:
        return self.sent


class Hands(NoFinalFrameSocket):
    def __init__(self) -> None:
        self.reached = ""
        self.handed: list[bytes] = []

    def reach(self, worker: str, pid: int) -> None:
        assert pid == 77
        self.reached = worker

    def hand(self, data: bytes) -> bool:
        self.handed.append(data)
        return True


class Asked:
    """A leader that is at a boundary now and then."""

    def __init__(self) -> None:
        self.publisher = Said()
        self.clock = SimulatedClock(0)
        self.final_frames = Hands()
        self.bracing = Bracing(self.publisher, self.clock, self.final_frames)

    def ready(self, after: int = 0, order: YieldTo = ORDER) -> bool:
        self.clock.go_on(after)
        return self.bracing.ready(order, self.clock.mono())

    def answer(self, after: int = 0, order: int = ORDER.order) -> None:
        self.clock.go_on(after)
        self.bracing.answered("w2", order)

    def hand(self) -> bool:
        return self.bracing.hand(ORDER.order, "w2", b"final")


@pytest.fixture
def leader() -> Asked:
    return Asked()


def test_the_leader_sends_brace_once_and_yields_after_the_answer(leader: Asked) -> None:
    assert not leader.ready()
    assert not leader.ready(after=MS)
    assert leader.publisher.braced == [7]
    leader.answer(after=MS)
    assert leader.ready(after=MS)
    assert leader.final_frames.reached == "w2"
    assert leader.hand()
    assert leader.final_frames.handed == [b"final"]


def test_the_leader_waits_at_most_5_ms_for_an_answer_to_brace(leader: Asked) -> None:
    assert not leader.ready()
    assert leader.bracing.until == leader.clock.mono() + 5 * MS
    assert not leader.ready(after=5 * MS - 1)
    assert leader.ready(after=1)
    assert leader.ready(after=MS)
    assert leader.publisher.braced == [7]
    assert not leader.hand()


def test_a_successor_has_twice_the_time_that_it_needs_to_answer_but_not_for_ever(leader: Asked) -> None:
    leader.publisher.needs = 40 * MS
    assert leader.bracing.needs(ORDER) == 40 * MS
    assert leader.bracing.needs(None) == 0
    assert not leader.ready()
    assert leader.bracing.needs(ORDER) == 0
    assert not leader.ready(after=80 * MS - 1)
    assert leader.ready(after=1)
    leader.publisher.needs = 10_000 * MS
    assert not leader.ready(order=YieldTo(8, "w2"))
    assert leader.ready(after=2000 * MS, order=YieldTo(8, "w2"))


def test_a_late_answer_to_brace_is_ignored(leader: Asked) -> None:
    assert not leader.ready()
    assert leader.ready(after=5 * MS)
    leader.answer(after=MS)
    assert not leader.hand()


def test_the_final_frame_does_not_overtake_an_earlier_frame(leader: Asked) -> None:
    assert not leader.ready()
    leader.answer()
    leader.publisher.sent += 1
    assert not leader.hand()
    assert not leader.ready(after=MS)
    assert leader.publisher.braced == [7, 7]
    leader.answer()
    assert leader.ready()
    assert leader.hand()


def test_brace_is_sent_again_when_the_successor_has_stopped_watching(leader: Asked) -> None:
    assert not leader.ready()
    leader.answer()
    assert not leader.ready(after=5 * MS)
    assert leader.publisher.braced == [7, 7]


def test_a_leader_that_sends_frames_all_the_time_yields_after_three_braces(leader: Asked) -> None:
    for _ in range(3):
        assert not leader.ready(after=MS)
        leader.answer()
        leader.publisher.sent += 1
    assert leader.ready(after=MS)
    assert leader.publisher.braced == [7, 7, 7]
    assert not leader.hand()


def test_another_order_sends_brace_again(leader: Asked) -> None:
    assert not leader.ready()
    leader.answer()
    assert not leader.ready(order=YieldTo(8, "w2"))
    # The answer to the one before says nothing of this one.
    leader.answer(order=7)
    assert not leader.ready(order=YieldTo(8, "w2"))
    assert not leader.hand()
    leader.answer(order=8)
    assert leader.ready(order=YieldTo(8, "w2"))
    assert leader.publisher.braced == [7, 8]


def test_an_answer_without_a_brace_is_ignored(leader: Asked) -> None:
    leader.answer()
    assert not leader.ready()
    assert leader.publisher.braced == [7]
