"""Decisions: spans of code that a handoff must not cut, from deciding to having recorded the outcome.

While a decision is open no handoff happens. Its record is in the journal before the body runs, so that after a crash in
the middle the successor learns of it. Its id never repeats and is known before the body acts, so it can serve as an
exchange's client order id: epoch, tick and ordinal, in the characters that exchanges accept.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.journal import Opened
from ...protocol.text import is_encodable
from ...protocol.wire import NOT_ENCODABLE

__all__ = ["Decision", "DecisionError", "NotLeading"]


class NotLeading(NeverblinkError):
    """This process does not lead, so it may not decide."""

    def __init__(self, name: str, role: str) -> None:
        super().__init__(
            f"decision {name!r}: this process does not lead (it is {role}); "
            "decide only in a tick, an event, a timer or a command"
        )
        self.name = name
        self.role = role


class DecisionError(NeverblinkError):
    """The decision cannot be recorded."""


class Recorder(Protocol):
    """Records decisions; implemented by the engine."""

    def open_decision(self, name: str, args: dict[str, Any]) -> Opened: ...
    def close_decision(self, opened: Opened, outcome: str) -> None: ...


class Decision:
    """A context manager, for `with` and `async with`; made by `Worker.decision`."""

    def __init__(self, recorder: Recorder, name: str, args: dict[str, Any]) -> None:
        self._recorder = recorder
        self._name = name
        self._args = args
        self._opened: Opened | None = None

    @property
    def id(self) -> str:
        """Unique and stable: epoch, tick and ordinal, at most 32 characters of `0-9`, `a-z` and `-`."""
        if self._opened is None:
            raise DecisionError(
                f"decision {self._name!r} has no id before it is entered: use it in a with statement"
            )
        return self._opened.id

    def __enter__(self) -> Decision:
        if self._opened is not None:
            raise DecisionError(f"decision {self._name!r} was entered twice: make a new one for each")
        self._opened = self._recorder.open_decision(self._name, self._args)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._opened is not None
        self._recorder.close_decision(
            self._opened, "done" if error is None else f"raised {type(error).__name__}"
        )

    async def __aenter__(self) -> Decision:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


_encoder = msgspec.msgpack.Encoder()


def encodable(name: str, args: dict[str, Any]) -> dict[str, Any]:
    """Return `args` as it will be read from the journal; raise `DecisionError` when it cannot be written."""
    if type(name) is not str:
        raise DecisionError(f"decision {name!r}: a name is a str")
    if not is_encodable(name):
        raise DecisionError(f"decision {name!r}: a name must be UTF-8")
    try:
        return msgspec.msgpack.decode(_encoder.encode(args))
    except (*NOT_ENCODABLE, msgspec.MsgspecError) as problem:
        raise DecisionError(
            f"decision {name!r}: its arguments cannot be recorded ({problem}); pass data that msgspec can encode"
        ) from None
