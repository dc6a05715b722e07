"""The lease, with real processes: what the kernel does is the whole point."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from neverblink.protocol.lease import SLOT_SIZE, Holder
from neverblink.worker.io.lease import Lease, LeaseCorrupt, LeaseError

_OTHER = """
import subprocess, sys, os
from neverblink.worker.io.lease import Lease
lease = Lease(sys.argv[1])
children = []
for line in sys.stdin:
    word, *rest = line.split()
    if word == "take":
        print(lease.take(rest[0]), flush=True)
    elif word == "drop":
        lease.drop()
        print("dropped", flush=True)
    elif word == "held":
        print(lease.held, flush=True)
    elif word == "fork":
        ready, signal_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(signal_end, b"x")
            os.close(0)
            import signal
            signal.pause()
        os.read(ready, 1)
        print(pid, flush=True)
    elif word == "spawn":
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
        children.append(child)
        print(child.pid, flush=True)
"""


class Other:
    """Another process with a `Lease` of its own."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OTHER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def ask(self, words: str) -> str:
        say: IO[str] | None = self.process.stdin
        hear: IO[str] | None = self.process.stdout
        assert say is not None
        assert hear is not None
        say.write(words + "\n")
        say.flush()
        return hear.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lease"


@pytest.fixture
def lease(path: Path) -> Iterator[Lease]:
    with Lease(path) as made:
        yield made


@pytest.fixture
def other(path: Path) -> Iterator[Other]:
    made = Other(path)
    yield made
    made.kill()


def test_a_free_lease_is_taken_and_names_its_holder(lease: Lease) -> None:
    assert lease.holder() is None
    assert lease.epoch() == 0
    assert not lease.held
    assert lease.take("w-1") == 1
    assert lease.held
    holder = lease.holder()
    assert holder is not None
    assert (holder.pid, holder.epoch, holder.holder) == (os.getpid(), 1, "w-1")
    assert holder.started > 0


def test_epochs_only_increase(lease: Lease) -> None:
    epochs: list[int | None] = []
    for at_least in (None, 0, 10, 3, None):
        epochs.append(lease.take("w", at_least))
        lease.drop()
    assert epochs == [1, 2, 11, 12, 13]
    assert lease.epoch() == 13


def test_the_lease_file_is_readable_as_text(lease: Lease, path: Path) -> None:
    lease.take("w-1")
    lease.drop()
    lease.take("w-2")
    # Read by another process: in this one, closing what `cat` opens here would lose the lease.
    lines = subprocess.run(["cat", str(path)], capture_output=True, text=True, check=True).stdout.splitlines()
    assert '"holder":"w-2"' in lines[0]
    assert '"holder":"w-1"' in lines[1]
    assert lease.held


def test_one_process_at_a_time_has_the_lease(lease: Lease, other: Other) -> None:
    assert other.ask("take them") == "1"
    assert lease.take("us") is None
    assert not lease.held
    holder = lease.holder()
    assert holder is not None
    assert (holder.pid, holder.holder, holder.epoch) == (other.pid, "them", 1)
    assert other.ask("drop") == "dropped"
    assert lease.take("us") == 2
    assert other.ask("take them") == "None"


def test_the_death_of_its_holder_frees_the_lease(lease: Lease, other: Other) -> None:
    other.ask("take them")
    other.kill()
    assert lease.holder() is None
    assert lease.take("us") == 2


def test_a_stopped_holder_keeps_the_lease(lease: Lease, other: Other) -> None:
    other.ask("take them")
    os.kill(other.pid, signal.SIGSTOP)
    assert lease.take("us") is None
    os.kill(other.pid, signal.SIGCONT)
    assert other.ask("held") == "True"


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_children_of_a_dead_holder_do_not_keep_its_lease(lease: Lease, other: Other, how: str) -> None:
    other.ask("take them")
    child = int(other.ask(how))
    assert other.ask("held") == "True"
    os.kill(other.pid, signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    Path(f"/proc/{child}/stat").read_bytes()  # the child lives on
    try:
        assert lease.take("us") == 2
    finally:
        os.kill(child, signal.SIGKILL)


def _in_child(lease: Lease, answers: IO[str]) -> None:
    """What a child that has the lease's object may do by accident."""
    print(lease.held, file=answers)
    print(lease.take("child"), file=answers)
    lease.drop()
    lease.close()


# Python warns of a fork beside threads, which tests before these may have left.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_neither_has_nor_frees_the_lease(lease: Lease) -> None:
    lease.take("us")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(write, "w") as answers:
            _in_child(lease, answers)
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read) as answers:
        assert answers.read().split() == ["False", "None"]
    assert lease.held


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_do_not_free_the_lease(lease: Lease, path: Path, method: str) -> None:
    lease.take("us")
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=path.read_bytes)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert lease.held
    subprocess.run(["true"], check=True, close_fds=False)
    assert lease.held


