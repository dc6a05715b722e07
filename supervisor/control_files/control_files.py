"""The two files of one home: keeps `status.json` and serves `control.json`, as configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from ...protocol.commands import Answer, Command
from ...protocol.events import Event, Heartbeat, StepOutput
from ...protocol.status import BotStatus
from ..config.config import FileLayer
from ..store.history_thread import HistoryThread
from .json_shapes import VERSION, ControlSeen, StatusFile
from .request_files import RequestFiles
from .status_file import StatusFileWriter

__all__ = ["CONTROL", "STATUS", "ControlFiles"]

STATUS = "status.json"
CONTROL = "control.json"


class ControlFiles:
    """The files in `home`. `status()` makes the status, `carry_out` must not raise, `now` tells wall ns."""

    def __init__(
        self,
        home: Path,
        config: FileLayer,
        history_thread: HistoryThread,
        *,
        status: Callable[[], BotStatus],
        carry_out: Callable[[Command, str], Awaitable[Answer]],
        now: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self._config = config
        self._status = status
        self._now = now
        self._status_writer = (
            StatusFileWriter(home / STATUS, self._made, config.pace, say) if config.status else None
        )
        self._request_files: RequestFiles | None = None
        if config.control:
            self._request_files = RequestFiles(
                home / CONTROL,
                history_thread,
                carry_out,
                poll=config.poll,
                now=now,
                changed=self._changed,
                say=say,
            )

    async def begin(self) -> None:
        """From here on the one is written and the other is read."""
        if self._status_writer is not None:
            self._status_writer.begin()
        if self._request_files is not None:
            await self._request_files.begin()

    def note(self, event: Event) -> None:
        """An event has happened: all but those of several times a second are written at once."""
        if not isinstance(event, Heartbeat | StepOutput):
            self._changed()

    async def close(self) -> None:
        """Read no more, and leave a last word."""
        if self._request_files is not None:
            await self._request_files.close()
        if self._status_writer is not None:
            await self._status_writer.close()

    def _changed(self) -> None:
        if self._status_writer is not None:
            self._status_writer.poke()

    def _made(self, alive: bool) -> StatusFile:
        return StatusFile(
            version=VERSION,
            at=self._now(),
            pace=self._config.pace,
            alive=alive,
            status=self._status(),
            control=self._request_files.seen() if self._request_files is not None else ControlSeen(),
        )
