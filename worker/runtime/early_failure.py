"""Reports to the supervisor why a worker failed before it had made its sockets.

Its log may be missing for the same reason, for example on a disk without an inode. A connection needs no file.
"""

from __future__ import annotations

import os
from contextlib import suppress

import zmq

from ...protocol.assignment import Assignment
from ...protocol.endpoint import endpoint
from ...protocol.errors import NeverblinkError
from ...protocol.frame import Schema
from ...protocol.link import LINK_LIMIT, Failed, worker_codec
from ..io.identity import keys_of, use_client_keys
from ..io.zmq_channel import ZmqChannel
from .bootstrap import hello_of
from .supervised import SUPERVISOR

__all__ = ["report_early_failure"]

_LINGER_MS = 500


def report_early_failure(me: Assignment, reason: str) -> None:
    """Report to the supervisor why this worker cannot start. Never raises."""
    directories: list[int] = []

    def open_directory(path: str) -> int:
        directories.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        return directories[-1]

    with suppress(NeverblinkError, OSError, zmq.ZMQError):
        keys = keys_of(me)
        context = zmq.Context[zmq.Socket[bytes]](1)
        channel = ZmqChannel(context, zmq.DEALER, f"{me.worker}.{os.urandom(8).hex()}".encode(), LINK_LIMIT)
        try:
            use_client_keys(channel.socket, keys.own, keys.supervisor)
            channel.connect(endpoint(me.run, SUPERVISOR, open_directory))
            for message in (hello_of(me, Schema(0, ""), 0, ()), Failed("open", reason, "")):
                channel.send(worker_codec.encode(message))
        finally:
            channel.close(_LINGER_MS)
            context.term()
    for directory in directories:
        os.close(directory)
