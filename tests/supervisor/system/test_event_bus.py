"""The event bus."""

from __future__ import annotations

from neverblink.protocol import events
from neverblink.protocol.events import Event

from ..stage import Stage


def test_a_listener_that_fails_does_not_disturb_the_others() -> None:
    stage = Stage()

    def fail(event: Event) -> None:
        raise OSError("the disk is full")

    stage.bus.subscribe(fail)
    later: list[Event] = []
    stage.bus.subscribe(later.append)
    stage.bus.tell(events.SupervisorStopping(bot="fox", at=1, reason="down"))
    assert len(later) == 1
    assert stage.troubles == ["a listener failed on SupervisorStopping: OSError('the disk is full')"]
