"""The operators' lock: while it is on, deployments are refused with its reason. It survives the supervisor."""

from __future__ import annotations

from ...protocol.status import Locked
from .history_db import HistoryError
from .history_thread import HistoryThread

__all__ = [
    "DeployLock",
]

_KEY = "lock"


class DeployLock:
    """The lock, kept in the history. `lock` is None when it is off."""

    def __init__(self, history_thread: HistoryThread) -> None:
        self._history_thread = history_thread
        self.lock: Locked | None = None

    async def recall(self) -> None:
        """Read what an earlier supervisor left."""
        try:
            self.lock = await self._history_thread.ask(lambda history: history.kept(_KEY, Locked))
        except HistoryError as problem:
            # Someone has locked it; who and why is lost.
            self.lock = Locked("", problem.message, 0)

    async def put_on(self, lock: Locked) -> None:
        # It holds from now on, and is written when that is possible.
        self.lock = lock
        await self._history_thread.keep(lambda history: history.keep(_KEY, lock))

    async def take_off(self) -> None:
        self.lock = None
        await self._history_thread.keep(lambda history: history.drop(_KEY))
