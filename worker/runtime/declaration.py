"""Checks what a bot declares before it runs: interval, windows, settings, commands and state."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from ...protocol import duration
from ...protocol.errors import NeverblinkError
from ...protocol.grid import Policy
from ...protocol.link import Offers
from ...protocol.window import Window
from ..codecs.codec import Codec, CodecError
from ..codecs.type_hooks import TypeHooks
from ..model.commands import Declared
from ..model.inbox_bound import MOST_BYTES, InboxBound, WhenFull
from ..model.settings import SettingsCell, SettingsError

__all__ = [
    "HEARTBEAT",
    "BotError",
    "codecs_of",
    "event_coding_of",
    "inbox_bound_of",
    "interval_of",
    "modules_of",
    "offers_of",
    "overrun_of",
    "settings_of",
    "span_of",
    "state_home",
    "windows_of",
]


HEARTBEAT = "1s"
"""The default of `heartbeat`."""
_HEARTBEATS = (10_000_000, 60_000_000_000)


class BotError(NeverblinkError):
    """A bot that cannot run as it is written."""


def state_home(state_type: Any) -> tuple[type, ...]:
    """Return the classes whose modules may have a state's migrations: its class, unless it is a dict or list."""
    plain = typing.get_origin(state_type) or state_type
    return (plain,) if isinstance(plain, type) and plain.__module__ != "builtins" else ()


def modules_of(*classes: type) -> tuple[str, ...]:
    """The modules of these classes and of what they inherit from, without neverblink's own and Python's."""
    others = {__name__.partition(".")[0], "builtins", "typing", "msgspec"}
    inherited = [base.__module__ for cls in classes for base in cls.__mro__]
    return tuple(dict.fromkeys(name for name in inherited if name.partition(".")[0] not in others))


def interval_of(name: str, tick: Any, heartbeat: Any = HEARTBEAT) -> int:
    """The interval of a bot's ticks, or with `tick` None of its heartbeats, ns. Raises `BotError`."""
    if tick is None:
        interval = span_of(name, "heartbeat", heartbeat)
        if not _HEARTBEATS[0] <= interval <= _HEARTBEATS[1]:
            raise BotError(f'bot {name}: heartbeat = {heartbeat!r}: expected a duration from "10ms" to "1m"')
        return interval
    if heartbeat != HEARTBEAT:
        raise BotError(
            f"bot {name}: heartbeat = {heartbeat!r}: only a bot without ticks has heartbeats: write tick = None, or "
            "leave heartbeat out"
        )
    interval = span_of(name, "tick", tick)
    if interval < 100_000:
        raise BotError(
            f'bot {name}: tick = {tick!r}: expected a duration of at least "100us", such as "1s", or None for a bot '
            "that only events and timers call"
        )
    return interval


def span_of(name: str, attribute: str, value: object) -> int:
    """A duration that a bot declares, ns; not negative. Raises `BotError`."""
    try:
        span = duration.of(value)
    except duration.DurationError as problem:
        raise BotError(f"bot {name}: {attribute} = {problem.message}") from None
    if span < 0:
        raise BotError(f"bot {name}: {attribute} = {value!r}: expected a duration without a minus")
    return span


def windows_of(name: str, windows: Any) -> tuple[Window, ...]:
    """The windows of a bot. Raises `BotError`."""
    if not isinstance(windows, (list, tuple)):
        raise BotError(f"bot {name}: windows is a {type(windows).__name__}: expected a list of Window")
    found: list[Window] = []
    for window in typing.cast("Sequence[object]", windows):
        if not isinstance(window, Window):
            raise BotError(
                f'bot {name}: windows holds {window!r}: expected Window("5m", opens="-20s", closes="-5s")'
            )
        found.append(window)
    return tuple(found)


def overrun_of(name: str, overrun: Any, tick: Any) -> Policy:
    """Return the bot's overrun policy. Raises `BotError`."""
    if overrun not in ("skip", "catch-up"):
        raise BotError(f'bot {name}: overrun = {overrun!r}: expected "skip" or "catch-up"')
    if tick is None and overrun != "skip":
        raise BotError(
            f"bot {name}: overrun = {overrun!r}: a bot with tick = None has no ticks to catch up on: leave overrun out"
        )
    return overrun


def inbox_bound_of(name: str, bound: Any) -> InboxBound:
    """The bound of a bot's inbox. Raises `BotError`."""
    if not isinstance(bound, InboxBound):
        raise BotError(
            f'bot {name}: inbox_bound is a {type(bound).__name__}: expected InboxBound(events=50_000, bytes="16MiB")'
        )
    if type(bound.events) is not int or bound.events < 1:
        raise BotError(
            f"bot {name}: inbox_bound: events={bound.events!r}: expected a whole number of at least 1"
        )
    if bound.when_full not in get_args(WhenFull):
        raise BotError(
            f"bot {name}: inbox_bound: when_full={bound.when_full!r}: expected one of {', '.join(get_args(WhenFull))}"
        )
    try:
        largest = bound.size
    except NeverblinkError as problem:
        raise BotError(f"bot {name}: inbox_bound: bytes={bound.bytes!r}: {problem}") from None
    if type(largest) is not int or not 1 <= largest <= MOST_BYTES:
        raise BotError(f"bot {name}: inbox_bound: bytes={bound.bytes!r}: expected a size of up to 48MiB")
    return bound


def event_coding_of(
    name: str, event_type: Any, codecs: Sequence[Codec[Any]]
) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """How the data of the bot's events is encoded and decoded. Raises `BotError`."""
    hint = Any if event_type is None else event_type
    try:
        hooks = TypeHooks(hint, codecs)
        return hooks.encode, hooks.decoder(hint)
    except CodecError as problem:
        raise BotError(f"bot {name}: event_type {_type_name(hint)}: {problem.message}") from None
    except (TypeError, NameError) as problem:
        raise BotError(f"bot {name}: event_type {_type_name(hint)} cannot be decoded: {problem}") from None


def _type_name(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint)


def codecs_of(name: str, codecs: Any) -> tuple[Codec[Any], ...]:
    """The codecs of a bot. Raises `BotError`."""
    if not isinstance(codecs, (list, tuple)):
        raise BotError(f"bot {name}: codecs is a {type(codecs).__name__}: expected a list of Codec")
    found: dict[type[Any], Codec[Any]] = {}
    for codec in typing.cast("Sequence[object]", codecs):
        if not isinstance(codec, Codec):
            raise BotError(
                f"bot {name}: codecs holds {codec!r}: expected Codec(River, encode, decode), or pickled(River)"
            )
        known = typing.cast("Codec[Any]", codec)
        if known.type in found:
            raise BotError(f"bot {name}: codecs has two for {known.type.__name__}: remove one")
        found[known.type] = known
    return tuple(found.values())


def settings_of(name: str, defaults: Any, show: Callable[[Any], None] = lambda _: None) -> SettingsCell:
    """The settings of a bot. Raises `BotError`."""
    try:
        return SettingsCell(defaults, show)
    except SettingsError as problem:
        raise BotError(f"bot {name}: {problem.message}") from None


def offers_of(commands: Mapping[str, Declared], settings: SettingsCell, halts: bool, listens: bool) -> Offers:
    """Return the commands and settings that a bot has for operators."""
    offered = tuple(commands[name].offered for name in sorted(commands))
    return Offers(offered, settings.schema(), halts, listens, state=True)
