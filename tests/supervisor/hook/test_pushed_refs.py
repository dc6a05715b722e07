"""What a hook's lines and push options mean."""

from __future__ import annotations

import pytest

from neverblink.supervisor.hook.pushed_refs import (
    PushOptions,
    Update,
    not_deployed,
    push_options,
    updates,
)

A, B, NONE = "a" * 40, "b" * 40, "0" * 40


def environment(*options: str) -> dict[str, str]:
    return {
        "GIT_PUSH_OPTION_COUNT": str(len(options)),
        **{f"GIT_PUSH_OPTION_{n}": option for n, option in enumerate(options)},
    }


def test_each_line_of_input_is_a_ref() -> None:
    assert updates(f"{A} {B} refs/heads/main\n{NONE} {B} refs/tags/v 1\n".encode()) == [
        Update(A, B, "refs/heads/main"),
        Update(NONE, B, "refs/tags/v 1"),
    ]
    assert updates(b"") == []


def test_push_options_are_recognised() -> None:
    assert push_options({}) == PushOptions()
    assert push_options(environment("no-wait", "force", "message= earlier exits ")) == PushOptions(
        wait=False, force=True, why="earlier exits"
    )
    assert push_options(environment("replace")) == PushOptions(replace=True)


@pytest.mark.parametrize(
    ("option", "meant"),
    [("nowait", "-o no-wait"), ("Force", "-o force"), ("msg=x", "-o message=WHY"), ("ci.skip", "there are")],
)
def test_the_error_for_an_unknown_push_option_suggests_the_closest_one(option: str, meant: str) -> None:
    (reason,) = push_options(environment(option, "force")).unknown
    assert f'"{option}"' in reason
    assert meant in reason
    assert push_options(environment(option, "force")).force


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (Update(A, B, "refs/heads/feature"), "branch feature: deploys nothing"),
        (Update(A, NONE, "refs/heads/feature"), "branch feature was deleted"),
        (Update(A, NONE, "refs/heads/main"), "the bot goes on with the code it runs"),
        (Update(A, B, "refs/heads/master"), "git push live master:main"),
        (Update(NONE, B, "refs/tags/v1"), "tags deploy nothing"),
        (Update(NONE, B, "refs/notes/commits"), "refs/notes/commits: deploys nothing"),
    ],
)
def test_a_push_of_another_ref_is_answered_with_the_reason(update: Update, reason: str) -> None:
    assert reason in not_deployed(update, "main")
