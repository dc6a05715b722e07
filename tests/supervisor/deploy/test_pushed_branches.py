"""Branches that deploy: the text about one that is not the running commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.protocol.status import BranchSeen
from neverblink.supervisor.deploy.branch_watch import describe_undeployed, look, traces
from neverblink.supervisor.release.git import ask
from neverblink.supervisor.release.git_hooks import install, remove
from neverblink.supervisor.release.hooked_repositories import repositories
from neverblink.supervisor.store.state_dir import Home

from ..repository import Repository

MEND = "deploy it with `neverblink hook deploy /srv/fox.git`"
TIP, OTHER = "1a2b3c4d" * 5, "99887766" * 5


def seen(commit: str = TIP, **more: object) -> BranchSeen:
    return BranchSeen("/srv/fox.git", "main", commit, "Exits", **more)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (seen(running=TIP, deployment=3, outcome="done"), ""),
        (seen("", running=OTHER), ""),
        (seen(running=OTHER, ahead=1, behind=0, asked=True), ""),
        (seen(running=OTHER, ahead=1, behind=0, deployment=3), ""),
        (seen(running="", deployment=3, outcome="done"), ""),
        (
            seen(running=OTHER, ahead=2, behind=0),
            f"BARE is 2 commits ahead of the running commit EXITS: {MEND}",
        ),
        (
            seen(running=OTHER, ahead=1, behind=0, deployment=3, outcome="rolled_back"),
            "BARE is 1 commit ahead of the running commit EXITS: deployment 3 was rolled back",
        ),
        (
            seen(running=OTHER, ahead=1, behind=2, deployment=3, outcome="done"),
            "BARE and the running commit have diverged: 1 and 2 commits EXITS: deployment 3 deployed it earlier",
        ),
        (seen(running=""), f"BARE is not the running commit EXITS: {MEND}"),
    ],
)
def test_the_report_on_a_branch_has_its_commit_and_its_distance(one: BranchSeen, text: str) -> None:
    assert describe_undeployed(one) == text.replace("BARE", "main of /srv/fox.git").replace(
        "EXITS", "(1a2b3c4d Exits)"
    )


def test_a_branch_is_compared_with_the_running_commit_and_its_repository_is_linked_in_the_home(
    tmp_path: Path,
) -> None:
    repository = Repository(tmp_path / "work")
    first = repository.commit("one")
    bare = tmp_path / "fox.git"
    ask(tmp_path, "clone", "--quiet", "--bare", str(repository.path), str(bare))
    assert look(bare, first) is None, "it has no hook"
    branch = repository.git("rev-parse", "--abbrev-ref", "HEAD")
    home = Home(tmp_path / "home")
    install(bare, home.path, branch=branch, gate=False)
    assert repositories(home) == [bare]
    before = traces(bare)
    repository.write(bot="v = 2\n")
    second = repository.commit("two")
    repository.git("push", "--quiet", str(bare), branch)
    assert traces(bare) != before
    now = look(bare, first)
    assert now is not None
    assert (now.commit, now.subject, now.ahead, now.behind) == (second, "two", 1, 0)
    back, elsewhere = look(bare, second), look(bare, OTHER)
    assert back is not None
    assert elsewhere is not None
    assert (back.ahead, back.behind, elsewhere.ahead) == (0, 0, None)
    remove(bare)
    assert repositories(home) == []
