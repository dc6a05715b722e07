from __future__ import annotations

from typing import Any

import msgspec

from neverblink.protocol.events import Event, StateProblemChanged, decode_event, encode_event
from neverblink.protocol.link import Report, StateProblem, worker_codec
from neverblink.supervisor.bot.state_health import StateHealth
from neverblink.supervisor.notify.messages import MessageWriter
from neverblink.supervisor.workers.registry import Member

PRICE = StateProblem(
    "price", "price", "unreadable", "float", "None", "declare it as float | None", ("bot.py:7",), 12, 99
)
GROUPS = StateProblem("groups", "groups", "differs", "dict", "defaultdict", "use a dict")


class Bus:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def take(self) -> list[StateProblemChanged]:
        published, self.events = self.events, []
        return [item for item in published if isinstance(item, StateProblemChanged)]


def report(*problems: StateProblem, role: Any = "leading") -> Report:
    return Report(role, 1, True, "", 0, 5, 5, False, problems=problems)


def health() -> tuple[StateHealth, Bus, Member]:
    bus = Bus()
    member: Any = type("Member", (), {"worker": "w1", "release": "v1"})()
    return StateHealth(bus), bus, member  # pyright: ignore[reportArgumentType]


def test_a_problem_is_published_once_and_again_when_it_is_over() -> None:
    state, bus, member = health()
    state.reported(member, report(PRICE))
    state.reported(member, report(msgspec.structs.replace(PRICE, found="'x' (str)")))
    [event] = bus.take()
    assert (event.worker, event.field, event.problem) == ("w1", "price", PRICE)
    state.reported(member, report(GROUPS))
    assert {(item.field, item.problem) for item in bus.take()} == {("price", None), ("groups", GROUPS)}


def test_a_follower_says_nothing_about_the_leaders_state() -> None:
    state, bus, member = health()
    state.reported(member, report(PRICE))
    bus.take()
    state.reported(member, report(role="following"))
    assert bus.take() == []


def test_a_problem_has_its_line_in_the_event_and_in_the_message_to_people() -> None:
    event = StateProblemChanged(bot="fox", at=5, worker="w1", release="v1", field="price", problem=PRICE)
    assert decode_event(encode_event(event)) == event
    [note] = MessageWriter("fox").of(event)
    assert (note.kinds, note.level) == (("state",), "failure")
    assert note.title == "fox: state field price does not read back as it was written"
    assert "expected float, found None" in note.text
    assert "bot.py:7" in note.text
    over = msgspec.structs.replace(event, problem=None)
    [note] = MessageWriter("fox").of(over)
    assert note.level == "success"


def test_a_report_without_problems_is_understood_as_an_earlier_release_sends_it() -> None:
    fields: dict[str, Any] = msgspec.to_builtins(report())
    del fields["problems"]
    decoded = worker_codec.decode(msgspec.msgpack.encode({"type": "report", **fields}))
    assert isinstance(decoded, Report)
    assert decoded.problems == ()
