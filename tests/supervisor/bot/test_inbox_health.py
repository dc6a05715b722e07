from __future__ import annotations

from typing import Any

import msgspec

from neverblink.protocol.events import Event, InboxProblemChanged, decode_event, encode_event
from neverblink.protocol.link import Inboxed, Report
from neverblink.supervisor.api.event_log import level_of_event, line_of
from neverblink.supervisor.bot.inbox_health import QUIET, InboxHealth
from neverblink.supervisor.notify.messages import MessageWriter

EMPTY = Inboxed(0, 3, 1000)


class Leader:
    """The reports of one worker, each in another second; the health that hears them, and the events it publishes."""

    def __init__(self) -> None:
        self.now = 0
        self.events: list[Event] = []
        self.health = InboxHealth(self, lambda: self.now)  # pyright: ignore[reportArgumentType]
        self.before: Report | None = None

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def reports(
        self, after: int = QUIET // 10, role: Any = "leading", worker: str = "w1", **counts: Any
    ) -> list[tuple[str, str, int, int, int]]:
        """What is published for a report with these counts, `after` ns after the last one."""
        self.now += after
        inboxed = msgspec.structs.replace(EMPTY, **counts)
        report = Report(role, 1, True, "", 0, 5, 5, False, inboxed=inboxed)
        member: Any = type("Member", (), {"worker": worker, "release": "v1"})()
        self.health.reported(member, self.before, report)
        self.before = report
        published, self.events = self.events, []
        return [
            (event.kind, event.state, event.refused, event.dropped, event.missing)
            for event in published
            if isinstance(event, InboxProblemChanged)
        ]


def test_a_full_inbox_is_published_once_and_again_when_nothing_was_lost_for_a_while() -> None:
    leader = Leader()
    assert leader.reports(role="joining") == []
    assert leader.reports(refused=2) == [("full", "began", 2, 0, 0)]
    assert leader.reports(refused=500, dropped=3) == []
    assert leader.reports(QUIET - 1, refused=500, dropped=3) == []
    assert leader.reports(1, refused=500, dropped=3) == [("full", "over", 500, 3, 0)]
    assert leader.reports(QUIET, refused=500, dropped=3) == []
    assert leader.reports(refused=501, dropped=3) == [("full", "began", 1, 0, 0)]


def test_a_problem_that_comes_and_goes_is_published_once() -> None:
    leader = Leader()
    leader.reports(role="following")
    told = [leader.reports(QUIET - 1, dropped=count // 2) for count in range(2, 40)]
    assert [event for events in told for event in events] == [("full", "began", 0, 1, 0)]


def test_numbers_given_up_are_a_problem_of_their_own() -> None:
    leader = Leader()
    leader.reports(role="following")
    assert leader.reports(refused=1) == [("full", "began", 1, 0, 0)]
    assert leader.reports(QUIET - 1, refused=1, missing=2, gap="s: 3 to 4") == [("gap", "began", 0, 0, 2)]
    assert leader.reports(1, refused=1, missing=2, gap="s: 3 to 4") == [("full", "over", 1, 0, 0)]
    assert leader.reports(QUIET, refused=1, missing=2, gap="s: 3 to 4") == [("gap", "over", 0, 0, 2)]


def test_what_a_follower_loses_is_not_published_when_it_leads() -> None:
    leader = Leader()
    leader.reports(role="following")
    assert leader.reports(role="following", refused=7) == []
    assert leader.reports(refused=7) == []
    assert leader.reports(refused=8) == [("full", "began", 1, 0, 0)]


def test_a_supervisor_that_adopts_a_leader_publishes_only_what_it_loses_from_then_on() -> None:
    leader = Leader()
    assert leader.reports(refused=7) == []
    assert leader.reports(refused=9) == [("full", "began", 2, 0, 0)]


def test_a_problem_outlasts_the_leader_in_which_it_began() -> None:
    leader = Leader()
    leader.reports(role="following")
    leader.reports(refused=7)
    leader.before = None
    assert leader.reports(role="following", worker="w2") == []
    assert leader.reports(worker="w2", refused=1) == []
    assert leader.reports(QUIET, worker="w2", refused=1) == [("full", "over", 8, 0, 0)]


def test_a_report_of_a_release_without_these_counts_changes_nothing() -> None:
    leader = Leader()
    member: Any = type("Member", (), {"worker": "w1", "release": "v1"})()
    older = Report("leading", 1, True, "", 0, 5, 5, False)
    leader.health.reported(member, older, older)
    assert leader.events == []


def test_a_problem_has_its_line_in_the_log_and_a_message_to_people() -> None:
    leader = Leader()
    health, published = leader.health, leader.events
    member: Any = type("Member", (), {"worker": "w1", "release": "v1"})()

    def report(**counts: Any) -> Report:
        return Report(
            "leading", 1, True, "", 0, 5, 5, False, inboxed=msgspec.structs.replace(EMPTY, **counts)
        )

    lost = report(refused=1200, dropped=1, missing=2, gap="trades: 7 to 8")
    health.reported(member, report(), lost)
    leader.now += QUIET
    health.reported(member, lost, lost)
    texts = [
        "the inbox is full (at most 3 events and 1,000 bytes wait): 1,200 events refused, 1 event dropped",
        "numbers of an event stream did not come within hold_events: 2 numbers given up, last trades: 7 to 8",
        "the inbox has kept all events for 10s; before that: 1,200 events refused, 1 event dropped",
        "no number of an event stream was missing for 10s; before that: 2 numbers given up, last trades: 7 to 8",
    ]
    assert [line_of(event) for event in published] == texts
    assert [level_of_event(event) for event in published] == ["warning", "warning", "info", "info"]
    notes = [note for event in published for note in MessageWriter("fox").of(event)]
    assert [(note.kinds, note.level, note.text) for note in notes] == [
        (("inbox",), level, text)
        for level, text in zip(["warning"] * 2 + ["success"] * 2, texts, strict=True)
    ]
    assert [note.title for note in notes] == [
        "fox: the inbox is full: events are refused or dropped",
        "fox: numbers are missing in an event stream",
        "fox: the inbox keeps all events again",
        "fox: no more numbers are missing in the event streams",
    ]
    for event in published:
        assert decode_event(encode_event(event)) == event
