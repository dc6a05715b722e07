"""Whose a home is, and whose a process is: by inodes and by the kernel, never by a pid that a file names."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neverblink.protocol.presence import Presence, address_of, home_key, presences
from neverblink.supervisor.store.identity import id_of, recognise
from neverblink.supervisor.store.orphans import HomeOrphaned, end_orphans, orphans, refuse_beside_orphans
from neverblink.supervisor.store.state_dir import Home, HomeBusy, HomeError
from neverblink.supervisor.system.open_files import holds_any
from neverblink.supervisor.system.presence import key_of

WORKER = """
import sys
from neverblink.worker.io.identity import mark_worker
from neverblink.worker.io.lease import Lease
from pathlib import Path
log = Path(sys.argv[1]).with_name("logs").joinpath("w1.log").open("a")
mark = mark_worker(sys.argv[2], sys.argv[3])
lease = Lease(sys.argv[1])
lease.take("w1")
print("leads", flush=True)
while line := sys.stdin.readline():
    segment = open(line.strip(), "w")
    print("writes", flush=True)
"""

SUPERVISOR = """
import sys
from pathlib import Path
from neverblink.supervisor.store.state_dir import Home
claim = Home.open(Path(sys.argv[1])).claim("fox")
print("claimed", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(program: str, *argv: object) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, argv)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline()
        try:
            yield one
        finally:
            one.kill()


@contextmanager
def worker_of(home: Home, *, marked: bool = True) -> Generator[subprocess.Popen[str]]:
    recognise(home)
    with process(WORKER, home.lease, key_of(home.path) if marked else "", id_of(home)) as one:
        yield one


# --- the identity of a home -----------------------------------------------------------------------------------------


