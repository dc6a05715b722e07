"""In a simulation every turn is verified at its end, and a new release verifies the state in its rehearsal."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import pytest

from neverblink.worker import Tick, Worker
from neverblink.worker.testing import HandoverFailed, Simulation, SimulationError


class Book(msgspec.Struct):
    price: float = 0.0
    seen: dict[str, list[int]] = {}
    events: list[Any] = []


class Quiet(Worker[Book]):
    tick = "1s"


class NoPrice(Quiet):
    def on_tick(self, tick: Tick[Book]) -> None:
        if tick.seq % 4 == 3:
            self.state.price = None  # pyright: ignore[reportAttributeAccessIssue]


class Grouped(Quiet):
    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.seen = defaultdict(list)


class Noted(Quiet):
    def on_event(self, event: Any) -> None:
        self.state.events.append(tuple(event.data))


class Shared(Quiet):
    def on_timer(self, timer: Any) -> None:
        self.state.events.append(self.state.events)


class Defaulted(msgspec.Struct):
    price: float = 0.0
    seen: dict[str, list[int]] = msgspec.field(default_factory=lambda: defaultdict(list))
    events: list[Any] = []
    added: dict[str, list[int]] = msgspec.field(default_factory=lambda: defaultdict(list))


class WithDefaults(Worker[Defaulted]):
    tick = "1s"


@pytest.mark.parametrize(
    ("bot", "problem"),
    [(NoPrice, "state field price: expected float, found None"), (Grouped, "state field seen: defaultdict")],
)
def test_a_simulation_fails_at_the_turn_that_wrote_what_would_not_be_read(
    bot: type[Quiet], problem: str
) -> None:
    with Simulation(bot) as simulation, pytest.raises(SimulationError) as failed:
        simulation.ticks(5)
    assert failed.value.message.startswith(problem)
    assert "test_read_back.py:" in failed.value.message


def test_a_simulation_verifies_events_too() -> None:
    with Simulation(Noted) as simulation:
        simulation.ticks(1)
        with pytest.raises(SimulationError, match=r"events\[0\]: \(1, 2\)"):
            simulation.put("one", [1, 2])


def test_a_wrong_value_after_a_handover_gives_the_bot_back_to_the_old_code() -> None:
    with Simulation(Quiet) as simulation:
        simulation.ticks(2)
        simulation.hand_over(NoPrice)
        simulation.ticks(6)
        assert "state field price" in simulation.rolled_back
        assert type(simulation.leader) is Quiet


def test_new_code_whose_defaults_do_not_survive_is_refused_in_its_rehearsal() -> None:
    with Simulation(Quiet) as simulation:
        simulation.ticks(2)
        with pytest.raises(HandoverFailed, match="state field added: defaultdict"):
            simulation.hand_over(WithDefaults)
        simulation.ticks(2)


class Price(float):
    """As `numpy.float64` is one: a subclass of float that does not go into bytes."""


class Mean(Quiet):
    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.price = Price(1.5) if tick.seq % 4 == 3 else 1.0


class Itself(Quiet):
    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.events.append(self.state.events)


class Huge(Quiet):
    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.events.append({"a": 2**70})


class Opened(Quiet):
    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.events.append([open])


@pytest.mark.parametrize(
    ("bot", "what", "mend"),
    [
        (Mean, "state field price: 1.5 (tests.Price) cannot be encoded", "write float(x)"),
        (Itself, "state field events[0]", "it contains itself"),
        (
            Huge,
            "state field events[0]['a']: 1180591620717411303424 (int) cannot be encoded",
            "write another value",
        ),
        (Opened, "state field events[0][0]: <built-in function open> (", "build it in on_load"),
    ],
)
def test_a_value_that_does_not_go_into_bytes_fails_its_turn_and_is_named(
    bot: type[Quiet], what: str, mend: str
) -> None:
    with Simulation(bot) as simulation:
        with pytest.raises(SimulationError) as failed:
            simulation.ticks(5)
        assert failed.value.message.startswith("tick ")
        assert what in failed.value.message
        assert mend in failed.value.message
        assert "test_read_back.py:" in failed.value.message


def test_the_old_code_goes_on_from_the_boundary_before_a_value_that_does_not_go_into_bytes() -> None:
    with Simulation(Quiet) as simulation:
        simulation.ticks(2)
        simulation.hand_over(Mean, ticks=0)
        simulation.ticks(6)
        assert type(simulation.leader) is Quiet
        assert simulation.state.price == 1.0
        assert "tests.Price" in simulation.rolled_back
