"""The baton: what is handed over arrives whole and at once, or is refused to the one who hands it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from neverblink.worker.io.final_frame_socket import FinalFrameSocket

_LOOKS_FOR = "neverblink.worker.io.final_frame_socket._LOOKS_FOR"
_IS_FREE = "neverblink.worker.io.final_frame_socket._a_core_is_free"
_LONG = 60_000_000_000


@pytest.fixture
def path_of(tmp_path: Path) -> Callable[[str], str]:
    return lambda name: f"{tmp_path}/{name}"


@pytest.fixture
def heir(path_of: Callable[[str], str]) -> Iterator[FinalFrameSocket]:
    baton = FinalFrameSocket("w2", path_of)
    yield baton
    baton.close()


@pytest.fixture
def leader(path_of: Callable[[str], str]) -> Iterator[FinalFrameSocket]:
    baton = FinalFrameSocket("w1", path_of)
    yield baton
    baton.close()


def test_what_is_handed_over_is_received_as_it_was(heir: FinalFrameSocket, leader: FinalFrameSocket) -> None:
    heir.expect()
    leader.reach("w2", os.getpid())
    whole = os.urandom(100_000)
    assert leader.hand(b"first")
    assert leader.hand(whole)
    assert heir.receive() == b"first"
    assert heir.receive() == whole
    assert heir.receive() is None


def test_an_heir_that_looks_finds_it_without_sleeping(
    heir: FinalFrameSocket, path_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_LOOKS_FOR, _LONG)
    monkeypatch.setattr(_IS_FREE, _one_is)
    heir.expect()
    assert heir.expected
    hands = "import sys; "
    hands += "from neverblink.worker.io.final_frame_socket import FinalFrameSocket; "
    hands += "old = FinalFrameSocket('w1', sys.argv[1].__add__); "
    hands += "old.reach('w2', int(sys.argv[2])); assert old.hand(b'final')"
    old = subprocess.Popen([sys.executable, "-c", hands, path_of(""), str(os.getpid())])
    found: bytes | None = None
    while not found:
        # Whoever is kept from looking by others gives up, and would be woken.
        heir.expect()
        found = heir.wait(())
    assert found == b"final"
    assert old.wait(30) == 0


def test_an_heir_that_looks_sees_what_comes_elsewhere_too(
    heir: FinalFrameSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_LOOKS_FOR, _LONG)
    monkeypatch.setattr(_IS_FREE, _one_is)
    heir.expect()
    other = os.eventfd(1)
    assert heir.wait((other,)) == b""
    assert heir.expected
    os.close(other)


def test_an_heir_looks_for_a_moment_only(heir: FinalFrameSocket) -> None:
    heir.expect()
    assert heir.wait(()) is None
    assert not heir.expected


def test_where_no_core_is_free_an_heir_does_not_look_and_can_still_be_woken(
    heir: FinalFrameSocket, leader: FinalFrameSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_LOOKS_FOR, _LONG)
    monkeypatch.setattr(_IS_FREE, _none_is)
    heir.expect()
    # Whoever runs it learns from this that there is a descriptor to listen to.
    assert heir.expected
    assert heir.wait(()) is None
    leader.reach("w2", os.getpid())
    assert leader.hand(b"final")
    assert heir.fileno() >= 0
    assert heir.receive() == b"final"


def test_an_heir_that_is_not_there_is_not_handed_anything(
    heir: FinalFrameSocket, leader: FinalFrameSocket
) -> None:
    assert not leader.hand(b"final")
    leader.reach("w2", os.getpid())
    assert not leader.hand(b"final")
    heir.expect()
    leader.reach("w2", os.getpid())
    heir.forget()
    assert not leader.hand(b"final")


def test_what_does_not_fit_into_a_datagram_is_refused(
    heir: FinalFrameSocket, leader: FinalFrameSocket
) -> None:
    heir.expect()
    leader.reach("w2", os.getpid())
    assert not leader.hand(bytes(300_000))
    assert heir.receive() is None


def test_an_heir_that_takes_nothing_in_makes_nobody_wait(
    heir: FinalFrameSocket, leader: FinalFrameSocket
) -> None:
    heir.expect()
    leader.reach("w2", os.getpid())
    taken = 0
    while leader.hand(bytes(50_000)):
        taken += 1
    assert 0 < taken < 1000


def test_what_another_leader_has_left_there_is_forgotten(
    heir: FinalFrameSocket, leader: FinalFrameSocket
) -> None:
    heir.expect()
    leader.reach("w2", os.getpid())
    assert leader.hand(b"of the leader before")
    heir.forget()
    assert not heir.expected
    heir.expect()
    assert heir.receive() is None


def test_a_socket_that_a_killed_worker_has_left_is_not_in_the_way(
    heir: FinalFrameSocket, leader: FinalFrameSocket, path_of: Callable[[str], str]
) -> None:
    left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.bind(path_of("w2.baton.sock"))
    left.close()
    heir.expect()
    leader.reach("w2", os.getpid())
    assert leader.hand(b"final")
    assert heir.receive() == b"final"


def test_a_leader_may_use_the_cores_it_could_use_before(
    heir: FinalFrameSocket, leader: FinalFrameSocket
) -> None:
    before = os.sched_getaffinity(0)
    heir.expect()
    for pid in (os.getpid(), 0, 2**22 + 1):
        leader.reach("w2", pid)
        assert os.sched_getaffinity(0) == before
        assert leader.hand(b"final")


def test_it_is_this_users_alone_and_gone_in_the_end(
    heir: FinalFrameSocket, path_of: Callable[[str], str]
) -> None:
    heir.expect()
    path = Path(path_of("w2.baton.sock"))
    assert path.stat().st_mode & 0o777 == 0o600
    heir.close()
    assert not path.exists()


def test_a_place_where_no_socket_can_be_is_no_error(tmp_path: Path) -> None:
    heir = FinalFrameSocket("w2", lambda name: f"{tmp_path}/gone/{name}")
    heir.expect()
    assert not heir.expected
    assert heir.receive() is None
    heir.close()


def _none_is() -> bool:
    return False


def _one_is() -> bool:
    return True
