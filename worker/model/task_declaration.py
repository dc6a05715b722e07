"""What a bot declares with `while_leading`: a coroutine function or a plain function, and its name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args

from ...protocol.errors import NeverblinkError
from ...protocol.text import clean

__all__ = ["OnEnd", "TaskDeclaration", "TaskError", "declare"]

OnEnd = Literal["restart", "unhealthy"]

_LONGEST_NAME = 100


class TaskError(NeverblinkError):
    """`while_leading` was called with something that cannot run, or in the wrong place."""


class TaskDeclaration:
    """A task or thread that runs as long as the process leads. `thread`: it is a plain function."""

    def __init__(
        self, name: str, target: Callable[..., Any], args: tuple[Any, ...], on_end: OnEnd, *, thread: bool
    ) -> None:
        self.name = name
        self.target = target
        self.args = args
        self.on_end: OnEnd = on_end
        self.thread = thread

    @property
    def kind(self) -> str:
        return "thread" if self.thread else "task"

    def same(self, other: TaskDeclaration) -> bool:
        """Whether `other` runs the same function with equal arguments."""
        try:
            return bool(
                self.target == other.target and self.args == other.args and self.on_end == other.on_end
            )
        except Exception:
            # Arguments such as arrays have no simple equality.
            return False


def declare(target: Any, args: tuple[Any, ...], name: str, on_end: Any) -> TaskDeclaration:
    """Check the arguments of `while_leading`. Raises `TaskError`, which names the mend."""
    if inspect.iscoroutine(target) or inspect.isasyncgen(target):
        target.close() if inspect.iscoroutine(target) else None
        raise TaskError(
            f"while_leading got {_called(target)}, which has been called already: pass the function itself and its "
            "arguments, as in while_leading(self.reader, 'BTC'), because it is called again each time this process "
            "comes to lead"
        )
    if not callable(target):
        raise TaskError(
            f"while_leading got {_short(target)}: expected a coroutine function, which runs as a task, or a plain "
            "function, which runs as a thread"
        )
    name = _checked_name(name or _name_of(target))
    function = _function(target)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TaskError(
            f"while_leading({name}) is a generator: nothing would take what it yields. Pass a coroutine function that "
            "iterates over it"
        )
    if on_end not in get_args(OnEnd):
        raise TaskError(f'while_leading({name}) has on_end={on_end!r}: expected "restart" or "unhealthy"')
    thread = not inspect.iscoroutinefunction(function)
    _check_arguments(target, args, name, thread=thread)
    return TaskDeclaration(name, target, args, on_end, thread=thread)


def _check_arguments(target: Any, args: tuple[Any, ...], name: str, *, thread: bool) -> None:
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        # Functions of C code may have none.
        return
    try:
        signature.bind(*((None,) if thread else ()), *args)
    except TypeError as problem:
        what = (
            "a plain function runs as a thread, and its first argument is a threading.Event that is set when it has "
            "to end"
            if thread
            else "a coroutine function gets the arguments that while_leading got"
        )
        raise TaskError(f"while_leading({name}) cannot be called ({problem}): {what}") from None


def _function(target: Any) -> Any:
    while isinstance(target, functools.partial):
        target = target.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if inspect.isroutine(target) or isinstance(target, type):
        return target  # pyright: ignore[reportUnknownVariableType]
    return type(target).__call__  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


def _name_of(target: Any) -> str:
    while isinstance(target, functools.partial):
        target = target.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    name = getattr(target, "__name__", "") or type(target).__name__  # pyright: ignore[reportUnknownArgumentType]
    if name == "<lambda>":
        raise TaskError('while_leading got a lambda: give it a name, as in while_leading(…, name="reader")')
    return str(name)


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or name != clean(name).strip() or len(name) > _LONGEST_NAME or "\n" in name:
        raise TaskError(
            f"while_leading has name={_short(name)}: expected a text of at most {_LONGEST_NAME} characters in one line"
        )
    return name


def _called(target: Any) -> str:
    return f"{getattr(target, '__qualname__', type(target).__name__)}()"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
