"""Decisions: recorded before their body, closed after it, whatever the body does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from neverblink.protocol.errors import NeverblinkError
from neverblink.protocol.journal import Opened
from neverblink.worker.model.decision import Decision, DecisionError, NotLeading, encodable


class Book:
    """Records calls in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.leads = True

    def open_decision(self, name: str, args: dict[str, Any]) -> Opened:
        if not self.leads:
            raise NotLeading(name, "following")
        self.calls.append(f"opened {name} {args}")
        return Opened(f"3-17-{len(self.calls)}", 3, 17, name, args, 0)

    def close_decision(self, opened: Opened, outcome: str) -> None:
        self.calls.append(f"closed {opened.id} {outcome}")


@pytest.fixture
def book() -> Book:
    return Book()


def test_a_decision_is_recorded_before_its_body_runs_and_closed_after_it(book: Book) -> None:
    with Decision(book, "enter", {"market": "BTC"}) as decision:
        assert book.calls == ["opened enter {'market': 'BTC'}"]
        assert decision.id == "3-17-1"
    assert book.calls[1:] == ["closed 3-17-1 done"]
    assert decision.id == "3-17-1"


def test_a_decision_works_in_coroutines_too(book: Book) -> None:
    async def decide() -> None:
        async with Decision(book, "enter", {}) as decision:
            assert decision.id == "3-17-1"

    asyncio.run(decide())
    assert book.calls[-1] == "closed 3-17-1 done"


def test_an_exception_of_the_body_is_recorded_as_outcome_and_raised(book: Book) -> None:
    with pytest.raises(ZeroDivisionError), Decision(book, "enter", {}):
        _ = 1 / 0
    assert book.calls[-1] == "closed 3-17-1 raised ZeroDivisionError"


def test_a_decision_whose_body_is_cancelled_is_closed(book: Book) -> None:
    async def decide() -> None:
        async with Decision(book, "enter", {}):
            await asyncio.Event().wait()

    async def cancel() -> None:
        task = asyncio.create_task(decide())
        await asyncio.sleep(0)
        assert book.calls == ["opened enter {}"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert book.calls[-1] == "closed 3-17-1 raised CancelledError"


def test_decisions_may_be_nested(book: Book) -> None:
    with Decision(book, "outer", {}) as outer, Decision(book, "inner", {}) as inner:
        assert outer.id != inner.id
    assert [line.split()[1] for line in book.calls] == ["outer", "inner", inner.id, outer.id]


def test_without_the_lease_a_decision_cannot_be_opened(book: Book) -> None:
    book.leads = False
    entered = False
    with pytest.raises(NotLeading, match="decide only in a tick") as caught, Decision(book, "enter", {}):
        entered = True
    assert not entered
    assert book.calls == []
    assert (caught.value.name, caught.value.role) == ("enter", "following")
    assert isinstance(caught.value, NeverblinkError)


def test_misuse_of_a_decision_raises_an_error_that_says_how_to_use_it(book: Book) -> None:
    decision = Decision(book, "enter", {})
    with pytest.raises(DecisionError, match="no id before it is entered"):
        _ = decision.id
    with decision:
        pass
    with pytest.raises(DecisionError, match="entered twice"), decision:
        pass
    assert len(book.calls) == 2


def test_arguments_are_kept_as_they_are_read_from_the_journal() -> None:
    assert encodable("enter", {"legs": (1, 2), "pct": 2.5, "tags": frozenset({"a"})}) == {
        "legs": [1, 2],
        "pct": 2.5,
        "tags": ["a"],
    }


def _endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    "value", [object(), 2**70, "\ud800", _endless()], ids=["object", "big", "text", "endless"]
)
def test_arguments_that_cannot_be_recorded_are_refused_before_the_body_runs(value: Any) -> None:
    with pytest.raises(DecisionError, match="decision 'enter': its arguments cannot be recorded"):
        encodable("enter", {"x": value})


def test_a_name_that_is_not_a_string_or_empty_is_refused() -> None:
    name: Any = 7
    with pytest.raises(DecisionError, match="a name is a str"):
        encodable(name, {})
