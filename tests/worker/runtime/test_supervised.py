"""A supervised worker receives the final frame by its socket, whether it polls or sleeps."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from neverblink.protocol.assignment import Assignment
from neverblink.protocol.journal import NOWHERE
from neverblink.protocol.keys import SIZE
from neverblink.protocol.link import SupervisorMessage
from neverblink.protocol.stream import Final, FollowerMessage, LeaderMessage, leader_codec
from neverblink.supervisor.sockets.worker_keys import WorkerKeys
from neverblink.worker.io.final_frame_socket import FinalFrameSocket
from neverblink.worker.io.precise_loop import Poller
from neverblink.worker.runtime.supervised import SupervisedRuntime

FINAL = Final(1, 1, b"frame", NOWHERE, [])
_WITHIN = 30.0


class Heard:
    """A worker that does nothing but listen."""

    in_turn = False
    feeds = None

    def __init__(self) -> None:
        self.by_leader: list[LeaderMessage] = []

    def ordered(self, message: SupervisorMessage) -> None: ...
    def from_leader(self, message: LeaderMessage) -> None:
        self.by_leader.append(message)

    def from_follower(self, worker: str, message: FollowerMessage) -> None: ...
    def died(self, worker: str) -> None: ...

    def end_tasks(self, within: float) -> bool:
        return False

    def on_time(self) -> None: ...
    def wake_at(self) -> int:
        return 2**62


class Successor:
    """A real worker's runtime, without other processes."""

    def __init__(self, home: Path) -> None:
        (home / "journal").mkdir()
        (home / "run").mkdir()
        keys = WorkerKeys(secrets.token_bytes(SIZE)).of("w2")
        me = Assignment(
            "b", "w2", "r", str(home / "run"), str(home / "lease"), str(home / "journal"), keys=keys
        )
        self.link = SupervisedRuntime(me)
        self.heard = Heard()
        self.poller = Poller()
        self.stirred = 0
        self.link.open(self.poller, self.heard, self._stir, lambda: None)
        self.old = FinalFrameSocket("w1", lambda name: str(home / "run" / name))

    def _stir(self) -> None:
        self.stirred += 1

    def close(self) -> None:
        self.old.close()
        self.link.close()
        self.poller.close()


@pytest.fixture
def successor(tmp_path: Path) -> Iterator[Successor]:
    successor = Successor(tmp_path)
    yield successor
    successor.close()


def test_a_successor_that_polls_receives_the_final_frame_at_once(successor: Successor) -> None:
    successor.link.final_frames.expect()
    successor.old.reach("w2", os.getpid())
    assert successor.old.hand(leader_codec.encode(FINAL))
    assert successor.link.look()
    assert successor.heard.by_leader == [FINAL]


@pytest.mark.parametrize("looks", [False, True])
def test_a_successor_that_stopped_polling_is_woken_by_the_final_frame(
    successor: Successor, looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def free() -> bool:
        return looks

    monkeypatch.setattr("neverblink.worker.io.final_frame_socket._a_core_is_free", free)
    successor.link.final_frames.expect()
    while successor.link.look():
        pass
    assert not successor.link.final_frames.expected
    successor.old.reach("w2", os.getpid())
    assert successor.old.hand(leader_codec.encode(FINAL))
    before = successor.stirred
    while not successor.heard.by_leader:
        successor.poller.wait(_WITHIN)
    assert successor.heard.by_leader == [FINAL]
    assert successor.stirred > before


def test_an_undecodable_message_is_dropped(successor: Successor) -> None:
    successor.link.final_frames.expect()
    successor.old.reach("w2", os.getpid())
    assert successor.old.hand(b"\xc1 nonsense")
    assert successor.old.hand(leader_codec.encode(FINAL))
    while not successor.heard.by_leader:
        successor.link.look()
    assert successor.heard.by_leader == [FINAL]


def test_a_follower_that_changes_its_leader_drops_the_earlier_ones_final_frame(successor: Successor) -> None:
    successor.link.final_frames.expect()
    successor.old.reach("w2", os.getpid())
    while successor.link.look():
        pass
    assert successor.old.hand(leader_codec.encode(FINAL))
    successor.link.connect("w3")
    successor.link.final_frames.expect()
    while successor.link.look():
        pass
    assert successor.heard.by_leader == []
    assert not successor.old.hand(leader_codec.encode(FINAL))
