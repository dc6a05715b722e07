"""Settings: validated before the bot sees them, and carried to each next process."""

from __future__ import annotations

from typing import Annotated, Any, cast

import msgspec
import pytest

from neverblink.worker import Worker
from neverblink.worker.model.settings import (
    SettingsCell,
    SettingsError,
    SettingsRefused,
    SettingsUnreadable,
)
from neverblink.worker.runtime.declaration import BotError
from neverblink.worker.testing import CommandFailed, HandoverFailed, Simulation
from neverblink.worker.worker import WorkerBot


class Limits(msgspec.Struct, frozen=True):
    max_position: Annotated[int, msgspec.Meta(ge=0, le=100)] = 5
    pct: float = 0.5
    mode: str = "slow"

    def __post_init__(self) -> None:
        if self.mode == "fast" and self.pct > 0.9:
            raise ValueError("fast and more than 0.9 is too much")


class Book(msgspec.Struct):
    ticks: int = 0
    seen: list[tuple[int, int]] = []


class Limited(Worker[Book]):
    settings = Limits(max_position=3)

    def on_tick(self, tick: Any) -> None:
        self.state.ticks += 1

    def on_settings(self, old: Limits, new: Limits) -> None:
        if new.max_position == 13:
            raise ValueError("not thirteen")
        self.state.seen.append((old.max_position, new.max_position))


def test_settings_have_the_classes_defaults_until_an_operator_sets_them() -> None:
    with Simulation(Limited) as bot:
        assert bot.settings == Limits(max_position=3)
        bot.set(max_position=4, pct=1)
        assert bot.settings == Limits(4, 1.0)
        assert cast("Any", bot.leader).settings is bot.settings
        assert bot.state.seen == [(3, 4)]
        bot.reset("max_position")
        assert bot.settings == Limits(3, 1.0)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"max_position": "7"}, r"setting 'max_position': expected a whole number, got text"),
        ({"max_position": 101}, r"setting 'max_position': Expected `int` <= 100"),
        ({"max_posiiton": 7}, r"there is no setting 'max_posiiton': did you mean max_position\?"),
        ({"colour": 7}, r"there is no setting 'colour': this bot has max_position, pct, mode"),
        ({"mode": "fast", "pct": 0.95}, "too much"),
        ({"mode": "fast", "max_position": None}, r"expected a whole number, got null"),
    ],
)
def test_a_change_of_settings_that_does_not_fit_is_refused_whole_before_the_bot_sees_it(
    values: dict[str, Any], why: str
) -> None:
    with Simulation(Limited) as bot:
        bot.set(pct=0.25)
        with pytest.raises(CommandFailed, match=why):
            bot.set(**values)
        assert bot.settings == Limits(3, 0.25)
        assert bot.state.seen == [(3, 3)]
        bot.ticks(1)


def test_the_bot_can_refuse_a_change_of_settings_by_raising() -> None:
    with Simulation(Limited) as bot:
        bot.set(pct=0.25)
        with pytest.raises(CommandFailed, match="not thirteen"):
            bot.set(max_position=13, pct=0.75)
        assert bot.settings == Limits(3, 0.25)
        bot.stand_by()
        bot.crash()
        assert bot.settings == Limits(3, 0.25)


def test_settings_survive_handoffs_failovers_and_rollbacks() -> None:
    class New(Limited):
        settings = Limits(max_position=50, pct=0.75)

    with Simulation(Limited) as bot:
        bot.set(max_position=4)
        assert bot.hand_over(New) == "newest"
        # Settings that no operator has set have the new code's defaults.
        assert bot.settings == Limits(4, 0.75)
        bot.set(mode="other")
        assert cast("Any", bot.follower).settings == Limits(4, 0.5, "other")
        bot.roll_back()
        assert bot.settings == Limits(4, 0.5, "other")
        bot.stand_by()
        bot.ticks(1)
        bot.crash()
        bot.ticks(1)
        assert bot.settings == Limits(4, 0.5, "other")


