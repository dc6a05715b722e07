"""command: the bot's own commands, with typed arguments.

    class Foresight(Worker[Book]):
        @command
        def close(self, market: str, part: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0) -> float:
            "Sell what is held in a market, or a part of it."

An operator runs `neverblink send close market=BTC part=0.5`. The arguments are validated against the annotations before
the method runs, like any command in a turn of its own; its result or exception is shown. `neverblink commands` lists
the declared commands. Other commands go to `on_command`, as plain data.
"""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.link import OWN_COMMANDS, Offered
from ...protocol.wire import UNDECODABLE, reason
from .json_schema import not_plain, schema_of

__all__ = ["CommandError", "CommandRefused", "Declared", "command", "declared_in", "unknown"]

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "_neverblink_command"


class CommandError(NeverblinkError):
    """The declaration of a command is invalid."""


class CommandRefused(NeverblinkError):
    """The arguments do not fit the declaration; the command has not run."""


def command(method: F) -> F:
    """Make a method a command that operators can send, under its name; its docstring's first line is the help.

    Every parameter needs an annotation, of a type that msgspec can make from plain data. A parameter with a default is
    optional.
    """
    setattr(method, _MARK, True)
    return method


class Declared:
    """One command that a bot declares. Raises `CommandError` when its signature cannot be validated."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        parameters = inspect.signature(function).parameters.values()
        self._defaults = {
            parameter.name: parameter.default
            for parameter in parameters
            if parameter.default is not parameter.empty
        }
        self.name = name
        self.help = next(iter((inspect.getdoc(function) or "").splitlines()), "")
        self._arguments = _arguments(name, function)

    @property
    def offered(self) -> Offered:
        """Its description for operators."""
        defaults = msgspec.to_builtins(self._defaults, str_keys=True, enc_hook=repr)
        return Offered(self.name, self.help, schema_of(self._arguments, defaults))

    def read(self, args: dict[str, Any]) -> dict[str, Any]:
        """Convert plain arguments to the types of the method. Raises `CommandRefused`."""
        try:
            found = msgspec.convert(args, self._arguments)
        except UNDECODABLE as problem:
            message = reason(problem).replace("Object ", "", 1).replace("- at `$.", "- at `")
            wants = ", ".join(self._arguments.__struct_fields__) or "no arguments"
            raise CommandRefused(f"{self.name}: {message} ({self.name} takes {wants})") from None
        return {name: getattr(found, name) for name in self._arguments.__struct_fields__}


def declared_in(cls: type) -> dict[str, Declared]:
    """The commands that a class and its bases declare, by name. Raises `CommandError`."""
    found: dict[str, Declared] = {}
    for name in dir(cls):
        function = inspect.getattr_static(cls, name)
        if inspect.isfunction(function) and getattr(function, _MARK, False):
            found[name] = Declared(name, function)
    return found


def unknown(name: str, known: Mapping[str, Declared]) -> str:
    """The error message for an unknown command."""
    near = difflib.get_close_matches(name, list(known), 1)
    if near:
        return f"this bot has no command {name!r}: did you mean {near[0]}?"
    return f"this bot has no command {name!r}: " + (
        f"it knows {', '.join(sorted(known))}" if known else "it declares none, and has no on_command"
    )


def _arguments(name: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    if name in OWN_COMMANDS:
        raise CommandError(f"command {name}: the name is one of neverblink's own commands: choose another")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as problem:
        raise CommandError(
            f"command {name}: {problem}: define its types at the top of their module"
        ) from None
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise CommandError(
                f"command {name}: its parameter {parameter} cannot be passed by name: write out each parameter"
            )
        if parameter.name not in hints:
            raise CommandError(
                f"command {name}: its parameter {parameter.name} has no annotation: write {parameter.name}: float, "
                "or the type that it has"
            )
        hint = hints[parameter.name]
        if parameter.default is parameter.empty:
            fields.append((parameter.name, hint))
        else:
            default = parameter.default
            fields.append(
                (parameter.name, hint, msgspec.field(default_factory=lambda default=default: default))
            )
    try:
        arguments = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
        custom = not_plain(arguments)
    except TypeError as problem:
        raise CommandError(f"command {name}: {problem}") from None
    if custom:
        raise CommandError(
            f"command {name}: it takes a {custom}, which an operator cannot type: take plain data"
        )
    return arguments
