"""What a bot imports.

    import msgspec
    from neverblink.worker import Worker

    class Book(msgspec.Struct):
        count: int = 0

    class Counter(Worker[Book]):
        tick = "1s"

        def on_tick(self, tick):
            self.state.count += 1

A bot that is a plain loop uses `join` instead; its tests use `neverblink.worker.testing`.
"""

from ..protocol.window import Window
from .codecs.codec import Codec
from .codecs.pickle_codec import pickled
from .io.release_dir import data_directory
from .join import join
from .model.cell import Cell
from .model.commands import command
from .model.decision import Decision, NotLeading
from .model.handler_types import Event, InDoubt, Tick, Timer
from .model.inbox_bound import EventError, InboxBound, InboxFull
from .model.migration import migration
from .model.table import Table
from .worker import Worker

__all__ = [
    "Cell",
    "Codec",
    "Decision",
    "Event",
    "EventError",
    "InDoubt",
    "InboxBound",
    "InboxFull",
    "NotLeading",
    "Table",
    "Tick",
    "Timer",
    "Window",
    "Worker",
    "command",
    "data_directory",
    "join",
    "migration",
    "pickled",
]
