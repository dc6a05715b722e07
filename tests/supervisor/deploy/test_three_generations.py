"""A deployment that prepares while the one before it is in its probation: with a daemon and real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from neverblink.protocol.commands import Abort, Answer, Deploy, History, Releases, Rollback
from neverblink.protocol.events import DeploymentEnded, LeaderChanged, WorkerExited

from ...matrix import cases
from ..supervisor_harness import SupervisorHarness

LONG: dict[str, str] = {"probation": "1h"}


@pytest.fixture
def harness(tmp_path: Path) -> SupervisorHarness:
    return SupervisorHarness(tmp_path)


def refused(answer: Answer) -> tuple[str, str]:
    assert answer.error is not None, answer
    return answer.error.code, answer.error.message


async def in_probation(harness: SupervisorHarness, name: str = "v2", **script: Any) -> asyncio.Future[Answer]:
    """A deployment in a probation that lasts as long as the test."""
    deploying = asyncio.ensure_future(harness.deploy(harness.code(name, bounds=LONG, **script)))
    await harness.deploying("phase", "probation")
    return deploying


async def prepared(harness: SupervisorHarness, name: str = "v3", **script: Any) -> asyncio.Future[Answer]:
    """A deployment that has prepared behind it."""
    deploying = asyncio.ensure_future(harness.deploy(harness.code(name, **script)))
    await harness.deploying("phase", "prepared")
    return deploying


def test_a_second_deployment_prepares_during_a_probation_and_hands_over_after_it(
    harness: SupervisorHarness,
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        first = asyncio.ensure_future(harness.deploy(harness.code("v2")))
        await harness.deploying("phase", "retiring")
        second = await prepared(harness)
        status = await harness.status()
        assert (status["worker"], status["probation"]["deployment"]) == ("w2", 1)
        assert (status["deployment"]["deployment"], status["deployment"]["holding"]) == (
            2,
            "the probation of deployment 1",
        )
        assert [worker["worker"] for worker in status["workers"]] == ["w1", "w2", "w3"]
        # Three generations are alive, and there is room for no more.
        code, message = refused(await harness.deploy(harness.code("v4")))
        assert (code, "deployment 2 is under way" in message) == ("busy", True), message
        gone.touch()
        assert (await first).result["leader"] == "w2"
        assert (await second).result["leader"] == "w3"
        story = (await harness.ask(History(deployment=2))).result
        assert [phase["phase"] for phase in story["phases"]][:3] == ["rehearsing", "prepared", "waiting"]
        assert ("holding", "the probation of deployment 1") in [
            (step["step"], step["text"]) for step in story["steps"]
        ]
        assert story["previous"] == status["release"]

    gone = harness.tmp / "gone"
    assert harness.play(scenario, harness.code("v1", retires_with=str(gone))) == 0
    assert [(event.deployment, event.outcome) for event in harness.events_of(DeploymentEnded)] == [
        (1, "done"),
        (2, "done"),
    ]
    assert [event.cause for event in harness.events_of(LeaderChanged)][-3:] == ["handoff", "handoff", "down"]


@pytest.mark.parametrize("how", cases(["rollback", "crash"], "rollback"))
def test_when_the_first_deployment_is_rolled_back_the_second_continues_from_the_leader(
    harness: SupervisorHarness, how: str
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        one = await harness.running()
        first = await in_probation(harness)
        second = await prepared(harness)
        if how == "rollback":
            back = await harness.ask(Rollback(wait=True, who="anna"))
            assert (back.result["deployment"], back.result["release"]) == (1, one["release"])
        else:
            os.kill((await harness.status())["pid"], signal.SIGKILL)
        assert refused(await first)[0] == "rolled-back"
        assert (await second).result["leader"] == "w3"
        three = await harness.status()
        links = (await harness.ask(Releases())).result
        assert (links["current"], links["previous"]) == (three["release"], one["release"])
        turned = await harness.event(lambda event: getattr(event, "step", "") == "turned")
        assert (turned.deployment, turned.facts) == (2, {"worker": "w1"})

    assert harness.play(scenario) == 0
    leaders = [event.worker for event in harness.events_of(LeaderChanged) if event.worker]
    assert leaders[-3:] == ["w2", "w1", "w3"]


def test_the_second_deployment_is_rolled_back_to_the_first(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        one = await harness.running()
        first = await in_probation(harness)
        second = await prepared(harness, bounds=LONG, crash_ms=50)
        await harness.ask(Rollback(wait=True))
        assert refused(await first)[0] == refused(await second)[0] == "rolled-back"
        links = (await harness.ask(Releases())).result
        assert (links["current"], links["previous"]) == (one["release"], None)
        assert (await harness.status())["worker"] == "w1"

    assert harness.play(scenario) == 0


def test_abort_cancels_the_preparing_deployment_and_rollback_the_one_in_its_probation(
    harness: SupervisorHarness,
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        first = await in_probation(harness)
        second = await prepared(harness)
        assert "1 and 2 are" in refused(await harness.ask(Abort(deployment=9)))[1]
        assert (await harness.ask(Abort(who="anna"))).result["deployment"] == 2
        code, message = refused(await second)
        assert (code, message) == ("aborted", "aborted: cancelled by anna")
        status = await harness.until(lambda status: len(status["workers"]) == 2)
        assert (status["deployment"]["deployment"], status["probation"]) == (1, None)
        third = await prepared(harness, "v4")
        # By its number, the other one can be had as well.
        assert (await harness.ask(Abort(deployment=1))).result["deployment"] == 1
        assert refused(await first)[0] == "rolled-back"
        assert (await third).error is None

    assert harness.play(scenario) == 0


def test_a_second_deployment_that_fails_affects_no_other_worker(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        await in_probation(harness)
        code, message = refused(await harness.deploy(harness.code("v3", unreadable="no field pct")))
        assert (code, "no field pct" in message) == ("aborted", True), message
        rehearsed = await harness.deploy(harness.code("v4"), dry_run=True)
        assert rehearsed.result["outcome"] == "rehearsed"
        status = await harness.status()
        assert (status["worker"], status["deployment"]["phase"]) == ("w2", "probation")

    assert harness.play(scenario) == 0


def test_a_queued_deployment_prepares_as_soon_as_one_of_two_has_ended(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        first = await in_probation(harness)
        second = asyncio.ensure_future(harness.deploy(harness.code("v3"), queue=True))
        third = asyncio.ensure_future(harness.deploy(harness.code("v4"), queue=True))
        status = await harness.deploying("phase", "prepared")
        assert [worker["worker"] for worker in status["workers"]] == ["w1", "w2", "w3"]
        await harness.ask(Rollback(wait=True))
        assert refused(await first)[0] == "rolled-back"
        assert [(await item).result["leader"] for item in (second, third)] == ["w3", "w4"]

    assert harness.play(scenario) == 0


def test_replace_ends_all_running_deployments(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        first = await in_probation(harness)
        second = await prepared(harness)
        assert (await harness.deploy(harness.code("v4"), replace=True)).error is None
        assert refused(await first)[0] == "rolled-back"
        assert refused(await second) == ("aborted", "aborted: replaced by another deployment")

    assert harness.play(scenario) == 0


def test_down_aborts_the_second_deployment_and_keeps_the_one_in_its_probation(
    harness: SupervisorHarness,
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        await in_probation(harness)
        await harness.ask(Deploy(path=str(harness.code("v3"))))
        await harness.deploying("phase", "prepared")

    assert harness.play(scenario) == 0
    assert [(event.deployment, event.outcome) for event in harness.events_of(DeploymentEnded)] == [
        (2, "aborted"),
        (1, "done"),
    ]
    assert {event.worker for event in harness.events_of(WorkerExited)} == {"w1", "w2", "w3"}


def test_the_second_deployment_is_aborted_when_both_older_workers_die(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        first = await in_probation(harness)
        second = await prepared(harness)
        status = await harness.status()
        pids = {worker["worker"]: worker["pid"] for worker in status["workers"]}
        # The guard is stopped, so that it cannot take the lease before it is dead.
        os.kill(pids["w1"], signal.SIGSTOP)
        os.kill(pids["w2"], signal.SIGKILL)
        await harness.event(lambda event: isinstance(event, WorkerExited) and event.worker == "w2")
        os.kill(pids["w1"], signal.SIGKILL)
        assert refused(await first)[0] == "rolled-back"
        code, message = refused(await second)
        assert (code, message) == ("down", "aborted: no worker leads to take over from")
        again = await harness.until(lambda status: status["state"] == "running" and status["epoch"] == 3)
        assert again["worker"] == "w4"

    assert harness.play(scenario) == 0


@pytest.mark.deep
def test_a_stopped_guard_is_killed_when_the_leader_dies_and_the_bot_continues(
    harness: SupervisorHarness,
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        one = await harness.running()
        first = await in_probation(harness)
        status = await harness.status()
        pids = {worker["worker"]: worker["pid"] for worker in status["workers"]}
        os.kill(pids["w1"], signal.SIGSTOP)
        os.kill(pids["w2"], signal.SIGKILL)
        code, message = refused(await first)
        assert (code, "killed by SIGKILL" in message) == ("rolled-back", True), message
        again = await harness.until(lambda status: status["state"] == "running" and status["epoch"] == 3)
        assert (again["worker"], again["release"]) == ("w3", one["release"])
        exited = await harness.event(lambda event: isinstance(event, WorkerExited) and event.worker == "w1")
        assert exited.reason == "it did not take the lease in time"

    assert harness.play(scenario) == 0
