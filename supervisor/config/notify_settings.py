"""[notify] in the configuration: the targets of notifications, their events and their rate.

Errors name the key and never show the value: a URL is a secret.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Literal

import msgspec

from ...protocol.duration import SECOND
from ..system.account import expanded
from ..system.text import NAME_RULE, is_valid_name
from .toml_table import TomlTable

__all__ = ["KINDS", "USUAL", "Kind", "NotifyPace", "NotifySettings", "NotifyTarget", "read"]

Kind = Literal[
    "deployed",
    "aborted",
    "rolled-back",
    "failover",
    "missed",
    "down",
    "slow",
    "journal",
    "state",
    "inbox",
    "task",
    "feed",
    "standby",
    "supervisor",
    "halt",
    "settings",
    "pause",
    "lock",
]


KINDS: dict[Kind, str] = {
    "deployed": "a deployment or a rollback is done",
    "aborted": "a deployment was aborted; the old code leads",
    "rolled-back": "the new code led, and the old code leads again",
    "failover": "a leader died: the new leader, and the missed ticks",
    "missed": "ticks were missed, in an outage or in a handoff, and in which windows",
    "down": "no worker leads for more than a moment; a worker leads again",
    "slow": "the leader makes no progress; it does again",
    "journal": "the journal cannot be written; it is written again; it was damaged",
    "state": "a value in the state does not read back as it was written; it does again",
    "inbox": "the inbox is full and refuses or drops events; numbers of an event stream are missing; that is over",
    "task": "a task that runs as long as the bot leads ended by itself, for the first time in a row",
    "feed": "a feed failed, or has published nothing for too long; it publishes again",
    "supervisor": "a supervisor adopted its bot, or ends; its files were removed, or are a copy",
    "standby": "the standby died too often, and restarts are now rare",
    "halt": "the bot was halted",
    "settings": "its settings were changed",
    "pause": "it was paused or resumed",
    "lock": "deployments were locked or unlocked",
}
"""Each kind, and what it reports."""


USUAL: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in ("pause", "lock"))
"""The kinds for a target that names none."""


class NotifyPace(msgspec.Struct, frozen=True):
    """The rate limit and the time for retries; ns."""

    burst: int = 5
    per: int = 60 * SECOND
    retry_for: int = 900 * SECOND


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.+|.*\$\{\w+\}.*")
_MOST_TARGETS = 50
_MOST_AT_ONCE = 1000


class NotifyTarget(msgspec.Struct, frozen=True):
    """One target. Its address is in `url` or `url_file`, and may contain `${NAME}`."""

    name: str
    url: str = ""
    url_file: str = ""
    """An absolute path."""
    events: tuple[Kind, ...] = USUAL

    def wants(self, kinds: tuple[Kind, ...]) -> bool:
        return not set(self.events).isdisjoint(kinds)


class NotifySettings(msgspec.Struct, frozen=True):
    targets: tuple[NotifyTarget, ...] = ()
    pace: NotifyPace = NotifyPace()


def read(table: TomlTable, project: Path) -> NotifySettings:
    """Read the table [notify]; files are relative to `project`. Raises `ConfigError`."""
    table.allow("events", "burst", "per", "retry_for", "targets")
    usual = NotifyPace()
    pace = NotifyPace(
        burst=table.integer("burst", usual.burst, 1, _MOST_AT_ONCE),
        per=table.span("per", usual.per),
        retry_for=table.span("retry_for", usual.retry_for),
    )
    events = _events(table, USUAL)
    targets = table.table("targets", secret=True)
    if len(targets.keys) > _MOST_TARGETS:
        raise table.error("targets", f"there are {len(targets.keys)}: expected at most {_MOST_TARGETS}")
    return NotifySettings(tuple(_target(targets, name, events, project) for name in targets.keys), pace)


def _target(targets: TomlTable, name: str, events: tuple[Kind, ...], project: Path) -> NotifyTarget:
    if not is_valid_name(name):
        raise targets.error(name, f"is not a valid name: expected {NAME_RULE}")
    table = targets.table(name, secret=True)
    table.allow("url", "url_file", "events")
    url, file = table.text("url"), table.text("url_file")
    if (url is None) == (file is None):
        what = "has both url and url_file: keep one" if url else "has no address: add url or url_file"
        raise targets.error(name, what)
    if url is not None and not _URL.fullmatch(url):
        raise table.error(
            "url",
            'is not a URL that apprise knows: expected one such as "tgram://TOKEN/CHAT", or "${NAME}" for an '
            "environment variable",
        )
    path = os.path.normpath(project / expanded(Path(file))) if file else ""
    return NotifyTarget(name, url or "", path, _events(table, events))


def _events(table: TomlTable, usual: tuple[Kind, ...]) -> tuple[Kind, ...]:
    if "events" not in table.keys:
        return usual
    wanted: list[Kind] = []
    for text in table.texts("events"):
        kinds: list[Kind] = [kind for kind in KINDS if kind == text]
        if not kinds:
            near = difflib.get_close_matches(text, KINDS, 1)
            mend = f'did you mean "{near[0]}"?' if near else f"expected some of {', '.join(KINDS)}"
            raise table.error("events", f'unknown event "{text[:64]}": {mend}')
        wanted += kinds
    if not wanted:
        raise table.error("events", "is empty: name at least one event, or remove the key")
    return tuple(wanted)