def test_a_lease_lost_by_closing_another_descriptor_is_detected(lease: Lease, path: Path) -> None:
    lease.take("us")
    path.read_bytes()
    assert not lease.held
    assert lease.holder() is None
    assert lease.take("us") == 2


def test_of_several_processes_exactly_one_gets_the_lease(path: Path) -> None:
    racers = [Other(path) for _ in range(3)]
    try:
        for racer in racers:
            assert racer.ask("held") == "False"  # all of them are up
        for round_ in range(1, 21):
            for racer in racers:
                assert racer.process.stdin is not None
                racer.process.stdin.write("take w\n")
                racer.process.stdin.flush()
            answers: list[str] = []
            for racer in racers:
                assert racer.process.stdout is not None
                answers.append(racer.process.stdout.readline().strip())
            assert sorted(answers) == [str(round_), "None", "None"]
            assert [racer.ask("held") for racer in racers].count("True") == 1
            racers[answers.index(str(round_))].ask("drop")
    finally:
        for racer in racers:
            racer.kill()


def test_a_torn_line_does_not_lose_the_epoch(lease: Lease, path: Path) -> None:
    for _ in range(4):
        lease.take("w")
        lease.drop()
    data = bytearray(path.read_bytes())
    data[SLOT_SIZE + 40 : SLOT_SIZE + 60] = bytes(20)  # epoch 3's line, as if 5 were being written
    path.write_bytes(data)
    assert lease.epoch() == 4
    assert lease.take("w") == 5


def test_a_garbage_file_needs_a_lower_bound_for_the_epoch(lease: Lease, path: Path) -> None:
    path.write_bytes(b"\x80garbage" * 100)
    with pytest.raises(LeaseCorrupt, match="journal's last epoch"):
        lease.take("w")
    assert lease.holder() is None  # it was let go of
    with pytest.raises(LeaseCorrupt):
        lease.epoch()
    assert lease.take("w", at_least=41) == 42
    assert lease.epoch() == 42
    assert lease.holder() == Holder(42, os.getpid(), _started(), "w")


def test_a_holder_that_is_not_in_the_file_is_known_by_its_pid(lease: Lease, other: Other, path: Path) -> None:
    other.ask("take them")
    os.truncate(path, 0)
    assert lease.holder() == Holder(0, other.pid, 0, "")


def test_misuse_of_a_lease_raises_an_error_that_says_why(lease: Lease, tmp_path: Path) -> None:
    lease.take("w")
    with pytest.raises(LeaseError, match="drop it first"):
        lease.take("w")
    lease.drop()
    lease.drop()
    with pytest.raises(ValueError, match="printable"):
        lease.take("x" * 65)
    assert not lease.held
    with pytest.raises(LeaseError, match="cannot be opened: No such file") as caught:
        Lease(tmp_path / "nowhere" / "lease")
    assert caught.value.path.endswith("nowhere/lease")


def test_closing_frees_the_lease(lease: Lease, other: Other) -> None:
    lease.take("w")
    lease.close()
    assert not lease.held
    lease.drop()
    assert other.ask("take them") == "2"


def _started() -> int:
    return int(Path("/proc/self/stat").read_bytes().rsplit(b")", 1)[1].split()[19])


# --- a file that is removed under a leader --------------------------------------------------------------------------


def test_a_leader_makes_its_removed_lease_file_again_with_its_epoch(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with Lease(path) as leader:
        epoch = leader.take("w1")
        path.unlink()
        assert leader.restore()
        assert not leader.restore(), "it is in place"
        assert leader.held
        with Lease(path) as other:
            assert other.epoch() == epoch
            holder = other.holder()
            assert holder is not None
            assert (holder.holder, holder.epoch) == ("w1", epoch)


def test_followers_from_before_and_after_the_removal_take_the_same_lease(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    program = (
        "from neverblink.worker.io.lease import Lease\nimport sys\n"
        f"lease = Lease({str(path)!r})\nprint(flush=True)\n"
        "for line in sys.stdin:\n    print(lease.take('other'), flush=True)"
    )

    def start() -> subprocess.Popen[str]:
        other = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        other.stdout.readline()
        return other

    def takes(other: subprocess.Popen[str]) -> str:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write("\n")
        other.stdin.flush()
        return other.stdout.readline().strip()

    with Lease(path) as leader:
        assert leader.take("w1") == 1
        before = start()
        path.unlink()
        leader.restore()
        after = start()
        with before, after:
            assert (takes(before), takes(after)) == ("None", "None")
            leader.drop()
            assert takes(before) == "2"
            assert takes(after) == "None", "one of them leads, whichever file it began with"
            assert leader.take("w1") is None
            before.kill()
            before.wait()
            assert takes(after) == "3"
            after.kill()


def test_a_lease_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "lease").symlink_to(precious)
    with pytest.raises(LeaseError):
        Lease(tmp_path / "lease")
    assert precious.read_text() == "mine"
