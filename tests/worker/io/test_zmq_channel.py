"""Channel: a quiet socket is not looked into, and nothing that has come is overlooked for it."""

from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from neverblink.worker.io.zmq_channel import ZmqChannel

_WITHIN_MS = 20_000


class _Counting(zmq.Socket[bytes]):
    """A real socket that counts how often it is looked into."""

    looks = 0

    def recv(self, *args: Any, **kwargs: Any) -> Any:
        type(self).looks += 1
        return super().recv(*args, **kwargs)  # pyright: ignore


class _Context(zmq.Context[zmq.Socket[bytes]]):
    _socket_class = _Counting


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[ZmqChannel, ZmqChannel]]:
    """A follower's channel and the leader's that it is connected to; both have been looked into."""
    context = _Context()
    leader = ZmqChannel(context, zmq.ROUTER, b"leader", 1 << 20)
    follower = ZmqChannel(context, zmq.DEALER, b"follower", 1 << 20)
    leader.bind(f"ipc://{tmp_path}/leader.sock")
    follower.connect(f"ipc://{tmp_path}/leader.sock")
    follower.send(b"first")
    while leader.receive_from() is None:
        ring(leader)
    assert leader.receive_from() is None
    assert follower.receive() is None
    yield follower, leader
    follower.close(0)
    leader.close(0)
    context.term()


def ring(channel: ZmqChannel) -> None:
    """Wait until the channel's descriptor rings, as a loop would."""
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    assert poll.poll(_WITHIN_MS), "it never became readable"
    channel.on_readable()


def test_a_channel_without_a_signal_is_not_read(pair: tuple[ZmqChannel, ZmqChannel]) -> None:
    before = _Counting.looks
    for channel in pair:
        assert channel.receive() is None
        assert channel.receive_from() is None
    assert _Counting.looks == before


def test_an_arriving_message_signals_and_is_read(pair: tuple[ZmqChannel, ZmqChannel]) -> None:
    follower, leader = pair
    for number in range(100):
        assert leader.send_to(b"follower", b"frame %d" % number)
        ring(follower)
        assert follower.receive() == b"frame %d" % number
        assert follower.receive() is None


def test_a_message_that_arrives_during_a_send_is_read_without_a_signal(
    pair: tuple[ZmqChannel, ZmqChannel],
) -> None:
    follower, leader = pair
    leader.send_to(b"follower", b"frame")
    poll = select.poll()
    poll.register(follower.fileno(), select.POLLIN)
    assert poll.poll(_WITHIN_MS)
    # It may use up the ring that is there.
    follower.send(b"confirmed")
    assert follower.receive() == b"frame"


def test_sending_to_a_missing_peer_returns_false(pair: tuple[ZmqChannel, ZmqChannel]) -> None:
    _, leader = pair
    assert not leader.send_to(b"nobody", b"frame")
    assert leader.receive_from() is None
