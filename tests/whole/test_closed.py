"""Access: the permissions of the files in a home, and which processes may connect."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import zmq
from zmq.utils import z85

from neverblink.protocol.assignment import VARIABLE, Assignment, encode_assignment
from neverblink.protocol.frame import GENESIS, Schema
from neverblink.protocol.keys import Keys
from neverblink.protocol.stream import Begin, Subscribe, follower_codec, leader_codec
from neverblink.protocol.wire import PROTOCOL
from neverblink.supervisor.sockets.worker_keys import WorkerKeys
from neverblink.worker.io.identity import public_of, use_client_keys
from neverblink.worker.io.zmq_channel import SupervisorConnection

from ..files import contents, entries_below
from .bots import COUNTER, bot
from .live import WITHIN, Live

WRITES = """
def on_start(self):
    open(os.environ["BOTS_FILE"], "a").close()
"""


def test_every_file_in_a_home_is_private_to_its_user_whatever_the_umask(live: Live) -> None:
    live.umask = 0
    live.environment.pop("PYTHONDONTWRITEBYTECODE", None)
    live.environment["BOTS_FILE"] = str(live.tmp / "bots-file")
    live.up(live.code("v0", bot(WRITES)))
    live.deploy(live.code("v1", COUNTER))
    # While all of it is there: sockets, locks, what SQLite keeps beside its file, what Python has compiled.
    found = dict(entries_below(live.home))
    kinds = {path.suffix for path in found}
    assert {".sock", ".db", ".db-wal", ".db-shm", ".journal", ".log", ".pyc"} <= kinds
    assert {"lease", "lock", "key"} <= {path.name for path in found}
    modes = {path: status.st_mode for path, status in found.items() if not stat.S_ISLNK(status.st_mode)}
    assert [path for path, mode in modes.items() if stat.S_IMODE(mode) & 0o077] == []
    bots_file = stat.S_IMODE((live.tmp / "bots-file").stat().st_mode)
    assert bots_file == 0o666, "a bot decides on the permissions of its files elsewhere"
    live.down()


def test_secrets_are_in_no_file_but_the_key_and_in_no_output(live: Live) -> None:
    live.up(live.code("v0", COUNTER), "--fresh")
    live.begin(live.code("v1", COUNTER, probation="30s"))
    live.phase(1, "probation")
    text = live.run("status", "--json").out + live.run("history", "1", "--json").out
    text += repr(live.status()) + live.story()
    seen = contents(live.home)
    del seen[live.home / "key"]
    assert {"supervisor.log", "supervisor.db", "w1.log", "w2.log"} <= {path.name for path in seen}
    processes = [process.pid for process in live.processes()]
    assert len(processes) == 3, "the supervisor and two workers"
    for pid in processes:
        seen |= {
            path: path.read_bytes() for path in map(Path, (f"/proc/{pid}/environ", f"/proc/{pid}/cmdline"))
        }
    seen[Path("what was printed")] = text.encode()
    for secret in _secrets(live):
        for written_as in (secret, secret.hex().encode(), z85.encode(secret), base64.b64encode(secret)):
            assert [path for path, content in seen.items() if written_as in content] == []
    live.down()
    assert _key(live) in (live.home / "key").read_bytes()


def test_a_worker_that_the_supervisor_did_not_start_cannot_join_and_is_told_why(live: Live) -> None:
    code = live.code("v0", COUNTER)
    live.up(code)
    ours = WorkerKeys(_key(live))
    theirs = WorkerKeys(bytes(32))
    w1 = live.book()["pid"]
    tries = {
        "there is no worker 'w9' here": _begin(live, code, "w9", ours.of("w9")),
        "worker w1 runs already": _begin(live, code, "w1", ours.of("w1")),
        "rejects worker w8: its keys are of another run, or of another home": _begin(
            live, code, "w8", theirs.of("w8")
        ),
        "worker w7 was given no keys: only a supervisor starts workers": _begin(live, code, "w7", None),
        "is what the supervisor runs; start a bot with `neverblink up`": _begin(live, code, "", None),
    }
    for why, process in tries.items():
        _, err = process.communicate(timeout=WITHIN)
        assert process.returncode == 1
        assert why in err
    status = live.status()
    assert [worker["pid"] for worker in status["workers"]] == [w1]
    # Neither the leader nor its followers are affected.
    live.deploy(live.code("v1", COUNTER))
    live.ticks_on()
    live.down()
    assert list(live.audit()["epochs"]) == [1, 2]


def test_a_leader_sends_no_state_to_a_process_without_the_keys_of_this_home(live: Live) -> None:
    live.up(live.code("v0", COUNTER))
    ours, theirs = WorkerKeys(_key(live)), WorkerKeys(bytes(32))
    for strangers in (None, theirs.of("w9")):
        with _follower(live, strangers) as follower:
            unwelcome = SupervisorConnection(follower, lambda there: None)
            while not unwelcome.look():
                assert follower.poll(10) == 0
            unwelcome.close()
    with _follower(live, ours.of("w9")) as follower:
        # So the keys made the difference.
        assert follower.poll(int(WITHIN * 1000))
        assert isinstance(leader_codec.decode(follower.recv()), Begin)
    live.ticks_on()
    live.down()


def _key(live: Live) -> bytes:
    return (live.home / "key").read_bytes()


def _secrets(live: Live) -> list[bytes]:
    worker_keys = WorkerKeys(_key(live))
    w1, w2 = worker_keys.of("w1"), worker_keys.of("w2")
    return [_key(live), worker_keys.supervisor, w1.own, w2.own, w1.links, w1.supervisor, w1.leader("w1")]


def _begin(live: Live, code: Path, worker: str, keys: Keys | None) -> subprocess.Popen[str]:
    """Start a worker as the supervisor would, but with these keys; "": as a user would by hand."""
    home = live.home
    environment = dict(live.environment)
    readable, writable = os.pipe()
    if worker:
        assigned = Assignment(
            *("fox", worker, "r1", str(home / "run"), str(home / "lease"), str(home / "journal")), keys=keys
        )
        os.write(writable, encode_assignment(assigned))
        environment[VARIABLE] = str(readable)
    process = subprocess.Popen(
        [sys.executable, "-m", "neverblink.worker", "bot:Bot"],
        cwd=code,
        env=environment,
        pass_fds=(readable,),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(readable)
    os.close(writable)
    return process


@contextmanager
def _follower(live: Live, keys: Keys | None) -> Generator[zmq.Socket[bytes]]:
    """A socket that asks the leader for its state."""
    context = zmq.Context[zmq.Socket[bytes]]()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IDENTITY, b"w9")
    if keys is not None:
        use_client_keys(socket, keys.own, public_of(keys.leader("w1")))
    socket.connect(live.endpoint("w1"))
    socket.send(follower_codec.encode(Subscribe("w9", PROTOCOL, Schema(1, ""), -1, GENESIS)))
    try:
        yield socket
    finally:
        context.destroy(0)
