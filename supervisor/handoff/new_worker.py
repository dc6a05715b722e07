"""What a driver does with the worker pool."""

from __future__ import annotations

from ...protocol.handoff.handoff import Handoff
from ...protocol.link import SupervisorMessage
from ..config.config import Config
from ..release.releases import Release
from ..workers.registry import Member
from ..workers.worker_pool import WorkerPool

__all__ = ["NewWorker"]


class NewWorker:
    """The `HandoffActions` of one driver: the worker pool, and what the new worker runs."""

    def __init__(self, pool: WorkerPool, release: Release, config: Config, handoff: Handoff) -> None:
        self._pool = pool
        self._release = release
        self._config = config
        self._handoff = handoff

    def start(self, worker: str) -> Member:
        handoff = self._handoff
        return self._pool.start(worker, self._release, self._config, handoff.old, handoff.deployment)

    def send(self, worker: str, message: SupervisorMessage) -> bool:
        return self._pool.send(worker, message)

    def free(self, worker: str) -> None:
        self._pool.free(worker)

    def dismiss(self, worker: str, why: str) -> None:
        self._pool.dismiss(worker, why)

    def kill(self, worker: str, reason: str) -> None:
        self._pool.kill(worker, reason)
