"""Settings: what an operator may change of a live bot without new code.

The bot's class declares the settings and their defaults, `settings = Limits()`: a frozen `msgspec.Struct`. What
operators have set is kept beside that, by name, and is part of the state stream: it goes from process to process and is
in the journal. So a release that changes a default changes it unless an operator has set another value, and a setting
that a release does not know is kept for one that does.

A change is made of plain data, as an operator has it, and is validated whole against the bot's own type before the bot
sees any of it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.link import SettingsNow
from ...protocol.wire import UNDECODABLE, reason
from .cells import StateUnreadable
from .json_schema import not_plain, schema_of

__all__ = ["SettingsCell", "SettingsChange", "SettingsError", "SettingsRefused", "SettingsUnreadable"]

LARGEST = 64 * 1024
"""What all that is set may have in bytes: it goes into each report."""


class SettingsError(NeverblinkError):
    """Settings that are not written as settings are."""


class SettingsRefused(NeverblinkError):
    """A change that does not fit the bot's type; nothing has changed."""


class SettingsUnreadable(StateUnreadable):
    """What operators have set does not fit this code's settings; `field` is the setting."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem, "")
        self.message = (
            f"setting {field!r}: {problem}: keep a type that can hold what is set now, or "
            f"`neverblink settings --reset {field}` before the deployment"
        )
        self.args = (self.message,)


class SettingsChange(msgspec.Struct, frozen=True):
    """A change that fits: the settings before and after it, and what operators have set with it."""

    old: Any
    new: Any
    chosen: dict[str, Any]
    changes: dict[str, dict[str, Any]]
    """By setting: its value before (`old`) and after (`new`), as plain data."""

    @property
    def told(self) -> dict[str, Any]:
        """What the operator is answered."""
        values = _plain(self.new)
        chosen = [name for name in values if name in self.chosen]
        return {"changes": self.changes, "values": values, "chosen": chosen}

    @property
    def packed(self) -> bytes:
        """`chosen`, as it goes into a frame."""
        return msgspec.msgpack.encode(self.chosen)


class SettingsCell:
    """The settings of a bot whose class says `defaults` (None: it has none).

    `show` is given the settings as they are whenever they are other than before. Raises `SettingsError` for what can't
    be settings.
    """

    def __init__(self, defaults: Any = None, show: Callable[[Any], None] = lambda _: None) -> None:
        if defaults is not None:
            _check(defaults)
        self.current: Any = defaults
        self._defaults = defaults
        self._kind: type[Any] = cast("type[Any]", type(defaults))
        self._show = show
        self._chosen: dict[str, Any] = {}
        self._now: SettingsNow | None = None

    @property
    def packed(self) -> bytes:
        """What operators have set, as it goes into a snapshot; empty when nothing is."""
        return msgspec.msgpack.encode(self._chosen) if self._chosen else b""

    def now(self) -> SettingsNow | None:
        """Their values for the supervisor; None when the bot has none."""
        if self._defaults is not None and self._now is None:
            values = _plain(self.current)
            self._now = SettingsNow(values, tuple(name for name in values if name in self._chosen))
        return self._now

    def schema(self) -> dict[str, Any] | None:
        """Their JSON Schema, with the defaults that the bot's class says; None when the bot has none."""
        if self._defaults is None:
            return None
        return schema_of(self._kind, _plain(self._defaults))

    # what an operator wants

    def plan(self, args: dict[str, Any], after: SettingsChange | None = None) -> SettingsChange:
        """What a change comes to, if it fits: `set` (new values by name) and `reset` (names), all or nothing.

        `after` is a change that comes before it. Raises `SettingsRefused`.
        """
        wanted: object = args.get("set", {})
        reset: object = args.get("reset", ())
        if not isinstance(wanted, dict) or not isinstance(reset, (list, tuple)):
            raise SettingsRefused("a change of settings is a map `set` and a list `reset`")
        wanted, names = cast("dict[Any, Any]", wanted), cast("Iterable[Any]", reset)
        if self._defaults is None:
            raise SettingsRefused(
                "this bot has no settings: its class says none (settings = Limits(), a frozen msgspec.Struct)"
            )
        old = after.new if after is not None else self.current
        before, defaults = _plain(old), _plain(self._defaults)
        for name in (*wanted, *names):
            if name not in before:
                raise SettingsRefused(_unknown(name, before))
            if name in wanted and name in names:
                raise SettingsRefused(f"setting {name!r} is to be set and reset: say one of the two")
        chosen = dict(after.chosen if after is not None else self._chosen)
        for name in names:
            chosen.pop(name, None)
        try:
            new: Any = msgspec.convert(
                {**before, **{name: defaults[name] for name in names}, **wanted}, self._kind
            )
            values = _plain(new)
            chosen |= {name: values[name] for name in wanted}
            size = len(msgspec.msgpack.encode(chosen))
        except UNDECODABLE as problem:
            raise SettingsRefused(_said(reason(problem))) from None
        if size > LARGEST:
            raise SettingsRefused(
                f"settings have at most {LARGEST} bytes: what is large belongs into the state"
            )
        changes = {
            name: {"old": before[name], "new": values[name]}
            for name in values
            if values[name] != before[name] or name in wanted or name in names
        }
        return SettingsChange(old, new, chosen, changes)

    def adopt(self, change: SettingsChange) -> None:
        """The change is in force from now on."""
        self._become(change.new, change.chosen)

    def undo(self, change: SettingsChange, chosen: dict[str, Any]) -> None:
        """The bot would not have it: as before, with what was `chosen` then."""
        self._become(change.old, chosen)

    @property
    def chosen(self) -> dict[str, Any]:
        """What operators have set, by name, as plain data."""
        return self._chosen

    # what comes by the stream

    def read(self, packed: bytes) -> tuple[Any, dict[str, Any]]:
        """What is said in a frame or a snapshot, for `take`. Raises `SettingsUnreadable`."""
        try:
            chosen = msgspec.msgpack.decode(packed, type=dict[str, Any]) if packed else {}
        except UNDECODABLE as problem:
            raise SettingsUnreadable("", str(problem)) from None
        if self._defaults is None:
            return None, chosen
        values = _plain(self._defaults)
        known = {name: value for name, value in chosen.items() if name in values}
        try:
            current: Any = msgspec.convert({**values, **known}, self._kind)
            return current, chosen
        except UNDECODABLE as problem:
            said = reason(problem)
            raise SettingsUnreadable(_field(said) or ", ".join(known), _without_path(said)) from None

    def take(self, read: tuple[Any, dict[str, Any]]) -> None:
        """Follow the leader, or the journal."""
        self._become(*read)

    def _become(self, current: Any, chosen: dict[str, Any]) -> None:
        self._chosen = chosen
        self._now = None
        if current != self.current:
            self.current = current
            self._show(current)


