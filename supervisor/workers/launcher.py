"""Starts and adopts worker processes for the supervisor: makes the `Platform` that its parts are given."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import msgspec

from ...protocol.keys import Keys
from ..system.process import Adopted
from .platform import Child, Launch, Platform
from .spawn import spawn

__all__ = ["Inherited", "platform_of"]


class Inherited(msgspec.Struct, frozen=True):
    """What workers get as the supervisor got it: environment, umask, and the limit of open file descriptors."""

    environment: Mapping[str, str]
    umask: int
    descriptors: int


def platform_of(
    inherited: Inherited,
    loop: asyncio.AbstractEventLoop,
    keys_of: Callable[[str], Keys],
    before_start: Callable[[], object],
    end_group: Callable[[str, int, int], None],
    say: Callable[[str], None],
) -> Platform:
    """The platform of a running supervisor. `keys_of(worker)` are the keys of a new worker's sockets.

    `before_start()` is called before each worker is started.
    """

    def start(launch: Launch, on_exit: Callable[[int], None]) -> Child:
        before_start()
        keys = keys_of(launch.assignment.worker)
        environment, umask, descriptors = inherited.environment, inherited.umask, inherited.descriptors
        return spawn(launch, keys, environment, on_exit, loop, umask, say, descriptors)

    def watch(pid: int, started: int, on_exit: Callable[[None], None]) -> Child:
        return Adopted(pid, started, on_exit, loop)

    return Platform(time.time_ns, time.monotonic_ns, loop, start, watch, end_group=end_group)