def test_a_change_of_settings_is_in_the_frame_of_its_turn_and_in_the_snapshot() -> None:
    with Simulation(Limited) as bot:
        bot.ticks(1)
        bot.set(max_position=4)
        bot.ticks(1)
        values = [frame.settings for frame in bot.frames]
        assert [msgspec.msgpack.decode(value) for value in values if value is not None] == [
            {"max_position": 4}
        ]


def test_a_setting_unknown_to_the_new_code_is_kept_for_the_old_code() -> None:
    class Fewer(msgspec.Struct, frozen=True):
        pct: float = 0.1

    class New(Worker[Book]):
        settings = Fewer()

    class Bare(Worker[Book]):
        pass

    with Simulation(Limited) as bot:
        bot.set(max_position=4)
        bot.hand_over(New)
        assert bot.settings == Fewer()
        bot.set(pct=0.2)
        bot.hand_over(Bare)
        with pytest.raises(CommandFailed, match="this bot has no settings"):
            bot.set(pct=0.2)
        bot.hand_over(Limited)
        assert bot.settings == Limits(4, 0.2)


def test_code_whose_settings_cannot_hold_a_set_value_is_refused_in_the_rehearsal() -> None:
    class Words(msgspec.Struct, frozen=True):
        max_position: str = "many"

    class New(Worker[Book]):
        settings = Words()

    with Simulation(Limited) as bot:
        # Nothing is set, so every type fits.
        bot.hand_over(New)
        bot.roll_back()
        bot.set(max_position=4)
        with pytest.raises(
            HandoverFailed, match=r"setting 'max_position': expected text, got a whole number: keep a type"
        ):
            bot.hand_over(New)
        bot.ticks(1)
        assert bot.settings == Limits(4)


def test_an_old_worker_that_cannot_read_a_new_setting_keeps_the_state_of_the_handoff() -> None:
    class Wide(msgspec.Struct, frozen=True):
        max_position: int | str = 3

    class New(Worker[Book]):
        settings = Wide()

    with Simulation(Limited) as bot:
        bot.set(max_position=4)
        bot.hand_over(New)
        bot.set(max_position="many")
        bot.ticks(1)
        bot.roll_back()
        assert bot.settings == Limits(4)
        bot.stand_by()
        bot.crash()
        assert bot.settings == Limits(4)


class Open(msgspec.Struct):
    x: int = 1


class Tagged(msgspec.Struct, frozen=True, tag="x"):
    x: int = 1


class Holds(msgspec.Struct, frozen=True):
    x: int = "one"  # pyright: ignore[reportAssignmentType]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (Limits, "settings are Limits: expected an object"),
        ({"x": 1}, "settings are a dict: expected an object"),
        (Open(), r"write class Open\(msgspec.Struct, frozen=True\)"),
        (Tagged(), "expected a plain msgspec.Struct"),
        (Holds(), "do not fit their own type"),
    ],
)
def test_invalid_settings_are_refused_when_the_class_is_read(bad: Any, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        SettingsCell(bad)

    class Bad(Worker[Book]):
        settings = bad

    with pytest.raises(BotError, match=f"bot Bad: .*{why}"):
        WorkerBot(Bad)


def test_a_worker_reports_a_json_schema_of_its_settings() -> None:
    offers = WorkerBot(Limited).offers()
    assert offers.settings is not None
    properties = offers.settings["properties"]
    assert properties["max_position"] == {"type": "integer", "minimum": 0, "maximum": 100, "default": 3}
    assert properties["mode"] == {"type": "string", "default": "slow"}


def test_settings_larger_than_the_limit_are_refused() -> None:
    settings = SettingsCell(Limits())
    with pytest.raises(SettingsRefused, match="at most 65536 bytes"):
        settings.plan({"set": {"mode": "x" * 70_000}})


def test_settings_of_damaged_bytes_are_refused() -> None:
    with pytest.raises(SettingsUnreadable):
        SettingsCell(Limits()).read(b"\xc1")
