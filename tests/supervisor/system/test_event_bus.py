"""The event bus."""

from __future__ import annotations

from neverblink.protocol import events
from neverblink.protocol.events import Event

from ..fake_bot_context import FakeBotContext


def test_a_listener_that_fails_does_not_disturb_the_others() -> None:
    context = FakeBotContext()

    def fail(event: Event) -> None:
        raise OSError("the disk is full")

    context.bus.subscribe(fail)
    later: list[Event] = []
    context.bus.subscribe(later.append)
    context.bus.tell(events.SupervisorStopping(bot="fox", at=1, reason="down"))
    assert len(later) == 1
    assert context.troubles == ["a listener failed on SupervisorStopping: OSError('the disk is full')"]
