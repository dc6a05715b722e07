"""Logs of workers go with their releases, and the oldest of many go first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from neverblink.protocol.events import WorkerExited
from neverblink.supervisor.release.retention import KEPT_WORKERS, remove_old_logs
from neverblink.supervisor.store.history_db import HistoryDb

BOT = "fox"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[HistoryDb]:
    with HistoryDb.open(tmp_path / "supervisor.db", BOT) as history:
        yield history


def lived(history: HistoryDb, logs: Path, number: int, release: str, *, alive: bool = False) -> Path:
    """A worker with a log; it has ended, or not."""
    log = logs / f"w{number}.log"
    log.write_text("one\n")
    history.started(f"w{number}", release, 1, 1, log, number)
    if not alive:
        history.record(
            WorkerExited(
                bot=BOT, at=number, worker=f"w{number}", release=release, pid=1, code=0, reason="exit 0"
            )
        )
    return log


def left(logs: Path) -> set[str]:
    return {path.name for path in logs.iterdir()}


def test_the_logs_of_a_worker_are_removed_with_its_release_including_rotated_ones(
    history: HistoryDb, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for number, release, alive in ((1, "old", False), (2, "old", True), (3, "kept", False)):
        log = lived(history, logs, number, release, alive=alive)
        log.with_name(f"{log.name}.1").write_text("zero\n")
    others = {"supervisor.log", "http.log", "deployment-1.log", "w9.txt"}
    for name in others:
        (logs / name).touch()
    remove_old_logs(logs, {"kept"}, history)
    assert left(logs) == others | {"w2.log", "w2.log.1", "w3.log", "w3.log.1"}


def test_only_the_newest_of_many_workers_of_a_release_keep_their_logs(
    history: HistoryDb, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    lived(history, logs, 1, "kept", alive=True)
    for number in range(2, KEPT_WORKERS + 5):
        lived(history, logs, number, "kept")
    remove_old_logs(logs, {"kept"}, history)
    assert left(logs) == {"w1.log", *(f"w{number}.log" for number in range(5, KEPT_WORKERS + 5))}
