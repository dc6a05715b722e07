"""Deployments that wait: one after the other, and of several pushes of a branch only the newest."""

from __future__ import annotations

import pytest

from neverblink.protocol.commands import Deploy
from neverblink.supervisor.deploy.admission import DeployQueue, QueuedDeployment
from neverblink.supervisor.system.errors import Refusal


def push(commit: str, ref: str = "main", *, dry_run: bool = False) -> QueuedDeployment:
    return QueuedDeployment(Deploy(repository="/srv/fox.git", commit=commit, ref=ref, dry_run=dry_run), 1, 0)


def test_deployments_leave_the_queue_in_order_of_arrival() -> None:
    queue = DeployQueue()
    first, second = QueuedDeployment(Deploy(path="/a"), 1, 0), QueuedDeployment(Deploy(path="/a"), 2, 0)
    queue.enter(first)
    queue.enter(second)
    assert (queue.is_first(first), queue.is_first(second)) == (True, False)
    assert queue.replaced_by(first) is None
    assert (queue.find(2), queue.find(3)) == (second, None)
    queue.leave(first)
    assert queue.is_first(second)


def test_a_later_push_of_the_same_branch_replaces_an_earlier_one() -> None:
    queue = DeployQueue()
    first, other, later = push("a"), push("b", "trial"), push("c")
    for command in (first, other, later):
        queue.enter(command)
    assert queue.replaced_by(first) is later.command
    assert queue.replaced_by(other) is None
    assert queue.replaced_by(later) is None


def test_a_rehearsal_replaces_no_deployment() -> None:
    queue = DeployQueue()
    deployment, rehearsal = push("a"), push("b", dry_run=True)
    queue.enter(deployment)
    queue.enter(rehearsal)
    assert queue.replaced_by(deployment) is None


def test_the_queue_is_bounded() -> None:
    queue = DeployQueue()
    for number in range(64):
        queue.enter(push(str(number)))
    with pytest.raises(Refusal, match="64 deployments are waiting already"):
        queue.enter(push("65"))
