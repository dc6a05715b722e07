"""The final-frame socket: what is sent arrives whole and at once, or the sender learns that it does not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from neverblink.worker.io.final_frame_socket import FinalFrameSocket

_POLLS_FOR = "neverblink.worker.io.final_frame_socket._POLLS_FOR"
_IS_FREE = "neverblink.worker.io.final_frame_socket._a_core_is_free"
_LONG = 60_000_000_000


@pytest.fixture
def path_of(tmp_path: Path) -> Callable[[str], str]:
    return lambda name: f"{tmp_path}/{name}"


@pytest.fixture
def successor(path_of: Callable[[str], str]) -> Iterator[FinalFrameSocket]:
    final_frames = FinalFrameSocket("w2", path_of)
    yield final_frames
    final_frames.close()


@pytest.fixture
def leader(path_of: Callable[[str], str]) -> Iterator[FinalFrameSocket]:
    final_frames = FinalFrameSocket("w1", path_of)
    yield final_frames
    final_frames.close()


def test_a_final_frame_is_received_unchanged(successor: FinalFrameSocket, leader: FinalFrameSocket) -> None:
    successor.expect()
    leader.reach("w2", os.getpid())
    whole = os.urandom(100_000)
    assert leader.hand(b"first")
    assert leader.hand(whole)
    assert successor.receive() == b"first"
    assert successor.receive() == whole
    assert successor.receive() is None


def test_a_polling_successor_receives_the_final_frame_without_sleeping(
    successor: FinalFrameSocket, path_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_POLLS_FOR, _LONG)
    monkeypatch.setattr(_IS_FREE, _one_is)
    successor.expect()
    assert successor.expected
    hands = "import sys; "
    hands += "from neverblink.worker.io.final_frame_socket import FinalFrameSocket; "
    hands += "old = FinalFrameSocket('w1', sys.argv[1].__add__); "
    hands += "old.reach('w2', int(sys.argv[2])); assert old.hand(b'final')"
    old = subprocess.Popen([sys.executable, "-c", hands, path_of(""), str(os.getpid())])
    found: bytes | None = None
    while not found:
        # A process that others keep from polling stops polling, and would be woken.
        successor.expect()
        found = successor.wait(())
    assert found == b"final"
    assert old.wait(30) == 0


def test_a_polling_successor_notices_messages_on_other_sockets_too(
    successor: FinalFrameSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_POLLS_FOR, _LONG)
    monkeypatch.setattr(_IS_FREE, _one_is)
    successor.expect()
    other = os.eventfd(1)
    assert successor.wait((other,)) == b""
    assert successor.expected
    os.close(other)


def test_a_successor_polls_for_a_bounded_time(successor: FinalFrameSocket) -> None:
    successor.expect()
    assert successor.wait(()) is None
    assert not successor.expected


def test_without_a_free_core_a_successor_does_not_poll_and_is_woken(
    successor: FinalFrameSocket, leader: FinalFrameSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_POLLS_FOR, _LONG)
    monkeypatch.setattr(_IS_FREE, _none_is)
    successor.expect()
    # The driver learns from this that there is a descriptor to listen to.
    assert successor.expected
    assert successor.wait(()) is None
    leader.reach("w2", os.getpid())
    assert leader.hand(b"final")
    assert successor.fileno() >= 0
    assert successor.receive() == b"final"


def test_no_final_frame_is_sent_to_a_missing_successor(
    successor: FinalFrameSocket, leader: FinalFrameSocket
) -> None:
    assert not leader.hand(b"final")
    leader.reach("w2", os.getpid())
    assert not leader.hand(b"final")
    successor.expect()
    leader.reach("w2", os.getpid())
    successor.forget()
    assert not leader.hand(b"final")


def test_a_frame_larger_than_a_datagram_is_refused(
    successor: FinalFrameSocket, leader: FinalFrameSocket
) -> None:
    successor.expect()
    leader.reach("w2", os.getpid())
    assert not leader.hand(bytes(300_000))
    assert successor.receive() is None


def test_a_successor_that_does_not_receive_does_not_block_the_leader(
    successor: FinalFrameSocket, leader: FinalFrameSocket
) -> None:
    successor.expect()
    leader.reach("w2", os.getpid())
    taken = 0
    while leader.hand(bytes(50_000)):
        taken += 1
    assert 0 < taken < 1000


def test_a_frame_left_by_an_earlier_leader_is_dropped(
    successor: FinalFrameSocket, leader: FinalFrameSocket
) -> None:
    successor.expect()
    leader.reach("w2", os.getpid())
    assert leader.hand(b"of the leader before")
    successor.forget()
    assert not successor.expected
    successor.expect()
    assert successor.receive() is None


def test_a_socket_left_by_a_killed_worker_is_replaced(
    successor: FinalFrameSocket, leader: FinalFrameSocket, path_of: Callable[[str], str]
) -> None:
    left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.bind(path_of("w2.final.sock"))
    left.close()
    successor.expect()
    leader.reach("w2", os.getpid())
    assert leader.hand(b"final")
    assert successor.receive() == b"final"


def test_a_leaders_cpu_affinity_is_restored(successor: FinalFrameSocket, leader: FinalFrameSocket) -> None:
    before = os.sched_getaffinity(0)
    successor.expect()
    for pid in (os.getpid(), 0, 2**22 + 1):
        leader.reach("w2", pid)
        assert os.sched_getaffinity(0) == before
        assert leader.hand(b"final")


def test_the_socket_is_private_to_the_user_and_removed_at_the_end(
    successor: FinalFrameSocket, path_of: Callable[[str], str]
) -> None:
    successor.expect()
    path = Path(path_of("w2.final.sock"))
    assert path.stat().st_mode & 0o777 == 0o600
    successor.close()
    assert not path.exists()


def test_a_directory_that_cannot_hold_a_socket_raises_nothing(tmp_path: Path) -> None:
    successor = FinalFrameSocket("w2", lambda name: f"{tmp_path}/gone/{name}")
    successor.expect()
    assert not successor.expected
    assert successor.receive() is None
    successor.close()


def _none_is() -> bool:
    return False


def _one_is() -> bool:
    return True
