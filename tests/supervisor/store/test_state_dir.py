from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from neverblink.supervisor.store.state_dir import Home, HomeBusy, HomeError, home_path

OWNER = """
import sys
from pathlib import Path
from neverblink.supervisor.store.state_dir import Home
claim = Home.open(Path(sys.argv[1])).claim("foresight")
print("claimed", flush=True)
sys.stdin.read()
claim.drop()
"""


def start_owner(path: Path) -> subprocess.Popen[str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout
    assert owner.stdout.readline() == "claimed\n"
    return owner


def end(owner: subprocess.Popen[str]) -> None:
    owner.communicate()


def test_a_home_is_beside_the_configuration_or_at_the_path_in_the_environment(tmp_path: Path) -> None:
    assert home_path(tmp_path, {}) == tmp_path / ".neverblink"
    assert home_path(tmp_path, {"NEVERBLINK_HOME": ""}) == tmp_path / ".neverblink"
    assert home_path(tmp_path, {"NEVERBLINK_HOME": "/srv/bot"}) == Path("/srv/bot")


def test_a_home_is_private_to_its_user(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "deep" / "home")
    for directory in (home.path, home.journal, home.run, home.releases, home.logs):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert Home.open(home.path).path == home.path


def test_an_open_home_is_closed_with_everything_in_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    path = tmp_path / "home"
    (path / "releases" / "r1").mkdir(parents=True)
    disk.mkdir()
    (path / "journal").symlink_to(disk)
    files = (path / "supervisor.db", path / "releases" / "r1" / "run.sh", disk / "00000001.journal")
    outside = tmp_path / "outside"
    for file in (*files, outside):
        file.write_text("")
        file.chmod(0o777)
    (path / "releases" / "r1" / "link").symlink_to(outside)
    for directory in (path, path / "releases", path / "releases" / "r1", disk):
        directory.chmod(0o777)
    Home.open(path)
    for closed in (*files, path, path / "releases", path / "releases" / "r1", disk, path / "run"):
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700, closed
    assert stat.S_IMODE(outside.stat().st_mode) == 0o777, "where a link leads to is not ours"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("foreign", [".", "logs", "logs/w1.log"])
def test_a_home_in_which_something_belongs_to_another_user_is_refused(tmp_path: Path, foreign: str) -> None:
    home = Home.open(tmp_path / "home")
    (home.logs / "w1.log").write_text("")
    os.chown(home.path / foreign, 12345, -1)
    with pytest.raises(
        HomeError, match="belongs to user 12345, and this is root: run neverblink as user 12345"
    ):
        Home.open(home.path)


def test_a_file_in_place_of_the_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(HomeError, match="it is not a directory: move what is there away") as caught:
        Home.open(tmp_path / "home")
    assert caught.value.path == tmp_path / "home"


def test_a_file_or_a_dead_link_in_place_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "logs").write_text("")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "journal").symlink_to(tmp_path / "unmounted")
    for home, name in (("one", "logs"), ("two", "journal")):
        with pytest.raises(HomeError, match=f"{name} is not a directory"):
            Home.open(tmp_path / home)


def test_a_second_supervisor_gets_the_pid_of_the_first(tmp_path: Path) -> None:
    owner = start_owner(tmp_path)
    home = Home.open(tmp_path)
    with pytest.raises(HomeBusy, match=f"already running: pid {owner.pid}") as caught:
        home.claim()
    assert caught.value.pid == owner.pid
    holder = home.owner()
    assert holder
    assert (holder.pid, holder.bot) == (owner.pid, "foresight")
    assert holder.started > 0
    end(owner)
    assert home.owner() is None


def test_a_home_can_be_claimed_only_once_within_a_process(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    with home.claim():
        with pytest.raises(HomeBusy, match=f"pid {os.getpid()}"):
            home.claim()
        # Neither the refusal nor the question cost the owner its lock.
        assert home.owner()
        assert home.owner()
        with pytest.raises(HomeBusy):
            home.claim()
    assert home.owner() is None


def test_a_home_released_cleanly_is_not_stale(tmp_path: Path) -> None:
    end(start_owner(tmp_path))
    with Home.open(tmp_path).claim() as claim:
        assert claim.left_by is None


def test_a_home_of_a_killed_run_is_free_and_names_its_last_supervisor(tmp_path: Path) -> None:
    owner = start_owner(tmp_path)
    owner.send_signal(signal.SIGKILL)
    end(owner)
    with Home.open(tmp_path).claim() as claim:
        assert claim.left_by
        assert claim.left_by.pid == owner.pid
    with Home.open(tmp_path).claim() as claim:
        assert claim.left_by is None


def test_a_damaged_record_blocks_no_supervisor(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    home.lock.write_text('{"pid": 1')
    with home.claim() as claim:
        assert claim.left_by is None


def test_a_missing_home_has_no_owner(tmp_path: Path) -> None:
    assert Home(tmp_path / "none").owner() is None


@pytest.mark.parametrize("length", [20, 200])
def test_sockets_connect_in_a_home_with_a_path_of_any_length(tmp_path: Path, length: int) -> None:
    path = tmp_path / "h" / ("n" * length)
    home = Home.open(path)
    context = zmq.Context()
    # Each side has its own descriptor, as two processes do.
    with home.sockets() as here, Home(path).sockets() as there:
        with context.socket(zmq.PAIR) as server, context.socket(zmq.PAIR) as client:
            server.bind(here.endpoint("supervisor.sock"))
            client.connect(there.endpoint("supervisor.sock"))
            client.send(b"status")
            assert server.poll(5000)
            assert server.recv() == b"status"
            assert (home.run / "supervisor.sock").is_socket()
        context.term()


def test_an_address_in_a_missing_home_is_reported(tmp_path: Path) -> None:
    with (
        Home(tmp_path / ("n" * 200)).sockets() as sockets,
        pytest.raises(HomeError, match="is the supervisor running"),
    ):
        sockets.endpoint("supervisor.sock")