def _check(defaults: Any) -> None:
    kind = cast("type[Any]", type(defaults))
    if isinstance(defaults, type) or not isinstance(defaults, msgspec.Struct):
        said = defaults.__name__ if isinstance(defaults, type) else f"a {kind.__name__}"
        raise SettingsError(
            f"settings are {said}: expected an object of a msgspec.Struct, as in settings = Limits()"
        )
    config = kind.__struct_config__
    if not config.frozen:
        raise SettingsError(
            f"settings {kind.__name__} can be changed by the bot: write class {kind.__name__}(msgspec.Struct, "
            "frozen=True); what the bot changes itself is its state"
        )
    if config.array_like or config.tag is not None:
        raise SettingsError(
            f"settings {kind.__name__}: a plain msgspec.Struct is expected, no array and no tag"
        )
    if custom := not_plain(kind):
        raise SettingsError(
            f"settings {kind.__name__} hold a {custom}, which no operator can write: keep plain data"
        )
    try:
        again: Any = msgspec.convert(_plain(defaults), kind)
    except (*UNDECODABLE, TypeError, ValueError) as problem:
        raise SettingsError(
            f"settings {kind.__name__} do not fit their own type, or hold a value that is not plain data: {problem}"
        ) from None
    if again != defaults:
        raise SettingsError(f"settings {kind.__name__} are other ones when they have travelled: {again}")


def _plain(settings: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.to_builtins(settings, str_keys=True))


def _unknown(name: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), 1)
    return f"there is no setting {name!r}: " + (
        f"did you mean {near[0]}?" if near else f"this bot has {', '.join(known) or 'none'}"
    )


_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


def _field(said: str) -> str:
    """The setting that msgspec complains of, "" when it does not say."""
    found = _PATH.search(said)
    return re.split(r"[.\[]", found[1], maxsplit=1)[0] if found else ""


def _without_path(said: str) -> str:
    return _PATH.sub("", said)


def _said(said: str) -> str:
    found = _PATH.search(said)
    return f"setting {found[1]!r}: {_without_path(said)}" if found else said
