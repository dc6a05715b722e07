"""Deployments, rollbacks and aborts, with a daemon and real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from neverblink.protocol.commands import (
    Abort,
    Deploy,
    Down,
    History,
    Lock,
    Pause,
    Releases,
    Resume,
    Rollback,
    Send,
    Unlock,
)
from neverblink.protocol.events import (
    Commanded,
    DeploymentEnded,
    DeploymentStarted,
    Heartbeat,
    LeaderChanged,
    WorkerExited,
    WorkerStarted,
)

from ...matrix import cases
from ..repository import Repository
from ..supervisor_harness import SupervisorHarness, refused

LONG: dict[str, str] = {"probation": "1h"}
IMPATIENT = {**LONG, "hang_after": "100ms"}


@pytest.fixture
def harness(tmp_path: Path) -> SupervisorHarness:
    return SupervisorHarness(tmp_path)


async def in_phase(harness: SupervisorHarness, phase: str) -> dict[str, Any]:
    return await harness.deploying("phase", phase)


# --- the good way ---------------------------------------------------------------------------------------------------


def test_a_deployment_hands_over_and_publishes_each_step(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        first = await harness.running()
        answer = await harness.deploy(harness.code("v2"), who="anna", why="earlier exits")
        assert answer.error is None
        result = answer.result
        assert (result["deployment"], result["outcome"], result["leader"]) == (1, "done", "w2")
        assert (result["blackout"], result["late"], result["rollback"]) == (240_000, 50_000, "newest")
        status = await harness.status()
        assert (status["worker"], status["epoch"], status["state"]) == ("w2", 2, "running")
        assert status["release"] == result["release"] != first["release"]
        assert status["last"]["deployment"] == 1
        assert [worker["worker"] for worker in status["workers"]] == ["w2"]
        links = await harness.ask(Releases())
        assert (links.result["current"], links.result["previous"]) == (status["release"], first["release"])
        story = (await harness.ask(History(deployment=1))).result
        assert (story["who"], story["why"], story["outcome"]) == ("anna", "earlier exits", "done")
        assert [phase["phase"] for phase in story["phases"]] == harness.phases()

    assert harness.play(scenario) == 0
    # Both workers report: if the new one's report arrives first, the phase `transferring` is not seen.
    seen = harness.phases()
    assert seen[:2] == ["rehearsing", "waiting"]
    assert seen[2:] in (["probation", "retiring", "done"], ["transferring", "probation", "retiring", "done"])
    steps = [step for step in harness.steps() if step != "probation"]
    assert steps == ["spawned", "imported", "ready", "rehearsed", "handed", "first-tick"]
    shown = [event for event in harness.events if getattr(event, "step", "") == "probation"]
    assert 1 <= len(shown) <= 4
    assert [(event.worker, event.cause) for event in harness.events_of(LeaderChanged)][:2] == [
        ("w1", "first"),
        ("w2", "handoff"),
    ]
    assert ("deploy", "ok", "anna") in [
        (event.op, event.outcome, event.who) for event in harness.events_of(Commanded)
    ]
    assert [event.reason for event in harness.events_of(WorkerExited)] == ["exit 0", "exit 0"]


def test_a_commit_is_deployed_and_the_history_knows_it(harness: SupervisorHarness) -> None:
    repository = Repository(harness.code("v2"))
    id = repository.commit("earlier exits")
    # What is not committed is not deployed.
    harness.code("v2", import_error="not committed")

    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        where = {"repository": str(repository.directory), "commit": id, "ref": "main"}
        answer = await harness.ask(Deploy(**where, wait=True))  # pyright: ignore[reportArgumentType]
        assert answer.error is None, answer
        assert answer.result["release"].endswith(f"-{id[:8]}")
        row = (await harness.ask(History())).result["deployments"][0]
        assert (row["commit"], row["subject"], row["ref"]) == (id, "earlier exits", "main")
        kept = (await harness.ask(Releases())).result["releases"]
        assert [(record["commit"], record["author"]) for record in kept if record["commit"]] == [
            (id, "Anna <anna@example.org>")
        ]
        missing = await harness.ask(Deploy(repository=str(repository.directory), commit="0" * 40))
        assert refused(missing)[0] == "bad-input"
        assert (await harness.status())["deployment"] is None

    assert harness.play(scenario) == 0
    started = harness.events_of(DeploymentStarted)
    assert [(event.commit, event.subject) for event in started] == [(id, "earlier exits")]


def test_a_kept_release_can_be_deployed_again(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        first = await harness.running()
        assert (await harness.deploy(harness.code("v2"))).error is None
        again = await harness.ask(Deploy(release=first["release"], wait=True))
        assert again.result["release"] == first["release"]
        assert refused(await harness.ask(Deploy(release="nope")))[0] == "not-found"
        rows = (await harness.ask(History())).result["deployments"]
        assert [row["kind"] for row in rows] == ["deploy", "deploy"]

    assert harness.play(scenario) == 0


def test_without_wait_the_answer_comes_at_once_and_progress_follows_as_events(
    harness: SupervisorHarness,
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        first = await harness.running()
        answer = await harness.ask(Deploy(path=str(harness.code("v2"))))
        assert answer.result["deployment"] == 1
        assert answer.result["previous"] == first["release"]
        assert (await harness.status())["deployment"]["deployment"] == 1
        ended = await harness.event(lambda event: isinstance(event, DeploymentEnded))
        assert (ended.outcome, ended.release) == ("done", answer.result["release"])

    assert harness.play(scenario) == 0


def test_a_dry_run_rehearses_without_a_handoff(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        answer = await harness.deploy(harness.code("v2"), dry_run=True)
        assert (answer.result["outcome"], answer.result["leader"], answer.result["reason"]) == (
            "rehearsed",
            "w1",
            "",
        )
        assert answer.result["rollback"] == "newest"
        await harness.until(lambda status: [worker["worker"] for worker in status["workers"]] == ["w1"])
        assert (await harness.ask(Releases())).result["current"] == answer.result["release"]

    assert harness.play(scenario) == 0


@pytest.mark.deep
def test_ten_deployments_in_a_row_lose_no_state(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        for number in range(10):
            answer = await harness.deploy(harness.code(f"v{number % 2}", bounds={"probation": "20ms"}))
            assert answer.error is None, answer
        kept = (await harness.ask(Releases())).result["releases"]
        assert len(kept) <= 6
        assert len((await harness.ask(History(limit=100))).result["deployments"]) == 10

    # Eleven processes are started, one after the other.
    harness.within *= 3
    assert harness.play(scenario) == 0


def test_a_new_worker_stays_off_the_leaders_core_until_it_has_rehearsed(harness: SupervisorHarness) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core only")

    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        await harness.ask(Deploy(path=str(harness.code("v2", hang="start"))))
        started = await harness.event(lambda event: isinstance(event, WorkerStarted) and event.worker == "w2")
        assert len(os.sched_getaffinity(started.pid)) == len(os.sched_getaffinity(0)) - 1
        await harness.ask(Abort())
        await harness.event(lambda event: isinstance(event, DeploymentEnded))
        answer = await harness.ask(Deploy(path=str(harness.code("v3", bounds=LONG))))
        assert answer.error is None
        status = await in_phase(harness, "probation")
        assert os.sched_getaffinity(status["pid"]) == os.sched_getaffinity(0)

    assert harness.play(scenario) == 0


# --- the old code goes on leading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"import_error": "no module named numpyy"}, "exit 1: ModuleNotFoundError: no module named numpyy"),
        ({"fail": {"start": "on_start raised OSError: refused"}}, "on_start raised OSError: refused"),
        ({"hang": "start"}, "the new worker was not ready in time"),
        pytest.param({"hang": "all"}, "the new worker was not ready in time", marks=pytest.mark.deep),
        ({"unreadable": "Book.size: expected int, got str"}, "Book.size: expected int, got str"),
        pytest.param(
            {"protocol": (7, 9)}, "worker w2 speaks neverblink protocol 7 to 9", marks=pytest.mark.deep
        ),
    ],
    ids=["import", "start", "hangs", "never says a word", "state", "protocol"],
)
def test_new_code_that_fails_before_the_handoff_is_aborted(
    harness: SupervisorHarness, script: dict[str, Any], reason: str
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        code = harness.code("v2", bounds={"start_within": "400ms"} if "hang" in script else None, **script)
        code_of, message = refused(await harness.deploy(code))
        assert (code_of, reason in message) == ("aborted", True), message
        status = await harness.status()
        assert (status["worker"], status["state"], status["last"]["outcome"]) == ("w1", "running", "aborted")
        assert status["last"]["release"] == status["release"]
        # The worker that is exiting does not block the next deployment.
        assert (await harness.deploy(harness.code("v3"))).error is None

    assert harness.play(scenario) == 0
    assert [event.worker for event in harness.events_of(LeaderChanged)] == ["w1", "w3", ""]


def test_a_missing_interpreter_aborts_with_the_remedy(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        code, message = refused(await harness.deploy(harness.code("v2", python="python9.9")))
        assert (code, "python = 'python9.9': there is no such interpreter" in message) == ("aborted", True)

    assert harness.play(scenario) == 0


def test_an_unreadable_file_is_named_at_its_source(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        code = harness.code("v2", python=" ")
        toml = code / "neverblink.toml"
        toml.write_text(toml.read_text().replace('python = " "\n', ""))
        (code / "requirements.txt").write_bytes("msgspec\n".encode("utf-16"))
        refusal = refused(await harness.deploy(code))
        assert refusal == ("bad-input", f"{code}/requirements.txt: is UTF-16: save it as UTF-8")

    assert harness.play(scenario) == 0


def test_no_boundary_in_time_names_the_obstacle(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        answer = await harness.deploy(harness.code("v2", bounds={"boundary_within": "400ms"}))
        code, message = refused(answer)
        assert (code, "no boundary in time: held by decision enter" in message) == ("boundary", True), message
        assert (await harness.status())["worker"] == "w1"

    assert harness.play(scenario, harness.code("v1", hold="enter")) == 0


def test_a_deployment_waits_for_a_decision_and_reports_it(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        deploying = asyncio.ensure_future(harness.deploy(harness.code("v2")))
        await harness.deploying("holding", "decision enter")
        assert (await deploying).error is None

    assert harness.play(scenario, harness.code("v1", hold="enter", hold_ms=300)) == 0
    assert "holding" in harness.steps()


def test_a_leader_that_dies_before_the_handoff_ends_the_deployment_and_is_started_again(
    harness: SupervisorHarness,
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        status = await harness.running()
        deploying = asyncio.ensure_future(harness.deploy(harness.code("v2", hang="start")))
        await in_phase(harness, "preparing")
        os.kill(status["pid"], signal.SIGKILL)
        code, message = refused(await deploying)
        assert (code, message) == ("down", "aborted: worker w1 ended: killed by SIGKILL")
        again = await harness.until(lambda status: status["state"] == "running" and status["epoch"] == 2)
        assert (again["release"], again["worker"]) == (status["release"], "w3")

    assert harness.play(scenario) == 0


def test_a_leader_that_dies_is_started_again_on_its_own_release(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        first = await harness.running()
        os.kill(first["pid"], signal.SIGKILL)
        again = await harness.until(lambda status: status["state"] == "running" and status["epoch"] == 2)
        assert (again["release"], again["worker"]) == (first["release"], "w2")

    assert harness.play(scenario) == 0
    assert [event.worker for event in harness.events_of(LeaderChanged)][:3] == ["w1", "", "w2"]


# --- and back -------------------------------------------------------------------------------------------------------


def test_new_code_that_crashes_in_its_probation_is_rolled_back(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        first = await harness.running()
        code, message = refused(await harness.deploy(harness.code("v2", bounds=LONG, crash_ms=100)))
        assert (code, "on_tick raised ZeroDivisionError: it broke" in message) == ("rolled-back", True), (
            message
        )
        status = await harness.until(lambda status: status["epoch"] == 3 and status["failure"])
        assert (status["worker"], status["release"]) == ("w1", first["release"])
        assert status["failure"]["worker"] == "w2"
        links = (await harness.ask(Releases())).result
        assert (links["current"], links["previous"]) == (first["release"], None)

    assert harness.play(scenario) == 0
    causes = [event.cause for event in harness.events_of(LeaderChanged)]
    assert causes == ["first", "handoff", "failover", "down"]


def test_a_follower_on_code_that_was_rolled_back_does_not_lead_when_the_leader_dies(
    harness: SupervisorHarness,
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        await harness.ask(Deploy(path=str(harness.code("v2", bounds=LONG, stays=True))))
        await in_phase(harness, "probation")
        await harness.ask(Rollback(wait=True))
        # It was asked to leave and has not received that: it follows.
        status = await harness.until(
            lambda status: (
                status["worker"] == "w1"
                and status["deployment"] is None
                and [worker["role"] for worker in status["workers"]] == ["leading", "following"]
            )
        )
        os.kill(status["pid"], signal.SIGKILL)
        again = await harness.until(
            lambda status: (
                status["worker"] == "w3" and status["state"] == "running" and len(status["workers"]) == 1
            )
        )
        assert again["release"] == status["release"]
        assert await in_peace(harness)

    assert harness.play(scenario) == 0


async def in_peace(harness: SupervisorHarness) -> bool:
    """Whether the leader is not asked to leave any more."""
    (worker,) = (await harness.status())["workers"]
    return not worker["leaving"]


def test_a_suspected_leader_is_killed_and_rolled_back(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        code, message = refused(await harness.deploy(harness.code("v2", bounds=IMPATIENT, still=True)))
        assert (code, "silent for 2s" in message) == ("rolled-back", True), message
        exited = await harness.event(lambda event: isinstance(event, WorkerExited))
        assert (exited.worker, exited.code, exited.reason) == ("w2", -9, "silent for 2s")

    assert harness.play(scenario, harness.code("v1", suspect="silent for 2s")) == 0


def test_a_suspected_leader_that_has_ticked_since_is_left_alone(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        await harness.ask(Deploy(path=str(harness.code("v2", bounds=LONG))))
        await in_phase(harness, "probation")
        # It is suspected from 0.2 s on, at each turn of the old worker.
        await harness.event(
            lambda event: isinstance(event, Heartbeat) and event.worker == "w2" and event.ticks > 40
        )
        await in_phase(harness, "probation")

    assert harness.play(scenario, harness.code("v1", suspect="silent for 2s")) == 0
    assert [event.outcome for event in harness.events_of(DeploymentEnded)] == ["done"]


def test_a_suspected_leader_with_a_decision_open_is_left_alone(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        await harness.ask(
            Deploy(path=str(harness.code("v2", bounds=IMPATIENT, still=True, decision="enter")))
        )
        status = await harness.until(lambda status: status["worker"] == "w2" and status["decisions"])
        assert status["decisions"][0]["name"] == "enter"
        assert status["decisions"][0]["worker"] == "w2"
        await in_phase(harness, "probation")

    assert harness.play(scenario, harness.code("v1", suspect="silent for 2s")) == 0
    assert [event.outcome for event in harness.events_of(DeploymentEnded)] == ["done"]


def test_rollback_in_the_probation_is_one_message(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        first = await harness.running()
        deploying = asyncio.ensure_future(harness.deploy(harness.code("v2", bounds=LONG)))
        await in_phase(harness, "probation")
        back = await harness.ask(Rollback(wait=True, who="anna", why="too eager"))
        assert (back.result["outcome"], back.result["release"]) == ("rolled_back", first["release"])
        code, message = refused(await deploying)
        assert (code, "rolled back by anna: too eager" in message) == ("rolled-back", True)
        assert (await harness.status())["worker"] == "w1"
        assert refused(await harness.ask(Rollback()))[0] == "not-found"

    assert harness.play(scenario) == 0
    assert [event.worker for event in harness.events_of(WorkerStarted) if event.worker != "w1"] == ["w2"]


def test_a_rollback_without_a_boundary_is_reported_and_the_probation_begins_again(
    harness: SupervisorHarness,
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        bounds = {**LONG, "boundary_within": "300ms"}
        await harness.ask(Deploy(path=str(harness.code("v2", bounds=bounds, hold="enter"))))
        await in_phase(harness, "probation")
        code, message = refused(await harness.ask(Rollback(wait=True)))
        assert (code, "its probation has begun anew" in message) == ("boundary", True), message
        assert (await in_phase(harness, "probation"))["worker"] == "w2"

    assert harness.play(scenario) == 0


def test_a_rollback_after_the_probation_deploys_the_previous_release(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        first = await harness.running()
        assert refused(await harness.ask(Rollback()))[0] == "not-found"
        assert (await harness.deploy(harness.code("v2"))).error is None
        second = (await harness.status())["release"]
        assert (await harness.ask(Lock(why="freeze"))).error is None
        back = await harness.ask(Rollback(wait=True))
        assert (back.result["outcome"], back.result["release"], back.result["deployment"]) == (
            "done",
            first["release"],
            2,
        )
        named = await harness.ask(Rollback(release=second, wait=True))
        assert named.result["release"] == second
        assert refused(await harness.ask(Rollback(release=second)))[0] == "bad-input"
        assert refused(await harness.ask(Rollback(release="nope")))[0] == "not-found"
        rows = (await harness.ask(History())).result["deployments"]
        assert [row["kind"] for row in rows] == ["rollback", "rollback", "deploy"]

    assert harness.play(scenario) == 0


def test_a_rolled_back_deployment_does_not_become_the_previous_release(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        first = await harness.running()
        assert (await harness.deploy(harness.code("v2"))).error is None
        second = (await harness.status())["release"]
        assert refused(await harness.deploy(harness.code("v3", bounds=LONG, crash_ms=50)))[0] == "rolled-back"
        links = (await harness.ask(Releases())).result
        assert (links["current"], links["previous"]) == (second, first["release"])

    assert harness.play(scenario) == 0


# --- being asked to stop --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", cases(["preparing", "waiting", "probation"], "waiting", "probation"))
def test_abort_ends_a_deployment_and_leaves_the_old_code_leading(
    harness: SupervisorHarness, phase: str
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        script: dict[str, Any] = {"hang": "start"} if phase == "preparing" else {}
        deploying = asyncio.ensure_future(harness.deploy(harness.code("v2", bounds=LONG, **script)))
        await in_phase(harness, phase)
        assert refused(await harness.ask(Abort(deployment=9)))[0] == "not-found"
        asked = await harness.ask(Abort(deployment=1, who="anna"))
        assert asked.result["deployment"] == 1
        code, message = refused(await deploying)
        assert code == ("rolled-back" if phase == "probation" else "aborted")
        assert "cancelled by anna" in message
        assert (await harness.status())["worker"] == "w1"
        assert refused(await harness.ask(Abort()))[0] == "not-found"

    old: dict[str, Any] = {"hold": "enter"} if phase == "waiting" else {}
    assert harness.play(scenario, harness.code("v1", **old)) == 0


def test_a_second_deployment_is_refused_or_supersedes_the_first(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        first = asyncio.ensure_future(harness.deploy(harness.code("v2", hang="start")))
        await in_phase(harness, "preparing")
        answer = await harness.deploy(harness.code("v3"))
        assert refused(answer)[0] == "busy"
        assert answer.error is not None
        assert answer.error.facts == {"deployment": 1}
        assert refused(await harness.ask(Rollback()))[0] == "busy"
        second, third = await asyncio.gather(
            harness.deploy(harness.code("v3"), replace=True), harness.deploy(harness.code("v4"), replace=True)
        )
        assert refused(await first)[0] == "aborted"
        assert sorted(answer.error is None for answer in (second, third)) == [False, True]
        assert "replaced by another deployment" in refused(await first)[1]

    assert harness.play(scenario) == 0


# --- what is refused ------------------------------------------------------------------------------------------------


def test_bad_input_is_refused_before_a_worker_starts(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        typo = harness.code("typo")
        (typo / "neverblink.toml").write_text('name = "fox"\nbotx = "bot:Fox"\n')
        empty = harness.code("empty")
        (empty / "bot.py").unlink()
        for path, words in (
            (str(typo), 'did you mean "bot"'),
            (str(empty), "no bot.py here"),
            ("relative", "must be absolute"),
            (str(harness.tmp / "nowhere"), "there is no such directory"),
            (str(typo / "neverblink.toml"), "it is a file"),
        ):
            code, message = refused(await harness.ask(Deploy(path=path)))
            assert (code, words in message) == ("bad-input", True), message
            assert "\n" not in message
        assert (await harness.deploy(harness.code("v2"))).result["deployment"] == 1

    assert harness.play(scenario) == 0
    assert [event.worker for event in harness.events_of(WorkerStarted) if event.worker != "w1"] == ["w2"]


def test_a_lock_refuses_deployments_with_its_reason_and_survives_the_supervisor(
    harness: SupervisorHarness,
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        assert refused(await harness.ask(Lock(why=" ")))[0] == "bad-input"
        assert (await harness.ask(Lock(who="anna", why="release freeze"))).error is None
        assert refused(await harness.ask(Lock(who="ben", why="mine")))[0] == "locked"

    async def later(harness: SupervisorHarness) -> None:
        status = await harness.running()
        assert (status["lock"]["who"], status["lock"]["why"]) == ("anna", "release freeze")
        code, message = refused(await harness.deploy(harness.code("v2")))
        assert (code, "locked by anna: release freeze" in message) == ("locked", True)
        assert (await harness.ask(Unlock())).result["was"]["who"] == "anna"
        assert (await harness.deploy(harness.code("v2"))).error is None

    assert harness.play(scenario) == 0
    assert harness.play(later) == 0


# --- commands to the bot --------------------------------------------------------------------------------------------


def test_pause_resume_and_send_reach_the_bot(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        paused = await harness.ask(Pause())
        assert paused.result["paused"] is True
        await harness.until(lambda status: status["state"] == "paused")
        await harness.ask(Resume())
        await harness.until(lambda status: status["state"] == "running")
        sent = await harness.ask(Send(name="size", args={"pct": 2.5}))
        assert sent.result["value"] == {"name": "size", "args": {"pct": 2.5}, "again": False}
        assert refused(await harness.ask(Send(name="fail"))) == (
            "failed",
            "the bot's fail failed: KeyError: 'nope'",
        )

    assert harness.play(scenario) == 0


def test_an_unanswered_command_blocks_no_other(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        sent = asyncio.ensure_future(harness.ask(Send(name="never")))
        assert (await harness.status())["state"] == "running"
        assert not sent.done()
        await harness.ask(Down())
        assert refused(await sent)[0] == "down"

    assert harness.play(scenario) == 0


def test_garbage_from_a_worker_has_no_effect(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        assert (await harness.deploy(harness.code("v2", garbage=True))).error is None
        status = await harness.status()
        assert (status["worker"], status["state"]) == ("w2", "running")

    assert harness.play(scenario) == 0
    assert "dropped an undecodable message on the workers' socket" in harness.screen.getvalue()
