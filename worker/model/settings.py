"""Settings: values that an operator can change in a live bot without new code.

The bot's class declares the settings and their defaults, `settings = Limits()`: a frozen `msgspec.Struct`. The values
that operators set are kept beside it, by name, and are part of the state stream: they go from process to process and
are in the journal. So a new default in a release takes effect unless an operator has set another value, and a setting
unknown to a release is kept for the next release that knows it.

A change arrives as plain data and is validated whole against the bot's own type before the bot sees any of it.
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
"""The limit for all values that are set, in bytes: they are in each report."""


class SettingsError(NeverblinkError):
    """The declaration of the settings is invalid."""


class SettingsRefused(NeverblinkError):
    """The change does not fit the bot's type; nothing has changed."""


class SettingsUnreadable(StateUnreadable):
    """A value set by an operator does not fit this code's settings; `field` names the setting."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem, "")
        self.message = (
            f"setting {field!r}: {problem}: keep a type that can hold what is set now, or "
            f"`neverblink settings --reset {field}` before the deployment"
        )
        self.args = (self.message,)


class SettingsChange(msgspec.Struct, frozen=True):
    """A valid change: the settings before and after it, and all values set by operators after it."""

    old: Any
    new: Any
    chosen: dict[str, Any]
    changes: dict[str, dict[str, Any]]
    """By setting: its value before (`old`) and after (`new`), as plain data."""

    @property
    def answer(self) -> dict[str, Any]:
        """The answer to the operator."""
        values = _plain(self.new)
        chosen = [name for name in values if name in self.chosen]
        return {"changes": self.changes, "values": values, "chosen": chosen}

    @property
    def packed(self) -> bytes:
        """`chosen`, as it goes into a frame."""
        return msgspec.msgpack.encode(self.chosen)


class SettingsCell:
    """The settings of a bot whose class declares `defaults` (None: it has none).

    `show` is called with the new settings whenever they change. Raises `SettingsError` when `defaults` are no valid
    settings.
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
        """The values set by operators, encoded for a snapshot; empty when there are none."""
        return msgspec.msgpack.encode(self._chosen) if self._chosen else b""

    def now(self) -> SettingsNow | None:
        """The present values for the supervisor; None when the bot has no settings."""
        if self._defaults is not None and self._now is None:
            values = _plain(self.current)
            self._now = SettingsNow(values, tuple(name for name in values if name in self._chosen))
        return self._now

    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema, with the defaults of the bot's class; None when the bot has no settings."""
        if self._defaults is None:
            return None
        return schema_of(self._kind, _plain(self._defaults))

    # changes by an operator

    def plan(self, args: dict[str, Any], after: SettingsChange | None = None) -> SettingsChange:
        """Validate a change, whole: `set` (new values by name) and `reset` (names). Nothing is changed yet.

        `after` is an earlier change that is not in force yet. Raises `SettingsRefused`.
        """
        wanted: object = args.get("set", {})
        reset: object = args.get("reset", ())
        if not isinstance(wanted, dict) or not isinstance(reset, (list, tuple)):
            raise SettingsRefused("a change of settings is a map `set` and a list `reset`")
        wanted, names = cast("dict[Any, Any]", wanted), cast("Iterable[Any]", reset)
        if self._defaults is None:
            raise SettingsRefused(
                "this bot has no settings: its class declares none (settings = Limits(), a frozen msgspec.Struct)"
            )
        old = after.new if after is not None else self.current
        before, defaults = _plain(old), _plain(self._defaults)
        for name in (*wanted, *names):
            if name not in before:
                raise SettingsRefused(_unknown(name, before))
            if name in wanted and name in names:
                raise SettingsRefused(f"setting {name!r} is to be both set and reset: choose one")
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
            raise SettingsRefused(_with_setting(reason(problem))) from None
        if size > LARGEST:
            raise SettingsRefused(f"settings have at most {LARGEST} bytes: keep large values in the state")
        changes = {
            name: {"old": before[name], "new": values[name]}
            for name in values
            if values[name] != before[name] or name in wanted or name in names
        }
        return SettingsChange(old, new, chosen, changes)

    def adopt(self, change: SettingsChange) -> None:
        """Put the change into force."""
        self._become(change.new, change.chosen)

    def undo(self, change: SettingsChange, chosen: dict[str, Any]) -> None:
        """Restore the settings from before `change`, which the bot rejected, with the values `chosen` then."""
        self._become(change.old, chosen)

    @property
    def chosen(self) -> dict[str, Any]:
        """The values set by operators, by name, as plain data."""
        return self._chosen

    # changes from the state stream

    def read(self, packed: bytes) -> tuple[Any, dict[str, Any]]:
        """Decode the settings of a frame or a snapshot, for `take`. Raises `SettingsUnreadable`."""
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
            message = reason(problem)
            raise SettingsUnreadable(_field(message) or ", ".join(known), _without_path(message)) from None

    def take(self, read: tuple[Any, dict[str, Any]]) -> None:
        """Apply settings that `read` returned."""
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
        given = defaults.__name__ if isinstance(defaults, type) else f"a {kind.__name__}"
        raise SettingsError(
            f"settings are {given}: expected an object of a msgspec.Struct, as in settings = Limits()"
        )
    config = kind.__struct_config__
    if not config.frozen:
        raise SettingsError(
            f"settings {kind.__name__} can be changed by the bot: write class {kind.__name__}(msgspec.Struct, "
            "frozen=True); what the bot changes itself is its state"
        )
    if config.array_like or config.tag is not None:
        raise SettingsError(
            f"settings {kind.__name__}: expected a plain msgspec.Struct, without array_like and tag"
        )
    if custom := not_plain(kind):
        raise SettingsError(
            f"settings {kind.__name__} hold a {custom}, which an operator cannot type: use plain data"
        )
    try:
        again: Any = msgspec.convert(_plain(defaults), kind)
    except (*UNDECODABLE, TypeError, ValueError) as problem:
        raise SettingsError(
            f"settings {kind.__name__} do not fit their own type, or have a value that is not plain data: {problem}"
        ) from None
    if again != defaults:
        raise SettingsError(f"settings {kind.__name__} change when they are encoded and decoded: {again}")


def _plain(settings: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.to_builtins(settings, str_keys=True))


def _unknown(name: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), 1)
    return f"there is no setting {name!r}: " + (
        f"did you mean {near[0]}?" if near else f"this bot has {', '.join(known) or 'none'}"
    )


_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


def _field(message: str) -> str:
    """The setting that msgspec's message names, "" when it names none."""
    found = _PATH.search(message)
    return re.split(r"[.\[]", found[1], maxsplit=1)[0] if found else ""


def _without_path(message: str) -> str:
    return _PATH.sub("", message)


def _with_setting(message: str) -> str:
    found = _PATH.search(message)
    return f"setting {found[1]!r}: {_without_path(message)}" if found else message
