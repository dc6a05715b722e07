"""The floor: what the same costs on this machine without neverblink.

A ZeroMQ message over ipc from one process to another, which is the only thing that a handoff has to wait for; and a
loop that sleeps with `clock_nanosleep` until each tick is due, which is the best that a plain Python loop can do.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import zmq

from .figure import Figure, Scale, row
from .spread import Spread, spread

__all__ = ["measure", "message", "wakes"]

_SIZE = 400
"""About the size of the last frame of a small state, in bytes."""
_WITHIN_MS = 10_000


def measure(scale: Scale, tmp: Path) -> Figure:
    messages = message(tmp, 200 if scale.quick else 2000)
    loop = wakes(10_000_000, scale.seconds)
    return Figure(
        "The floor of this machine, µs",
        ("p50", "p99", "max"),
        [
            row("one ZeroMQ ipc message, one way", messages, 1000),
            row("a bare clock_nanosleep loop at 10 ms: late", loop, 1000),
        ],
        marks={"floor: a bare ZeroMQ message": [(0, messages.p50 / 1000)]},
    )


def message(tmp: Path, count: int) -> Spread:
    """How long a message takes from one process to another, in ns; one every 2 ms."""
    address = f"ipc://{tmp}/floor.sock"
    context = zmq.Context[zmq.Socket[bytes]](1)
    socket = context.socket(zmq.PAIR)
    socket.setsockopt(zmq.RCVTIMEO, _WITHIN_MS)
    socket.bind(address)
    spawn = multiprocessing.get_context("spawn")
    other = spawn.Process(target=_answer, args=(address, count))
    other.start()
    try:
        socket.recv()
        samples: list[int] = []
        body = bytes(_SIZE)
        for _ in range(count):
            time.sleep(0.002)
            sent = time.monotonic_ns()
            socket.send(body)
            samples.append(int(socket.recv()) - sent)
    finally:
        other.join(5)
        other.kill()
        context.destroy(linger=0)
    return spread(samples)


def _answer(address: str, count: int) -> None:
    context = zmq.Context[zmq.Socket[bytes]](1)
    socket = context.socket(zmq.PAIR)
    socket.setsockopt(zmq.RCVTIMEO, _WITHIN_MS)
    socket.connect(address)
    socket.send(b"")
    for _ in range(count):
        socket.recv()
        socket.send(str(time.monotonic_ns()).encode())
    context.destroy(linger=1000)


def wakes(interval: int, seconds: float) -> Spread:
    """How late a bare loop wakes that sleeps until each multiple of `interval`, ns."""
    samples: list[int] = []
    due = time.monotonic_ns() + interval
    for _ in range(int(seconds * 1e9 / interval)):
        # `time.sleep` is clock_nanosleep with an absolute time on CLOCK_MONOTONIC, since Python 3.11.
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        now = time.monotonic_ns()
        samples.append(max(0, now - due))
        due = max(due + interval, now)
    return spread(samples)
