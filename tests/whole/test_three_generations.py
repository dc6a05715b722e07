"""Three generations of a bot alive at once: one leads in its probation, one is on guard, one prepares."""

from __future__ import annotations

from typing import Any

import pytest

from .bots import bot as code_of
from .live import Live
from .test_supervisor_killed import SOURCE, GatedBot


class Generations(GatedBot):
    """The same bot with helpers for two deployments at once."""

    def in_probation(self, probation: str = "60s") -> tuple[str, int]:
        """A deployment in its probation."""
        new, number = self.deploy(probation=probation)
        self.live.phase(number, "probation")
        return new, number

    def prepared(self) -> tuple[str, int]:
        """A second deployment, prepared while the first is in its probation."""
        new, number = self.deploy()
        self.live.phase(number, "prepared")
        return new, number

    def alive(self) -> dict[str, int]:
        """The live workers, and their pids."""
        return {worker["worker"]: worker["pid"] for worker in self.live.status()["workers"]}

    def outcomes(self, *numbers: int) -> list[str]:
        """Their outcomes in the history, once the last one has ended."""
        if self.live.ask("history", deployment=numbers[-1])["outcome"] is None:
            self.live.ended(numbers[-1])
        rows: list[dict[str, Any]] = [self.live.ask("history", deployment=number) for number in numbers]
        # The history is written beside the loop, in order.
        return [row["outcome"] for row in rows]


def audited(live: Live) -> None:
    live.down()
    report = live.audit()
    assert (report["missed"], report["doubled"]) == (0, 0), report["missing"]


def test_a_prepared_deployment_takes_over_when_the_probation_ends_even_if_the_supervisor_is_killed(
    live: Live,
) -> None:
    bot = Generations(live, "50ms")
    bot.up()
    # Its probation is over when the old worker has left, and that waits for us.
    bot.close("v0", "retire")
    _, one = bot.in_probation("100ms")
    bot.waits("v0", "retire")
    _, two = bot.prepared()
    before = bot.alive()
    assert len(before) == 3
    bot.comes_back("prepared")
    status = live.status()
    assert (status["probation"]["deployment"], status["probation"]["phase"]) == (one, "retiring")
    assert status["deployment"]["holding"] == f"the probation of deployment {one}"
    assert bot.alive() == before
    bot.open("v0", "retire")
    assert bot.outcomes(one, two) == ["done", "done"]
    release = live.ask("history", deployment=two)["release"]
    assert (live.home / "releases" / "current").readlink().name == live.status()["release"] == release
    audited(live)


@pytest.mark.deep
def test_a_probation_is_rolled_back_while_the_next_deployment_rehearses_with_and_without_a_supervisor(
    live: Live,
) -> None:
    bot = Generations(live, "50ms")
    bot.up()
    _, one = bot.in_probation()
    new, two = bot.deploy("load")
    bot.waits(new, "load")
    live.ask("rollback", wait=True)
    bot.open(new, "load")
    assert bot.outcomes(one, two) == ["rolled_back", "done"]
    assert live.event(type="step", step="turned", deployment=two)["facts"] == {"worker": "w1"}
    # Now with both prepared and the rollback begun: the workers finish it by themselves.
    leads, three = bot.in_probation()
    _, four = bot.prepared()
    bot.close(leads, "decide")
    bot.waits(leads, "decide")
    live.ask("rollback")
    live.event(type="step", step="holding", deployment=three, text="decision enter")
    bot.kill()
    bot.open(leads, "decide")
    bot.ticks_alone()
    bot.up()
    assert bot.outcomes(three, four) == ["rolled_back", "done"]
    audited(live)


@pytest.mark.deep
def test_a_restarted_supervisor_finds_the_standby_beside_three_generations(live: Live) -> None:
    bot = Generations(live, "50ms")

    def code(name: str, probation: str) -> Any:
        source = code_of(SOURCE.format(gates=bot.gates, release=name), tick="50ms")
        return live.code(name, source, standby=1, probation=probation, lease_within="2s", hang_after="10s")

    bot.first = code("s0", "100ms")
    bot.up()
    live.event(type="standby", state="ready")
    one = live.begin(code("s1", "60s"))
    live.phase(one, "probation")
    two = live.begin(code("s2", "100ms"))
    live.phase(two, "prepared")
    before = bot.alive()
    assert len(before) >= 4
    bot.comes_back("prepared")
    assert bot.alive() == before
    live.ask("rollback", wait=True)
    assert bot.outcomes(one, two) == ["rolled_back", "done"]
    release = live.status()["release"]
    live.event(type="standby", state="ready", release=release)
    # In the end there are only a leader and its standby.
    while len(bot.alive()) > 2:
        live.event(type="worker-exited", since=len(live.events))
    audited(live)
