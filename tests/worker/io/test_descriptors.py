"""A worker's file descriptors: the limit is raised, a reserve is kept, and libzmq never finds none."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from neverblink.worker.io.descriptors import RESERVE, Descriptors


def run(source: str, *argv: str) -> str:
    """What a Python process of its own prints: the limits of this one are not to be touched."""
    ended = subprocess.run(
        [sys.executable, "-c", dedent(source), *argv], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_worker_may_open_as_many_files_as_the_hard_limit_and_its_forks_as_many_as_before() -> None:
    output = run(
        """
        import multiprocessing, os, resource
        from neverblink.worker.io.descriptors import raise_limit
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        raise_limit(64)
        print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard, flush=True)
        if os.fork() == 0:
            print(resource.getrlimit(resource.RLIMIT_NOFILE) == (64, hard), flush=True)
            os._exit(0)
        os.wait()
        """
    )
    assert output.split() == ["True", "True"]


def test_files_opened_within_spare_use_the_reserve() -> None:
    output = run(
        """
        import os, resource
        from neverblink.worker.io.descriptors import Descriptors
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        ours = Descriptors()
        ours.keep()
        taken = []
        try:
            while True:
                taken.append(os.open("/", os.O_PATH))
        except OSError:
            pass
        print(ours.left(), ours.held, ours.short())
        with ours.spare():
            more = [os.open("/", os.O_PATH) for _ in range(4)]
        print(ours.held)
        for descriptor in more:
            os.close(descriptor)
        ours.keep()
        print(ours.held)
        """
    )
    assert output.splitlines() == [f"(0, 64) {RESERVE} True", str(RESERVE - 4), str(RESERVE)]


def test_the_number_of_free_descriptors_is_known_without_opening_one(tmp_path: Path) -> None:
    ours = Descriptors()
    left, limit = ours.left()
    assert limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with (tmp_path / "file").open("w"):
        assert ours.left() == (left - 1, limit)


LEADER = """
    import os, resource, socket, sys, time
    import zmq
    from neverblink.worker.io.zmq_channel import ZmqChannel
    from neverblink.worker.io.descriptors import Descriptors
    from neverblink.worker.io.follower_socket import FollowerSocket

    resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
    path, hidden = sys.argv[1:]
    context = zmq.Context(1)
    channel = ZmqChannel(context, zmq.ROUTER, b"leader", 1024)
    reserve = Descriptors()
    door = FollowerSocket(channel, path, hidden, reserve)
    follower = socket.socket(socket.AF_UNIX)
    door.keep()
    door.arrived()
    taken = []


    def take_all():
        try:
            while True:
                taken.append(os.open("/", os.O_PATH))
        except OSError:
            pass


    def connects():
        try:
            follower.connect(path)
        except OSError:
            return False
        # libzmq's first bytes: it has accepted.
        follower.settimeout(10)
        return bool(follower.recv(1))
"""


def leader(tmp_path: Path, then: str) -> list[str]:
    return run(
        dedent(LEADER) + dedent(then), str(tmp_path / "w1.sock"), str(tmp_path / "hidden")
    ).splitlines()


def test_a_leader_with_free_descriptors_accepts_at_any_time(tmp_path: Path) -> None:
    assert leader(tmp_path, "print(door.report().left > 32, connects())") == ["True True"]


def test_a_leader_without_free_descriptors_accepts_no_unannounced_peer(tmp_path: Path) -> None:
    output = leader(
        tmp_path,
        """
        take_all()
        print(door.report())
        print(connects())
        """,
    )
    assert output == ["DescriptorsLeft(left=0, limit=96, reserve=16)", "False"]


def test_a_leader_without_free_descriptors_accepts_an_announced_follower_between_two_turns(
    tmp_path: Path,
) -> None:
    output = leader(
        tmp_path,
        """
        take_all()
        door.report()
        door.expect()
        for _ in range(3):
            door.begin_turn()
            take_all()
            print(connects())
            door.end_turn()
        print(connects())
        door.arrived()
        take_all()
        print(door.report().reserve, os.path.exists(path))
        """,
    )
    assert output == ["False", "False", "False", "True", "15 False"]


def test_a_new_leader_without_free_descriptors_accepts_no_peer_until_it_has_some(
    tmp_path: Path,
) -> None:
    output = leader(
        tmp_path,
        """
        door.release()
        take_all()
        door.keep()
        print(connects())
        door.expect()
        door.begin_turn()
        door.end_turn()
        print(connects(), door.report().reserve)
        for descriptor in taken:
            os.close(descriptor)
        print(door.report().left > 32, connects())
        """,
    )
    assert output == ["False", "False 0", "True True"]


def test_a_leader_accepts_at_any_time_again_once_descriptors_are_free(tmp_path: Path) -> None:
    output = leader(
        tmp_path,
        """
        take_all()
        print(door.report().left, connects())
        for descriptor in taken:
            os.close(descriptor)
        print(door.report().left > 32, connects())
        """,
    )
    assert output == ["0 False", "True True"]


def test_a_new_leader_expects_the_old_one_and_accepts_it_between_two_turns(tmp_path: Path) -> None:
    output = leader(
        tmp_path,
        """
        door.keep()
        door.begin_turn()
        take_all()
        print(connects())
        door.end_turn()
        print(connects())
        """,
    )
    assert output == ["False", "True"]


def test_a_bot_that_is_always_in_a_turn_leaves_an_announced_follower_the_time_to_connect(
    tmp_path: Path,
) -> None:
    output = leader(
        tmp_path,
        """
        import threading

        later = 0
        real = time.monotonic_ns
        door._mono = lambda: real() + later
        client = zmq.Context(1).socket(zmq.DEALER)
        door.expect()
        door.begin_turn()
        client.connect(f"ipc://{path}")
        client.send(b"x")
        # One time is enough on a machine that is not busy.
        while not channel.socket.poll(0):
            later += 1_000_000_000
            door.expect()
            door.end_turn()
            door.begin_turn()
        print(True)
        """,
    )
    assert output == ["True"]


def test_an_announcement_expires_when_the_follower_does_not_connect(tmp_path: Path) -> None:
    output = leader(
        tmp_path,
        """
        take_all()
        now = time.monotonic_ns
        door._mono = lambda: now() + later
        later = 0
        door.expect()
        print(os.path.exists(path), door.watchful)
        later = 60_000_000_000
        door.end_turn()
        print(os.path.exists(path), door.watchful, reserve.held)
        """,
    )
    assert output == ["True True", "False False 16"]


def test_libzmq_aborts_a_process_without_free_descriptors_on_a_connection(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            dedent(LEADER) + dedent("door.release(); take_all(); connects(); time.sleep(10)"),
            str(tmp_path / "w1.sock"),
            str(tmp_path / "hidden"),
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode < 0, "libzmq does not abort any more: `follower_socket` can be made simpler"