def test_a_home_keeps_its_identity(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    first, copied = recognise(home)
    assert (copied, first.copy_of) == (False, "")
    assert recognise(home) == (first, False)


def test_a_home_that_is_moved_is_the_same_home(tmp_path: Path) -> None:
    first, _ = recognise(Home.open(tmp_path / "home"))
    (tmp_path / "home").rename(tmp_path / "moved")
    assert recognise(Home(tmp_path / "moved")) == (first, False)


def test_a_copied_home_is_recognised_once_and_gets_its_own_identity(tmp_path: Path) -> None:
    first, _ = recognise(Home.open(tmp_path / "home"))
    shutil.copytree(tmp_path / "home", tmp_path / "copy", symlinks=True)
    copy, copied = recognise(Home(tmp_path / "copy"))
    assert copied
    assert copy.copy_of == first.id
    assert copy.id != first.id
    assert recognise(Home(tmp_path / "copy")) == (copy, False)
    assert recognise(Home(tmp_path / "home")) == (first, False)


def test_a_restored_backup_is_recognised_as_a_copy(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    recognise(home)
    shutil.copytree(home.path, tmp_path / "backup", symlinks=True)
    shutil.rmtree(home.path)
    (tmp_path / "backup").rename(home.path)
    assert recognise(home)[1]


def test_a_damaged_or_linked_identity_is_replaced_and_the_link_not_followed(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    home.identity.write_text("half a li")
    assert not recognise(home)[1]
    precious = tmp_path / "precious"
    precious.write_text("mine")
    home.identity.unlink()
    home.identity.symlink_to(precious)
    recognise(home)
    assert precious.read_text() == "mine"
    assert not home.identity.is_symlink()


# --- which home a process belongs to --------------------------------------------------------------------------------


def test_a_worker_belongs_to_the_home_whose_files_it_has_open(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with worker_of(home) as worker:
        shutil.copytree(home.path, tmp_path / "copy", symlinks=True)
        assert holds_any(worker.pid, [home.lease])
        assert not holds_any(worker.pid, [tmp_path / "copy" / "lease"])
        home.path.rename(tmp_path / "moved")
        assert holds_any(worker.pid, [tmp_path / "moved" / "lease"])
    assert not holds_any(worker.pid, [tmp_path / "moved" / "lease"])


def test_marks_of_other_homes_and_invalid_marks_are_ignored(tmp_path: Path) -> None:
    key = home_key("/bots/fox/.neverblink", (1, 2))
    here = Presence(7, 99, "worker", "abcd")
    lines = [
        address_of(key, here).decode().replace("\0", "@"),
        address_of(home_key("/bots/hen/.neverblink", (1, 2)), here).decode().replace("\0", "@"),
        address_of(home_key("/bots/fox/.neverblink", (1, 3)), here).decode().replace("\0", "@"),
        f"@neverblink/{key}/worker/x.1",
        f"@neverblink/{key}/king/7.1",
        f"@neverblink/{key}/worker/7",
        f"@neverblink/{key}/worker/7.x.abc",
        "/run/some.sock",
    ]
    table = "".join(f"0000: 00000002 00000000 00010000 0001 01 123 {line}\n" for line in lines)
    assert presences(table, key) == [here]


# --- a home that is gone under a living bot -------------------------------------------------------------------------


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "of an earlier release"])
def test_a_worker_whose_home_was_removed_is_found_and_blocks_a_second_bot(
    tmp_path: Path, marked: bool
) -> None:
    home = Home.open(tmp_path / "home")
    with worker_of(home, marked=marked) as worker:
        assert orphans(home) == []
        shutil.rmtree(home.path)
        Home.open(home.path)
        assert [(orphan.pid, orphan.role) for orphan in orphans(home)] == [(worker.pid, "worker")]
        (home.journal / "00000001.journal").write_text("")
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(f"{home.journal / '00000001.journal'}\n")
        worker.stdin.flush()
        worker.stdout.readline()
        with pytest.raises(HomeOrphaned, match=f"worker pid {worker.pid}.*up --rescue") as caught:
            refuse_beside_orphans(home)
        assert "kill" not in caught.value.message
        end_orphans(refuse_beside_orphans(home, rescue=True))
        assert worker.wait() == -signal.SIGKILL
    assert orphans(home) == []


def test_a_worker_whose_home_was_moved_is_found_with_the_new_path(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with worker_of(home):
        home.path.rename(tmp_path / "moved")
        Home.open(home.path)
        with pytest.raises(HomeOrphaned, match=f"--home {tmp_path / 'moved'}"):
            refuse_beside_orphans(home, rescue=True)
        assert orphans(Home(tmp_path / "moved")) == []


def test_a_worker_whose_home_was_replaced_by_a_backup_is_found(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with worker_of(home) as worker:
        shutil.copytree(home.path, tmp_path / "backup", symlinks=True)
        shutil.rmtree(home.path)
        (tmp_path / "backup").rename(home.path)
        assert [orphan.pid for orphan in orphans(home)] == [worker.pid]


def test_a_mark_ends_with_its_process_and_a_forked_child_does_not_keep_it(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    child = "import os, sys\nif os.fork() == 0:\n    sys.stdin.read(); os._exit(0)\n"
    with process(
        WORKER.replace('print("leads"', f"{child}print('leads'"), home.lease, key_of(home.path), id_of(home)
    ):
        shutil.rmtree(home.path)
        Home.open(home.path)
        assert len(orphans(home)) == 1, "a child's mark is its parent's"


# --- the lock -------------------------------------------------------------------------------------------------------


def test_a_removed_lock_admits_no_second_supervisor(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with process(SUPERVISOR, home.path) as first:
        home.lock.unlink()
        with home.claim("fox"), pytest.raises(HomeOrphaned, match=f"supervisor pid {first.pid}"):
            refuse_beside_orphans(home)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    precious = tmp_path / "precious"
    precious.write_text("mine")
    home.lock.symlink_to(precious)
    with pytest.raises(HomeError, match="lock"):
        home.claim("fox")
    assert precious.read_text() == "mine"


def test_the_advice_beside_a_running_supervisor_never_stops_the_bot(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with process(SUPERVISOR, home.path), pytest.raises(HomeBusy, match="already running") as busy:
        home.claim("fox")
    for advice in ("`neverblink status`", "`neverblink deploy .`", "`neverblink up --replace`"):
        assert advice in busy.value.message
    assert "down" not in busy.value.message
