"""What a worker started ends with it, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from textwrap import dedent

import psutil
import pytest

from neverblink.supervisor.system.process import started_at
from neverblink.supervisor.system.process_group import MARK, end_group, mark_of


class Worker:
    """A process in its own session that starts children and prints their pids."""

    def __init__(self, source: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", dedent(source)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, MARK: mark_of("w1", "/home/run")},
        )
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self.started = started_at(self.pid) or 0
        self.children = [psutil.Process(int(word)) for word in self._process.stdout.readline().split()]

    def dies(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.dies()
        for child in self.children:
            if child.is_running():
                child.kill()
                gone(child)
        assert self._process.stdout is not None
        self._process.stdout.close()


def gone(child: psutil.Process) -> None:
    # No process of ours reaps it, so a zombie counts as gone.
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        psutil.wait_procs([child], timeout=0.05)


def journal_builder(child: psutil.Process) -> bool:
    return child.is_running() and child.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def worker() -> Iterator[Worker]:
    one = Worker(
        """
        import subprocess, sys, time
        code = "import signal, time; {}; print('up', flush=True); time.sleep(600)"
        deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
        children = [
            subprocess.Popen([sys.executable, "-c", code.format(how)], stdout=subprocess.PIPE, process_group=group)
            for how in ("pass", deaf)
            for group in (None, 0)
        ]
        for child in children:
            child.stdout.readline()
        print(*(child.pid for child in children), flush=True)
        time.sleep(600)
        """
    )
    yield one
    one.close()


def test_processes_of_a_dead_worker_end_even_in_another_group_or_when_they_ignore_sigterm(
    worker: Worker,
) -> None:
    worker.dies()
    assert all(map(journal_builder, worker.children))
    assert end_group(worker.pid, worker.started) == 4
    for child in worker.children:
        gone(child)


def test_another_session_with_the_same_number_is_left_alone(worker: Worker) -> None:
    assert end_group(worker.pid, worker.started - 1) == 0
    assert all(map(journal_builder, worker.children))


def test_unseen_processes_are_ended_only_with_the_mark_of_the_worker(worker: Worker) -> None:
    worker.dies()
    assert end_group(worker.pid, worker.started, mark_of("w1", "/another/run")) == 0
    assert all(map(journal_builder, worker.children))
    assert end_group(worker.pid, worker.started, mark_of("w1", "/home/run")) == 4


def test_a_process_in_its_own_session_continues() -> None:
    worker = Worker(
        """
        import subprocess, time
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        print(child.pid, flush=True)
        time.sleep(600)
        """
    )
    try:
        worker.dies()
        assert end_group(worker.pid, worker.started) == 0
        assert all(map(journal_builder, worker.children))
    finally:
        worker.close()
