"""status.json and control.json: real files, a real history, the kernel's own bell."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import sqlite3
import stat
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neverblink.protocol.commands import (
    MAX_REQUEST,
    Answer,
    Command,
    Deploy,
    Pause,
    RebaseClock,
    Status,
    op_of,
)
from neverblink.protocol.control import MOST_COMMANDS, ControlError, parse
from neverblink.supervisor.config.config import FileLayer
from neverblink.supervisor.control_files import ControlFiles, control_schema, status_schema
from neverblink.supervisor.control_files.json_shapes import StatusFile
from neverblink.supervisor.control_files.read_json import read
from neverblink.supervisor.store.history_db import HistoryDb
from neverblink.supervisor.store.history_thread import HistoryThread

from ..cli.test_status import QUIET

WITHIN = 20.0
LAYER = FileLayer(poll=50_000_000)


class FilesOfAHome:
    """The two files of a home, in front of a dispatcher that records each command and answers it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.asked: list[Command] = []
        self.keys: list[str] = []
        self.log: list[str] = []
        self.gate: asyncio.Event | None = None
        """If set, commands wait for it."""
        self.control_files: ControlFiles

    @property
    def control(self) -> Path:
        return self.home / "control.json"

    def write(self, what: Any) -> None:
        """Replace the control file, as a writer should."""
        new = self.home / "new"
        new.write_bytes(what if isinstance(what, bytes) else json.dumps(what).encode())
        new.replace(self.control)

    def status(self) -> StatusFile:
        return msgspec.json.decode((self.home / "status.json").read_bytes(), type=StatusFile)

    async def wait_for_status(self, condition: Callable[[StatusFile], object]) -> StatusFile:
        """Wait until status.json meets the condition. There is no signal for a changed file, so this polls."""
        until = time.monotonic() + WITHIN
        while True:
            if (self.home / "status.json").exists() and condition(status := self.status()):
                return status
            assert time.monotonic() < until, self.status() if (self.home / "status.json").exists() else "none"
            await asyncio.sleep(0.002)

    async def wait_for_answer(self, id: str) -> Any:
        """Wait for the answer to this command."""
        status = await self.wait_for_status(
            lambda status: any(answer.id == id for answer in status.control.answers)
        )
        return next(answer for answer in status.control.answers if answer.id == id)

    async def wait_for_problem(self, text: str) -> None:
        await self.wait_for_status(
            lambda status: any(text in problem.text for problem in status.control.problems)
        )

    async def carry_out(self, command: Command, once: str) -> Answer:
        self.asked.append(command)
        self.keys.append(once)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(command, Status):
            return Answer(command.id, "ok", result={"much": "x" * 100_000})
        return Answer(command.id, "ok", seq=7, result={"op": op_of(command)})


@asynccontextmanager
async def opened(home: Path, config: FileLayer = LAYER) -> AsyncGenerator[FilesOfAHome]:
    home.mkdir(exist_ok=True)
    files = FilesOfAHome(home)
    history_thread = HistoryThread(asyncio.get_running_loop(), files.log.append)
    await history_thread.open(home / "supervisor.db", "foresight")
    files.control_files = ControlFiles(
        home,
        config,
        history_thread,
        status=lambda: QUIET,
        carry_out=files.carry_out,
        now=time.time_ns,
        say=files.log.append,
    )
    await files.control_files.begin()
    try:
        yield files
    finally:
        await files.control_files.close()
        await history_thread.close()


def run_with_files(
    tmp_path: Path, act: Callable[[FilesOfAHome], Awaitable[None]], config: FileLayer = LAYER
) -> None:
    """Run a test with the files of a home open."""

    async def run() -> None:
        async with opened(tmp_path / "home", config) as files:
            await act(files)

    asyncio.run(run())


