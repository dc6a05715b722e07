"""What a leader does so that its turns begin in time, and what it does not overlook for that.

It is awake a little before a turn is due, and looks at the state then; and what else is due has to wait for the turn.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.worker.engine.engine import Engine
from neverblink.worker.engine.turns import TurnStep

from ..journaling_leader import JournalingLeader

INTERVAL = 10_000_000


@pytest.fixture
def bot(tmp_path: Path) -> JournalingLeader:
    return JournalingLeader(tmp_path / "journal").ticks(3)


def the_tick(bot: JournalingLeader) -> TurnStep:
    """Let the next tick be due, and begin."""
    bot.clock.go_on(INTERVAL)
    step = bot.engine.next_step()
    assert step is not None
    return step


def left(engine: Engine) -> str:
    return engine.left.reason if engine.left is not None else ""


def test_a_prepared_turn_has_the_same_effects_as_another(bot: JournalingLeader) -> None:
    number, count = bot.replica.number, bot.replica.state.count
    bot.engine.make_ready()
    step = the_tick(bot)
    bot.engine.done(step, step.call())
    assert bot.replica.number == number + 1
    assert bot.replica.state.count == count + 1


def test_a_change_before_a_prepared_turn_is_found(bot: JournalingLeader) -> None:
    bot.replica.state.count += 1
    bot.engine.make_ready()
    bot.clock.go_on(INTERVAL)
    assert bot.engine.next_step() is None
    assert "count was changed outside a turn" in left(bot.engine)


def test_a_value_that_cannot_be_encoded_is_found_in_a_prepared_turn(bot: JournalingLeader) -> None:
    bot.replica.state.notes["lock"] = object()
    bot.engine.make_ready()
    assert bot.engine.left is None
    bot.clock.go_on(INTERVAL)
    assert bot.engine.next_step() is None
    assert "notes" in left(bot.engine)


def test_a_preparation_is_valid_for_the_next_step_only(bot: JournalingLeader) -> None:
    bot.engine.make_ready()
    assert bot.engine.next_step() is None
    bot.replica.state.count += 1
    bot.clock.go_on(INTERVAL)
    assert bot.engine.next_step() is None
    assert "count was changed outside a turn" in left(bot.engine)


def test_a_threads_change_after_the_preparation_is_in_the_frame_of_the_turn(bot: JournalingLeader) -> None:
    bot.engine.make_ready()
    bot.replica.state.notes["price"] = 7
    step = the_tick(bot)
    bot.engine.done(step, step.call())
    last = bot.replica.last
    assert last is not None
    assert b"price" in last.changes.cells["notes"]


def test_nothing_is_prepared_while_a_step_runs(bot: JournalingLeader) -> None:
    step = the_tick(bot)
    bot.replica.state.count += 1
    bot.engine.make_ready()
    bot.engine.done(step, step.call())
    assert bot.engine.left is None


def test_a_report_due_at_the_same_time_is_sent_after_the_turn(bot: JournalingLeader) -> None:
    # For long enough that a report is due, by whatever clock.
    bot.clock.go_on(100 * INTERVAL)
    before = len(bot.reports())
    step = the_tick(bot)
    assert len(bot.reports()) == before
    bot.engine.done(step, step.call())
    assert len(bot.reports()) == before + 1


def test_a_report_is_sent_when_no_turn_is_due(bot: JournalingLeader) -> None:
    before = len(bot.reports())
    while len(bot.reports()) == before:
        bot.ticks()
    assert bot.engine.left is None


def test_only_a_leader_has_a_lead_of_at_most_a_25th_of_the_interval(bot: JournalingLeader) -> None:
    assert 0 < bot.engine.lead <= INTERVAL // 25
