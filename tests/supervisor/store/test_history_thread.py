"""The history while its file can't be written: nothing is lost that can be kept, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from neverblink.protocol.events import Commanded
from neverblink.protocol.status import Locked
from neverblink.supervisor.store.history_db import HistoryDb, HistoryError
from neverblink.supervisor.store.history_thread import HistoryThread
from neverblink.supervisor.store.lock_and_pause import DeployLock

BOT = "fox"
WITHIN = 20.0


def commanded(op: str, at: int) -> Commanded:
    return Commanded(bot=BOT, at=at, op=op, who="anna", why="", outcome="ok", detail="", seq=None, facts={})


@asynccontextmanager
async def opened(path: Path, log: list[str], **how: float) -> AsyncGenerator[HistoryThread]:
    history_thread = HistoryThread(asyncio.get_running_loop(), log.append, **how)  # type: ignore[arg-type]
    await history_thread.open(path, BOT)
    try:
        yield history_thread
    finally:
        await history_thread.close()


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Another connection holds the write lock, as a backup or a browser of databases does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        yield
        other.execute("rollback")


async def wait_for_log(log: list[str], text: str) -> None:
    async with asyncio.timeout(WITHIN):
        # What is said comes in this loop's own time, and rings no bell.
        while not any(text in line for line in log):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def commands(path: Path) -> list[str]:
    with HistoryDb.open(path, BOT, read_only=True) as history:
        return [row.op for row in history.commands(100)][::-1]


def test_entries_made_while_the_file_is_locked_are_written_later_in_order(tmp_path: Path) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()

    async def scenario() -> None:
        async with opened(path, log) as history_thread:
            with locked(path):
                for at, op in enumerate(("pause", "resume", "pause", "lock")):
                    history_thread.note(commanded(op, at))
                await wait_for_log(log, "kept in memory")
                # Questions are answered meanwhile, and soon.
                begun = time.monotonic()
                assert await history_thread.ask(lambda history: history.commands(10)) == []
                assert time.monotonic() - begun < 5
            await wait_for_log(log, "written again: 4 entries had waited")

    asyncio.run(scenario())
    assert commands(path) == ["pause", "resume", "pause", "lock"]
    assert len(log) == 2


def test_a_deploy_lock_works_while_the_file_is_locked(tmp_path: Path) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()
    lock = Locked("anna", "release freeze", 1)

    async def scenario() -> None:
        async with opened(path, log) as history_thread:
            deploy_lock = DeployLock(history_thread)
            with locked(path):
                begun = time.monotonic()
                await deploy_lock.put_on(lock)
                assert time.monotonic() - begun < 3
                assert deploy_lock.lock == lock
                await wait_for_log(log, "kept in memory")
            await wait_for_log(log, "written again")
            again = DeployLock(history_thread)
            await again.recall()
            assert again.lock == lock

    asyncio.run(scenario())


def test_entries_that_do_not_fit_into_memory_are_counted_and_reported(tmp_path: Path) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()

    async def scenario() -> None:
        async with opened(path, log, most_kept=5) as history_thread:
            with locked(path):
                for at in range(8):
                    history_thread.note(commanded("pause", at))
                await wait_for_log(log, "kept in memory")
            await wait_for_log(log, "5 entries had waited, 3 are lost")

    asyncio.run(scenario())
    assert len(commands(path)) == 5


def test_entries_lost_at_the_end_are_counted_and_reported_within_a_bound(tmp_path: Path) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()

    async def scenario() -> None:
        history_thread = HistoryThread(asyncio.get_running_loop(), log.append, last_tries=0.2)
        await history_thread.open(path, BOT)
        with locked(path):
            history_thread.note(commanded("pause", 1))
            history_thread.note(commanded("resume", 2))
            begun = time.monotonic()
            await history_thread.close()
            assert time.monotonic() - begun < 5
        await wait_for_log(log, "2 history entries are lost")

    asyncio.run(scenario())


def test_an_entry_that_can_never_be_written_blocks_no_later_one(tmp_path: Path) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()

    async def scenario() -> None:
        async with opened(path, log) as history_thread:
            history_thread.write(lambda history: 1 // 0)
            history_thread.note(commanded("pause", 1))
            assert len(await history_thread.ask(lambda history: history.commands(10))) == 1
            await wait_for_log(log, "a history entry is lost: ZeroDivisionError")

    asyncio.run(scenario())


def test_a_removed_file_is_written_again_completely(tmp_path: Path) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()

    async def scenario() -> None:
        async with opened(path, log) as history_thread:
            history_thread.note(commanded("pause", 1))
            assert len(await history_thread.ask(lambda history: history.commands(10))) == 1
            for file in tmp_path.glob("supervisor.db*"):
                file.unlink()
            history_thread.note(commanded("resume", 2))
            assert len(await history_thread.ask(lambda history: history.commands(10))) == 2

    asyncio.run(scenario())
    assert commands(path) == ["pause", "resume"]


def test_a_damaged_file_is_set_aside_and_replaced(tmp_path: Path) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()
    path.write_bytes(b"something else, and more than a header of a hundred bytes" * 9)

    async def scenario() -> None:
        async with opened(path, log) as history_thread:
            history_thread.note(commanded("pause", 1))
        assert "is damaged, and set aside as supervisor.db.damaged-" in log[0]

    asyncio.run(scenario())
    assert commands(path) == ["pause"]
    assert len(list(tmp_path.glob("supervisor.db.damaged-*"))) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the right to mount a file system")
def test_on_a_full_disk_entries_wait_for_free_space(tmp_path: Path) -> None:
    place, log = tmp_path / "small", list[str]()
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    path = place / "supervisor.db"

    async def scenario() -> None:
        async with opened(path, log) as history_thread:
            filler = place / "filler"
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 4096)
                except OSError:
                    pass
            for at in range(200):
                history_thread.note(commanded("pause", at))
            await wait_for_log(log, "kept in memory")
            filler.unlink()
            await wait_for_log(log, "written again")

    try:
        asyncio.run(scenario())
        with HistoryDb.open(path, BOT, read_only=True) as history:
            assert len(history.commands(1000)) == 200
    finally:
        subprocess.run(["umount", place], check=True)


def damage_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(os.urandom(8 * 4096))


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [damage_middle, replace_by_directory])
def test_a_damaged_file_of_any_kind_does_not_prevent_opening(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()

    async def scenario() -> None:
        async with opened(path, []) as history_thread:
            await history_thread.keep(lambda history: history.keep("lock", Locked("anna", "", 1)))
        harm(path)
        async with opened(path, log) as history_thread:
            assert await history_thread.ask(lambda history: history.kept("lock", Locked)) is None
            history_thread.note(commanded("pause", 1))

    asyncio.run(scenario())
    assert commands(path) == ["pause"]
    assert len(log) == 1
    assert "is damaged, and set aside as supervisor.db.damaged-" in log[0]
    assert list(tmp_path.glob("supervisor.db.damaged-*"))


def test_an_empty_file_is_reported(tmp_path: Path) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()
    path.touch()

    async def scenario() -> None:
        async with opened(path, log):
            pass

    asyncio.run(scenario())
    assert log == [f"history {path} is empty: it begins anew"]


def test_an_unreadable_row_hides_no_other(tmp_path: Path) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()

    async def scenario() -> None:
        async with opened(path, log) as history_thread:
            for at in (1, 2):
                await history_thread.ask(lambda history, at=at: history.begin("deploy", f"r{at}", "", at))
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("update deployments set kind = 'nonsense' where id = 2")
            assert [
                row.release for row in await history_thread.ask(lambda history: history.deployments())
            ] == ["r1"]

    asyncio.run(scenario())
    assert log == []


def test_a_history_damaged_while_open_is_replaced_with_the_live_workers(
    tmp_path: Path,
) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()

    async def scenario() -> None:
        async with opened(path, log) as history_thread:
            await history_thread.keep(
                lambda history: history.started("w7", "r1", 70, 700, tmp_path / "w7.log", 7)
            )
            await history_thread.ask(damaged)
            (row,) = await history_thread.ask(lambda history: history.remaining())
            assert (row.worker, row.pid, row.started) == ("w7", 70, 700)

    asked: list[HistoryDb] = []

    def damaged(history: HistoryDb) -> None:
        asked.append(history)
        if len(asked) == 1:
            raise HistoryError(path, "damaged", unreadable=True)

    asyncio.run(scenario())
    assert len(asked) == 2
    assert "set aside as supervisor.db.damaged-" in log[0]


def test_unreadable_stored_values_are_ignored_and_a_deploy_lock_stays(tmp_path: Path) -> None:
    path, log = tmp_path / "supervisor.db", list[str]()

    async def scenario() -> None:
        async with opened(path, log) as history_thread:
            await history_thread.keep(lambda history: history.keep("lock", Locked("anna", "", 1)))
            await history_thread.keep(lambda history: history.keep("workers", 7))
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("update kept set value = '{{{'")
            assert await history_thread.recall("workers", int) is None
            deploy_lock = DeployLock(history_thread)
            await deploy_lock.recall()
            assert deploy_lock.lock is not None
            assert "can't be read" in deploy_lock.lock.why

    asyncio.run(scenario())
    assert len(log) == 1
    assert "going on without it" in log[0]
    assert path.is_file()
