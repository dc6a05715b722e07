"""An ordinary asyncio program on neverblink: its `main` runs as long as the process leads.

    from neverblink.worker.adapters.asyncio_program import run

    positions: dict[str, float] = {}

    async def main(): ...                       # unchanged: it trades, and keeps its positions

    Bot = run(main, state=positions)            # instead of asyncio.run(main()); in neverblink.toml: bot = "bot:Bot"

`main` is started when a process comes to lead, and cancelled before another one does: no two of them run at the same
time. The object `state` is one of the program's own, such as a dict or a dataclass, which the program changes in place
at any time. It is copied into the bot's state with each tick, and once more when `main` has ended, so that a handoff
loses nothing. Before `main` starts in the next process, its object is filled with that copy. If a process is *killed*,
the next one has the object as it was at the last tick.

A handoff cancels `main` wherever it awaits. Code that must not be cut, such as from sending an order to noting it, goes
into `with uncut():`, as in `async with uncut(), session.post(…):`. The cancellation waits for the end of the block, up
to `yield_within`.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import inspect
import os
import types
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, Literal

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.window import Window
from ..model.handler_types import Event, InDoubt, Tick
from ..worker import Worker

__all__ = ["Program", "ProgramError", "run", "uncut"]


class ProgramError(NeverblinkError):
    """The program cannot be run like this; the message names the mend."""


class OpenBlocks:
    """How many `uncut` blocks of one run of `main` are open."""

    def __init__(self) -> None:
        self.count = 0
        self.none = asyncio.Event()
        self.none.set()


_blocks: ContextVar[OpenBlocks | None] = ContextVar("neverblink.uncut", default=None)


class uncut:
    """A block of `main`, or of a task that `main` started, that no handoff cancels: `with` or `async with uncut():`.

    In other code it does nothing.
    """

    def __init__(self) -> None:
        self._blocks = _blocks.get()

    def __enter__(self) -> None:
        if self._blocks is not None:
            self._blocks.count += 1
            self._blocks.none.clear()

    def __exit__(self, *_: object) -> None:
        blocks = self._blocks
        if blocks is not None:
            blocks.count -= 1
            if not blocks.count:
                blocks.none.set()

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


class Program(Worker[Any]):
    """The base of the bots that `run` returns."""

    main: ClassVar[Any] = None
    live: ClassVar[Any] = None
    """The program's own object, None if it has none."""
    when_ended: ClassVar[Literal["restart", "unhealthy"]] = "unhealthy"

    def on_start(self) -> None:
        self._process = os.urandom(8).hex()
        self.while_leading(self._run_main, name=self.main.__name__, on_end=self.when_ended)

    def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        if self.live is not None:
            _fill(self.live, copy.deepcopy(self.state.value))

    def on_tick(self, tick: Tick[Any]) -> None:
        self._save()

    def on_event(self, event: Event) -> None:
        # That of another process tells nothing: this one has begun from the state, and its object is ahead of it.
        if event.data == self._process:
            self._save()

    def on_stop(self) -> None:
        self._save()

    def _save(self) -> None:
        if self.live is not None:
            self.state.value = copy.deepcopy(self.live)

    async def _run_main(self) -> None:
        blocks = OpenBlocks()
        token = _blocks.set(blocks)
        task = asyncio.ensure_future(self.main())
        _blocks.reset(token)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # A second cancellation, as in a process that fails, does not wait.
            await blocks.none.wait()
            raise
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
                if not task.cancelled():
                    task.result()
            # The turn of this event comes before the handoff.
            self.inbox.put(os.urandom(8).hex(), self._process)


def run(
    main: Callable[[], Coroutine[Any, Any, Any]],
    *,
    state: Any = None,
    hint: Any = None,
    tick: str = "1s",
    windows: Sequence[Window] = (),
    on_end: Literal["restart", "unhealthy"] = "unhealthy",
    yield_within: str = "5s",
) -> type[Program]:
    """Return the bot that runs `main()` as long as it leads. Raises `ProgramError`.

    `state` is the program's own object that goes from process to process. `hint` is its type, such as
    `dict[str, Position]`, so that its values come back as what they were; without one, the class of the object. `tick`
    is how often it is copied. `on_end` says what happens if `main` ends by itself; see `Worker.while_leading`.
    """
    if not inspect.iscoroutinefunction(main):
        raise ProgramError(f"run() got {main!r}: expected the coroutine function itself, as in run(main)")
    if state is not None and not _fillable(state):
        raise ProgramError(
            f"state is a {type(state).__name__}, which cannot be filled in place: use a dict, a list, a set, a "
            "dataclass or another object with attributes"
        )
    first = copy.deepcopy(state)
    kind: Any = hint if hint is not None else first.__class__
    fields: list[tuple[str, Any, Any]] = [
        ("value", kind, msgspec.field(default_factory=lambda: copy.deepcopy(first)))
    ]
    saved = msgspec.defstruct("Saved", fields, module=main.__module__)
    attributes = {
        "__module__": main.__module__,
        "main": staticmethod(main),
        "live": state,
        "tick": tick,
        "windows": tuple(windows),
        "when_ended": on_end,
        "yield_within": yield_within,
    }
    return types.new_class(
        main.__name__, (Program, Worker[saved]), exec_body=lambda names: names.update(attributes)
    )


def _fillable(value: Any) -> bool:
    return isinstance(value, dict | list | set) or hasattr(value, "__dict__") or _names(value) is not None


def _names(value: Any) -> list[str] | None:
    """The fields of a dataclass or a Struct."""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return list(value.__struct_fields__) if isinstance(value, msgspec.Struct) else None


def _fill(live: Any, value: Any) -> None:
    """Make `live` equal to `value`, in place."""
    copied: Any = value
    if live.__class__ is not value.__class__ and not isinstance(value, dict | list | set):
        raise ProgramError(
            f"state is a {type(live).__name__}, and the copy of it a {type(value).__name__}: name its type with hint="
        )
    if isinstance(live, dict | set):
        live.clear()
        live.update(value)  # pyright: ignore[reportUnknownMemberType]
    elif isinstance(live, list):
        live[:] = value
    else:
        for name in _names(live) or list(vars(value)):
            setattr(live, name, getattr(copied, name))
