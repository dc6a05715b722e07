"""The output of a deployment's build: published as events, and written to a log of its own.

    logs/deployment-7.log       one line for each line of output: `environment: + numpy==2.1.0`

Both are bounded, because a check can print without end. The events end sooner than the log. The last line of each says
so.
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
"""How many deployments keep their logs."""

_MOST_PUBLISHED = 2000
_MOST_WRITTEN = 1024 * 1024
_NUMBER = re.compile(r"deployment-(\d+)\.log")


def log_of(logs: Path, deployment: int) -> Path:
    """The log of a deployment's build. The file is empty when nothing was built."""
    return logs / f"deployment-{deployment}.log"


def newest_logged(logs: Path) -> int:
    """The highest number of a deployment that has a log, 0 for none."""
    named = (_NUMBER.fullmatch(path.name) for path in logs.glob("deployment-*.log"))
    return max((int(number[1]) for number in named if number), default=0)


class BuildLog:
    """The build output of one deployment, in the directory `logs`. Never raises, even when the disk is full."""

    def __init__(self, bus: EventBus, deployment: int, logs: Path) -> None:
        self._bus = bus
        self._deployment = deployment
        self._path = log_of(logs, deployment)
        self._written = 0
        self._published = 0

    def begin(self) -> None:
        """Create the log. It shows that the number is taken if the history is lost."""
        self._append(b"", first=True)

    def line(self, step: str, text: str) -> None:
        """Record a line that `step` has printed."""
        self._write(f"{step}: {text}")
        self._published += 1
        if self._published < _MOST_PUBLISHED:
            self._tell(step, text)
        elif self._published == _MOST_PUBLISHED:
            self._tell(step, f"… and more: `neverblink history {self._deployment}` has it")

    def step(self, step: str, text: str, took: int, facts: dict[str, Any]) -> None:
        """Record that a step is done, after `took` ns."""
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
            # An existing file belongs to a lost history, or is a link that another user has placed there.
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
