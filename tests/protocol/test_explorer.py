"""Every interleaving of a handoff, with every failure in every place: the invariants of the design hold in all of them.

The bounds below are what an ordinary run of the tests affords; `bin/test --deep` also walks to the end of what one
failure and one wish can do. `python -m tests.protocol.explorer 1 1 1 1` walks further: its numbers are how many
processes may fail, how many messages may be lost, how often the operator may interfere, and how often a supervisor that
is gone is followed by another; then, if need be, how deep to go. With the word `spare` there is a standby:
`… spare 2 0 0 0 14` is any two failures in a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .composed import Model
from .explorer import explore, walk_fairly
from .machines import Machines
from .moves import cuts, make, moves

FAILURE = "one party dies, hangs or raises, anywhere; another supervisor may come at any time after"
WISH = "the operator aborts or rolls back, at any moment"
MISFORTUNES = ("kill", "hang", "fell", "unreadable", "stale", "drop", "repeat", "abort", "rollback")


@pytest.mark.parametrize(
    ("budget", "depth", "what"),
    [
        ((0, 0, 0), 99, "nothing fails"),
        ((1, 0, 0, 1), 12, f"{FAILURE}, up to a depth"),
        ((0, 1, 0), 99, "one message is lost, or comes twice"),
        ((0, 0, 1), 16, f"{WISH}, up to a depth"),
        ((1, 1, 1, 1), 9, "all of these together, up to a depth"),
        pytest.param((1, 0, 0, 1), 99, FAILURE, marks=pytest.mark.deep),
        pytest.param((0, 0, 1), 99, WISH, marks=pytest.mark.deep),
    ],
    ids=["calm", "a failure", "a loss", "a wish", "all together", "a failure, whole", "a wish, whole"],
)
def test_no_interleaving_breaks_a_rule(
    budget: tuple[int, ...], depth: int, what: str, say: Callable[[str], None]
) -> None:
    look(Model(Machines(plain=True)), budget, depth, what, say)


def look(model: Model, budget: tuple[int, ...], depth: int, what: str, say: Callable[[str], None]) -> None:
    """Explore, and say how far that was."""
    began = time.monotonic()
    seen = explore(model, model.start(*budget), depth)
    took = time.monotonic() - began
    say(
        f"explorer, {what}: {seen.states} states, {seen.moves} moves, {seen.depth} deep, "
        f"{seen.at_rest} ways to end, {took:.1f} s"
    )
    assert seen.states > 1_000


@pytest.mark.parametrize(
    ("crashes", "losses", "wishes", "depth", "what"),
    [
        (0, 0, 0, 99, "a standby, and nothing fails"),
        pytest.param(
            2, 0, 0, 10, "a standby, and any two parties fail one after the other", marks=pytest.mark.deep
        ),
        (1, 1, 0, 8, "a standby, and one party fails and one message is lost"),
        (0, 2, 0, 11, "a standby, and two messages are lost"),
    ],
    ids=["calm", "two failures", "a failure and a loss", "two losses"],
)
def test_no_interleaving_breaks_a_rule_with_a_standby(
    crashes: int, losses: int, wishes: int, depth: int, what: str, say: Callable[[str], None]
) -> None:
    """Three workers: the leader, the follower of a deployment, and a standby. It fails by dying, or by hanging."""
    look(Model(Machines(plain=True), spare=True), (crashes, losses, wishes), depth, what, say)


@pytest.mark.parametrize("spare", [False, True], ids=["two workers", "three workers"])
@given(data=st.data())
def test_no_long_walk_breaks_a_rule(spare: bool, data: st.DataObject) -> None:
    """Deeper than the explorer goes, and past the deployment's end. With a spare, which the handoff does not know."""
    model = Model(Machines(), spare=spare)
    state = model.start(crashes=2, losses=4, wishes=2, returns=2)
    log: list[str] = []
    chance = data.draw(st.randoms(use_true_random=False))
    for _ in range(data.draw(st.integers(10, 250))):
        possible = list(moves(model, state))
        if not possible:
            break
        calm = [move for move in possible if move.kind not in MISFORTUNES]
        move = chance.choice(calm if calm and chance.random() < 0.9 else possible)
        halves = list(cuts(model, state, move))
        if halves and chance.random() < 0.1:
            move = chance.choice(halves)
        log.append(str(move))
        state = make(model, state, move, log.append)
        assert not state.wrong, "\n".join([state.wrong, *log])
    if not spare:
        problem = walk_fairly(model, state)
        assert not problem, "\n".join([problem, *log])


def test_a_fair_run_ends_well_without_a_failure() -> None:
    model = Model(Machines())
    assert walk_fairly(model, model.start()) == ""
