"""What the parts of one bot share: where events go, the platform, and what is known of the workers."""

from __future__ import annotations

from ..system.event_bus import EventBus
from .platform import Platform
from .registry import WorkerRegistry

__all__ = ["BotContext"]


class BotContext:
    """Given to each part of the bot `bus.bot` that starts, watches or drives workers."""

    def __init__(self, bus: EventBus, platform: Platform) -> None:
        self.bus = bus
        self.platform = platform
        self.registry = WorkerRegistry()
