"""[notify] in the configuration: the targets of notifications, their events and their rate.

Errors name the key and never show the value: a URL is a secret.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

import msgspec

from ..system.account import expanded
from ..system.names import NAME_RULE, is_valid_name
from .notify_kinds import KINDS, USUAL, Kind
from .notify_pace import NotifyPace
from .toml_table import TomlTable

__all__ = ["NotifySettings", "NotifyTarget", "read"]

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


def read(said: TomlTable, project: Path) -> NotifySettings:
    """What the table [notify] says; files are relative to `project`. Raises `ConfigError`."""
    said.allow("events", "burst", "per", "retry_for", "targets")
    usual = NotifyPace()
    pace = NotifyPace(
        burst=said.integer("burst", usual.burst, 1, _MOST_AT_ONCE),
        per=said.span("per", usual.per),
        retry_for=said.span("retry_for", usual.retry_for),
    )
    events = _events(said, USUAL)
    targets = said.table("targets", secret=True)
    if len(targets.keys) > _MOST_TARGETS:
        raise said.error("targets", f"there are {len(targets.keys)}: expected at most {_MOST_TARGETS}")
    return NotifySettings(tuple(_target(targets, name, events, project) for name in targets.keys), pace)


def _target(targets: TomlTable, name: str, events: tuple[Kind, ...], project: Path) -> NotifyTarget:
    if not is_valid_name(name):
        raise targets.error(name, f"is not a valid name: expected {NAME_RULE}")
    said = targets.table(name, secret=True)
    said.allow("url", "url_file", "events")
    url, file = said.text("url"), said.text("url_file")
    if (url is None) == (file is None):
        what = (
            "has both url and url_file: keep one" if url else "says nowhere to send to: add url or url_file"
        )
        raise targets.error(name, what)
    if url is not None and not _URL.fullmatch(url):
        raise said.error(
            "url",
            'is not a URL that apprise knows: expected one such as "tgram://TOKEN/CHAT", or "${NAME}" for an '
            "environment variable",
        )
    path = os.path.normpath(project / expanded(Path(file))) if file else ""
    return NotifyTarget(name, url or "", path, _events(said, events))


def _events(said: TomlTable, usual: tuple[Kind, ...]) -> tuple[Kind, ...]:
    if "events" not in said.keys:
        return usual
    wanted: list[Kind] = []
    for text in said.texts("events"):
        kinds: list[Kind] = [kind for kind in KINDS if kind == text]
        if not kinds:
            near = difflib.get_close_matches(text, KINDS, 1)
            mend = f'did you mean "{near[0]}"?' if near else f"expected some of {', '.join(KINDS)}"
            raise said.error("events", f'there is nothing like "{text[:64]}" to notify of: {mend}')
        wanted += kinds
    if not wanted:
        raise said.error("events", "is empty: name some events, or leave the key out")
    return tuple(wanted)
