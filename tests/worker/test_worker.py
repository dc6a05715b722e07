"""Worker: a class that cannot run is refused when it is read, in one line that names the mend."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
import pytest

from neverblink.worker import Table, Window, Worker, migration
from neverblink.worker.model.cells import RowTypeError, StateTypeError
from neverblink.worker.model.migration import MigrationError
from neverblink.worker.runtime.declaration import BotError
from neverblink.worker.worker import WorkerBot

MILLISECOND = 1_000_000


class Book(msgspec.Struct):
    count: int = 0


class Plain(Worker[Book]):
    pass


def bot(**attributes: Any) -> WorkerBot:
    return WorkerBot(type("Foresight", (Plain,), attributes))


@pytest.mark.parametrize(
    ("tick", "interval"),
    [
        ("1s", 1000 * MILLISECOND),
        ("250ms", 250 * MILLISECOND),
        ("100us", 100_000),
        ("1h30m", 5_400_000 * MILLISECOND),
    ],
)
def test_a_tick_is_a_duration(tick: str, interval: int) -> None:
    assert bot(tick=tick).interval == interval


@pytest.mark.parametrize("tick", ["99us", "0s", "-1s", "1", "", "soon", 1, 0.5])
def test_an_invalid_tick_is_refused(tick: Any) -> None:
    with pytest.raises(BotError, match="bot Foresight: tick = "):
        bot(tick=tick)


@pytest.mark.parametrize("windows", [Window("5m", opens="0s", closes="1s"), "5m", 5, None, ["5m"], [None]])
def test_invalid_windows_are_refused(windows: Any) -> None:
    with pytest.raises(BotError, match="bot Foresight: windows"):
        bot(windows=windows)


@pytest.mark.parametrize("overrun", ["catchup", "SKIP", "", None, True])
def test_an_invalid_overrun_policy_is_refused(overrun: Any) -> None:
    with pytest.raises(BotError, match='expected "skip" or "catch-up"'):
        bot(overrun=overrun)


def test_how_long_keys_are_remembered_is_a_duration() -> None:
    assert bot(remember=10, remember_for="1h").remember == (10, 3_600_000 * MILLISECOND)
    for wrong, shown in (("for ever", '"for ever"'), (3600, "3600"), (None, "None")):
        with pytest.raises(BotError, match=f"bot Foresight: remember_for = {shown} is not a duration"):
            bot(remember_for=wrong)
    with pytest.raises(BotError, match="expected a duration without a minus"):
        bot(remember_for="-1h")


def test_a_bot_without_a_state_type_is_refused() -> None:
    class Stateless(Worker):  # pyright: ignore[reportMissingTypeArgument]
        pass

    with pytest.raises(
        BotError, match=r"Stateless does not say what its state is: write class Stateless\(Worker\[Book\]\)"
    ):
        WorkerBot(Stateless)


def test_the_state_type_is_found_through_base_classes() -> None:
    S = TypeVar("S")

    class Base(Worker[S], Generic[S]):
        pass

    class Middle(Base[Book]):
        pass

    class Bot(Middle):
        pass

    assert WorkerBot(Middle).state_type is Book
    assert WorkerBot(Bot).state_type is Book
    with pytest.raises(BotError, match="does not say what its state is"):
        WorkerBot(Base)


def test_a_frozen_state_is_refused() -> None:
    class Frozen(msgspec.Struct, frozen=True):
        count: int = 0

    class Bot(Worker[Frozen]):
        pass

    with pytest.raises(StateTypeError, match="Frozen is frozen"):
        WorkerBot(Bot).cells()


def test_a_table_whose_rows_can_change_is_refused() -> None:
    with pytest.raises(RowTypeError, match="table rows: row type Book"):
        WorkerBot(_Tabled).cells()


class _Rows(msgspec.Struct):
    rows: Table[str, Book] = msgspec.field(default_factory=Table)


class _Tabled(Worker[_Rows]):
    pass


def test_migrations_are_found_in_the_class_and_two_of_one_step_are_refused() -> None:
    class One(Worker[Book]):
        schema = 2

        @staticmethod
        @migration(1, 2)
        def up(root: Any) -> Any:
            return root

    assert WorkerBot(One).migrations.path(1, 2) == (1, 2)

    class Two(One):
        @staticmethod
        @migration(1, 2)
        def also_up(root: Any) -> Any:
            return root

    with pytest.raises(MigrationError, match="both migrate the root from schema 1 to 2: keep one"):
        WorkerBot(Two)


def test_a_bot_that_is_not_running_raises_how_to_run_it() -> None:
    class Bot(Worker[Book]):
        pass

    worker = Bot()
    uses: list[Any] = [
        lambda: worker.state,
        lambda: worker.inbox,
        lambda: worker.paused,
        lambda: worker.leading,
        lambda: worker.decision("enter"),
        lambda: worker.set_timer("exit", after="1s"),
        lambda: worker.cancel_timer("exit"),
    ]
    for use in uses:
        with pytest.raises(
            BotError, match=r"Bot is not running: start it with `neverblink up`, or Bot.run\(\)"
        ):
            use()
