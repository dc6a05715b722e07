"""The output of a deployment's build: published as events, and written to a log of its own.

    logs/deployment-7.log       one line a line: `environment: + numpy==2.1.0`

Both are bounded, because a check can print without end. The events end sooner than the log; each says so in its last
line.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

from ...protocol.events import MAX_OUTPUT, StepDone, StepOutput
from ..system.event_bus import EventBus

__all__ = ["KEPT_LOGS", "BuildLog", "log_of", "newest_logged"]

KEPT_LOGS = 100
"""So many deployments keep theirs."""

_MOST_TOLD = 2000
_MOST_WRITTEN = 1024 * 1024
_NUMBER = re.compile(r"deployment-(\d+)\.log")


def log_of(logs: Path, deployment: int) -> Path:
    """Where the build of a deployment is written down; the file is empty when nothing was built."""
    return logs / f"deployment-{deployment}.log"


def newest_logged(logs: Path) -> int:
    """The highest number of a deployment that has a log; 0 when none has."""
    named = (_NUMBER.fullmatch(path.name) for path in logs.glob("deployment-*.log"))
    return max((int(number[1]) for number in named if number), default=0)


class BuildLog:
    """The account of one deployment, in the directory `logs`. To be closed. Never raises: a disk may be full."""

    def __init__(self, bus: EventBus, deployment: int, logs: Path) -> None:
        self._bus = bus
        self._deployment = deployment
        self._path = log_of(logs, deployment)
        self._written = 0
        self._told = 0

    def begin(self) -> None:
        """Begin the log: it shows that this number is taken, should the history be lost."""
        self._append(b"", first=True)

    def line(self, step: str, text: str) -> None:
        """`step` has printed this line."""
        self._write(f"{step}: {text}")
        self._told += 1
        if self._told < _MOST_TOLD:
            self._tell(step, text)
        elif self._told == _MOST_TOLD:
            self._tell(step, f"… and more: `neverblink history {self._deployment}` has it")

    def step(self, step: str, text: str, took: int, facts: dict[str, Any]) -> None:
        """A step is done; it took so many ns."""
        self._write(f"{step}: done, {text}")
        self._bus.tell(
            StepDone(
                deployment=self._deployment,
                step=step,
                text=text,
                took=took,
                facts=facts,
            )
        )

    def _tell(self, step: str, text: str) -> None:
        self._bus.tell(
            StepOutput(
                deployment=self._deployment,
                step=step,
                text=text[:MAX_OUTPUT],
            )
        )

    def _write(self, text: str) -> None:
        if self._written >= _MOST_WRITTEN:
            return
        data = text.encode(errors="replace") + b"\n"
        first = not self._written
        self._written += len(data)
        if self._written >= _MOST_WRITTEN:
            data += b"release: more was printed than is kept\n"
        self._append(data, first=first)

    def _append(self, data: bytes, *, first: bool) -> None:
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            # What lies there is of a history that was lost, or a link that others have planted.
            if first:
                self._path.unlink(missing_ok=True)
            with open(self._path, "ab", opener=_no_link) as file:
                file.write(data)
            if first:
                self._forget_old()

    def _forget_old(self) -> None:
        for path in self._path.parent.glob("deployment-*.log"):
            number = _NUMBER.fullmatch(path.name)
            if number and int(number[1]) <= self._deployment - KEPT_LOGS:
                path.unlink(missing_ok=True)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