def test_a_command_is_carried_out_and_answered_in_status_json(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        files.write({"id": "1", "op": "pause", "who": "anna", "why": "thin"})
        seen = await files.wait_for_answer("1")
        assert (seen.op, seen.status, seen.seq, seen.result) == ("pause", "ok", 7, {"op": "pause"})
        assert files.asked == [Pause(id="1", who="anna", why="thin")]
        assert files.keys == ["file-1"]
        files.write({"id": "2", "op": "pause"})
        await files.wait_for_answer("2")
        assert files.asked[1].who == "control.json"

    run_with_files(tmp_path, act)


@pytest.mark.parametrize("file_watch", [True, False], ids=["inotify", "polling"])
def test_a_command_is_carried_out_once_however_often_its_file_is_written(
    tmp_path: Path, file_watch: bool
) -> None:
    async def act(files: FilesOfAHome) -> None:
        for _ in range(3):
            files.write([{"id": "1", "op": "pause"}, {"id": "2", "op": "resume"}])
            await files.wait_for_answer("2")
            files.control.touch()
            files.control.write_text('[{"op": "pause", "id": "1"}, {"id": "2", "op": "resume"}]')
            files.control.chmod(0o640)
        files.control.unlink()
        files.write({"id": "2", "op": "resume"})
        files.write({"id": "3", "op": "lock", "why": "x"})
        await files.wait_for_answer("3")
        assert [op_of(request) for request in files.asked] == ["pause", "resume", "lock"]

    # A poll so slow that only the watch notices it, or none but the poll.
    poll = 600_000_000_000 if file_watch else 5_000_000
    run_with_files(tmp_path, act, FileLayer(poll=poll))


def test_ids_are_remembered_across_restarts_and_so_are_answers(tmp_path: Path) -> None:
    async def first(files: FilesOfAHome) -> None:
        files.write({"id": "1", "op": "pause"})
        await files.wait_for_answer("1")

    async def second(files: FilesOfAHome) -> None:
        assert (await files.wait_for_answer("1")).seq == 7
        files.control.touch()
        files.write([{"id": "1", "op": "pause"}, {"id": "2", "op": "resume"}])
        await files.wait_for_answer("2")
        assert [op_of(request) for request in files.asked] == ["resume"]

    run_with_files(tmp_path, first)
    run_with_files(tmp_path, second)


def test_a_file_that_is_older_than_the_history_of_ids_is_not_carried_out(tmp_path: Path) -> None:
    """The history was set aside: the commands in the file may have been carried out before."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "control.json").write_text('{"id": "1", "op": "halt", "confirm": "foresight"}')

    async def first(files: FilesOfAHome) -> None:
        seen = await files.wait_for_answer("1")
        assert "perhaps it was done already" in seen.error.message
        files.write({"id": "2", "op": "pause"})
        await files.wait_for_answer("2")

    async def second(files: FilesOfAHome) -> None:
        # Written while no supervisor ran, and the history has all earlier ids: it is new.
        assert (await files.wait_for_answer("3")).status == "ok"
        assert [request.id for request in files.asked] == ["3"]

    run_with_files(tmp_path, first)
    (home / "control.json").write_text('[{"id": "1", "op": "pause"}, {"id": "3", "op": "resume"}]')
    run_with_files(tmp_path, second)


def test_a_file_with_too_many_commands_is_not_read_further(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        files.gate = asyncio.Event()
        files.write([{"id": f"a{n}", "op": "deploy", "path": "/x"} for n in range(MOST_COMMANDS)])
        await files.wait_for_status(lambda status: len(status.control.running) == MOST_COMMANDS)
        files.write([{"id": f"b{n}", "op": "pause"} for n in range(MOST_COMMANDS)])
        await asyncio.sleep(0.2)
        assert len(files.status().control.running) == MOST_COMMANDS
        files.gate.set()
        await files.wait_for_answer(f"b{MOST_COMMANDS - 1}")
        assert len(files.asked) == 2 * MOST_COMMANDS

    run_with_files(tmp_path, act)


def test_a_reused_id_is_reported_and_not_carried_out(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        files.write({"id": "1", "op": "pause"})
        await files.wait_for_answer("1")
        files.write({"id": "1", "op": "resume"})
        await files.wait_for_problem("id '1' was used for another command")
        files.write({"id": "2", "op": "resume"})
        await files.wait_for_answer("2")
        await files.wait_for_status(lambda status: not status.control.problems)
        assert [op_of(request) for request in files.asked] == ["pause", "resume"]

    run_with_files(tmp_path, act)


def test_an_unanswered_command_is_resumed_or_reported_as_in_doubt(tmp_path: Path) -> None:
    """A supervisor that is killed leaves what it had begun without an answer."""
    home = tmp_path / "home"
    home.mkdir()
    with HistoryDb.open(home / "supervisor.db", "foresight") as history:
        pause = b'{"op":"pause","id":"1"}'.decode()
        assert history.claim("1", "pause", "d1", pause, 1) is None
        assert history.claim("2", "deploy", "d2", '{"op":"deploy","id":"2","path":"/x"}', 2) is None
        assert history.claim("3", "pause", "d3", pause, 3) is None
        assert history.claim("4", "rebase-clock", "d4", '{"op":"rebase-clock","id":"4"}', 4) is None
        history.settle("3", '{"id":"3","op":"pause","at":3,"status":"ok"}', 3)

    async def act(files: FilesOfAHome) -> None:
        assert (await files.wait_for_answer("1")).status == "ok"
        doubt = await files.wait_for_answer("2")
        assert doubt.error.code == "failed"
        assert "it is not repeated" in doubt.error.message
        assert (await files.wait_for_answer("3")).at == 3
        assert (await files.wait_for_answer("4")).status == "ok"
        assert files.asked == [Pause(id="1", who="control.json"), RebaseClock(id="4", who="control.json")]
        assert files.keys == ["file-1", "file-4"]

    run_with_files(tmp_path, act)


def test_a_bad_command_is_refused_with_a_hint_and_can_be_corrected(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        files.write([{"id": "1", "op": "puase"}, {"id": "2", "op": "resume"}, {"op": "pause"}])
        seen = await files.wait_for_answer("1")
        assert seen.error.code == "bad-request"
        assert 'did you mean "pause"?' in seen.error.message
        await files.wait_for_answer("2")
        await files.wait_for_problem("command 3 of 3 (pause) has no id")
        files.write([{"id": "1", "op": "pause"}, {"id": "2", "op": "resume"}])
        await files.wait_for_status(
            lambda status: any(answer.id == "1" and answer.seq for answer in status.control.answers)
        )
        assert [op_of(request) for request in files.asked] == ["resume", "pause"]
        assert len([line for line in files.log if "puase" in line]) == 1

    run_with_files(tmp_path, act)


def test_a_half_written_file_is_read_again_and_a_broken_one_reported(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        with files.control.open("wb", buffering=0) as file:
            file.write(b'{"id": "1", "op":')
            await asyncio.sleep(0.01)
            file.write(b' "pause"}')
        await files.wait_for_answer("1")
        files.write(b'{"id": "2", "op": "resume"')
        await files.wait_for_problem("it is not JSON")
        files.write({"id": "2", "op": "resume"})
        await files.wait_for_answer("2")
        await files.wait_for_status(lambda status: not status.control.problems)
        assert [request.id for request in files.asked] == ["1", "2"]

    run_with_files(tmp_path, act)


def _link(path: Path) -> None:
    other = path.with_name("other")
    other.write_text('{"id": "evil", "op": "pause"}')
    path.symlink_to(other)


def _large(path: Path) -> None:
    path.write_bytes(b" " * (MAX_REQUEST + 1))


def _text(path: Path) -> None:
    path.write_bytes(b'"pause"')


def _directory(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_link, "it is a symbolic link"),
        (_directory, "it is a directory: expected a file"),
        (_pipe, "it is a pipe: expected a file"),
        (_large, "at most 1MiB are read"),
        (_text, "it is not a command"),
    ],
    ids=["link", "directory", "pipe", "large", "text"],
)
def test_an_unacceptable_file_is_reported_and_stops_nothing(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    async def act(files: FilesOfAHome) -> None:
        make(files.control)
        await files.wait_for_problem(why)
        if files.control.is_dir():
            files.control.rmdir()
        files.write({"id": "1", "op": "pause"})
        await files.wait_for_answer("1")
        await files.wait_for_status(lambda status: not status.control.problems)
        assert [request.id for request in files.asked] == ["1"]

    run_with_files(tmp_path, act)


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    path.write_text("[]")
    assert read(path, os.geteuid()) is not None
    with pytest.raises(ControlError, match=f"it belongs to user {os.geteuid()}: only a file of the user"):
        read(path, os.geteuid() + 1)
    assert read(tmp_path / "none", os.geteuid()) is None
    place = tmp_path / "socket"
    _socket(place)
    with pytest.raises(ControlError, match=r"it (is a socket|cannot be opened)"):
        read(place, os.geteuid())


def test_a_slow_command_blocks_no_other(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        files.gate = asyncio.Event()
        files.write([{"id": "1", "op": "deploy", "path": "/x", "wait": True}, {"id": "2", "op": "abort"}])
        await files.wait_for_status(lambda status: len(status.control.running) == 2 and len(files.asked) == 2)
        assert isinstance(files.asked[0], Deploy)
        files.gate.set()
        await files.wait_for_answer("1")
        await files.wait_for_answer("2")

    run_with_files(tmp_path, act)


def test_a_command_whose_id_cannot_be_stored_is_not_carried_out(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        with closing(sqlite3.connect(files.home / "supervisor.db")) as database:
            database.execute("drop table control")
            database.commit()
        files.write({"id": "1", "op": "pause"})
        await files.wait_for_problem("no such table")
        assert not files.asked

    run_with_files(tmp_path, act)


def test_a_result_that_is_too_large_is_left_out_with_a_note(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        files.write({"id": "1", "op": "status"})
        seen = await files.wait_for_answer("1")
        assert seen.result is None
        assert seen.left_out > 100_000

    run_with_files(tmp_path, act)


def test_status_json_is_replaced_at_its_pace_and_marked_at_the_end(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        first = await files.wait_for_status(lambda status: status.alive)
        place = files.home / "status.json"
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        held = place.open("rb")
        later = await files.wait_for_status(lambda status: status.at > first.at)
        # Who has it open still has the whole of that moment.
        with held:
            assert msgspec.json.decode(held.read(), type=StatusFile).at <= later.at
        assert later.status == QUIET
        assert not (files.home / ".status.json.new").exists()

    run_with_files(tmp_path, act, FileLayer(pace=20_000_000))
    last = msgspec.json.decode((tmp_path / "home" / "status.json").read_bytes(), type=StatusFile)
    assert not last.alive


def test_an_unwritable_status_json_is_reported_once_and_written_when_possible(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        place = files.home / "status.json"
        await files.wait_for_status(lambda status: status.alive)
        place.unlink()
        place.mkdir()
        until = time.monotonic() + WITHIN
        while not files.log:
            assert time.monotonic() < until
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.05)
        place.rmdir()
        await files.wait_for_status(lambda status: status.alive)
        assert files.log[0].startswith("status.json can't be written: ")
        assert len([line for line in files.log if "can't be written" in line]) == 1

    run_with_files(tmp_path, act, FileLayer(pace=5_000_000))


def test_each_file_can_be_turned_off(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        files.write({"id": "1", "op": "pause"})
        await asyncio.sleep(0.1)
        assert not files.asked
        assert not (files.home / "status.json").exists()

    run_with_files(tmp_path, act, FileLayer(status=False, control=False))


def test_the_history_of_ids_is_bounded(tmp_path: Path) -> None:
    with HistoryDb.open(tmp_path / "supervisor.db", "foresight") as history:
        for n in range(40):
            assert history.claim(f"n{n}", "pause", "d", "{}", n, most=20) is None
            history.settle(f"n{n}", f'"{n}"', n, answers=5)
        assert history.claim("n39", "pause", "d", "{}", 99, most=20) is not None
        assert history.claim("n25", "pause", "d", "{}", 99, most=20) is not None
        assert history.claim("n5", "pause", "d", "{}", 99, most=20) is None
        assert [item.answer for item in history.settled(100)] == ['"35"', '"36"', '"37"', '"38"', '"39"']


def _valid(schema: dict[str, Any], what: Any) -> bool:
    library: Any = importlib.import_module("jsonschema")
    library.Draft202012Validator.check_schema(schema)
    return bool(library.Draft202012Validator(schema).is_valid(what))


@pytest.mark.parametrize(
    ("control", "good"),
    [
        ({"id": "1", "op": "pause"}, True),
        ([{"id": "1", "op": "send", "name": "buy", "args": {"n": [1]}}, {"id": "2", "op": "unlock"}], True),
        ([], True),
        ({"op": "pause"}, False),
        ({"id": "", "op": "pause"}, False),
        ({"id": "x" * 129, "op": "pause"}, False),
        ({"id": "1", "op": "puase"}, False),
        ({"id": "1", "op": "pause", "verbose": True}, False),
        ({"id": "1", "op": "send"}, False),
        ({"id": "1", "op": "history", "limit": "all"}, False),
        ("pause", False),
    ],
)
def test_the_schema_of_control_json_matches_the_decoder(control: Any, good: bool) -> None:
    assert _valid(control_schema(), control) == good
    try:
        log = parse(json.dumps(control).encode())
    except ControlError:
        assert not good
    else:
        assert (not log.refused) == good


def test_the_schema_of_status_json_matches_the_file(tmp_path: Path) -> None:
    async def act(files: FilesOfAHome) -> None:
        files.write([{"id": "1", "op": "pause"}, {"id": "2"}])
        await files.wait_for_answer("2")
        files.write(b"none")
        await files.wait_for_status(lambda status: status.control.problems)
        assert _valid(status_schema(), json.loads((files.home / "status.json").read_bytes()))
        assert not _valid(status_schema(), {"version": 1})

    run_with_files(tmp_path, act)
