"""The page "When something goes wrong" names what exists, and says what the code says; links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest

from neverblink.protocol import duration
from neverblink.protocol.clock import BELIEVED_AFTER
from neverblink.protocol.link import EXIT_GRACE
from neverblink.supervisor.cli.command_group import COMMANDS, neverblink
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.config.config import Config, RestartSettings
from neverblink.supervisor.hook.pushed_refs import OPTIONS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "trouble.md").read_text(encoding="utf-8")
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(
        str(path.relative_to(DOCS.parent))
        for path in sorted([*DOCS.glob("*.md"), *DOCS.glob("authors/*.md")])
    ),
]


def quoted(page: str) -> list[str]:
    """What stands in backticks in the sentences of a page."""
    return re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE).replace("\n", " ")
    )


def shown(page: str) -> list[str]:
    """The command lines in a page's blocks."""
    blocks = "".join(re.findall(r"^```.*?^```", page, re.DOTALL | re.MULTILINE))
    found = re.findall(r"^(?:\$ |(?=neverblink ))(.*)", blocks, re.MULTILINE)
    return [part.strip() for line in found for part in line.split(" #")[0].split("&&")]


QUOTED = quoted(PAGE)


def commands(page: str) -> list[list[str]]:
    """What a page tells the operator to run: all that begins with `neverblink` or with one of its commands."""
    command_lines = [item.split() for item in [*quoted(page), *shown(page)]]
    return [
        words[1:] if words[0] == "neverblink" else words
        for words in command_lines
        if (words[0] == "neverblink" and len(words) > 1)
        or (words[0] in COMMANDS and words[1:2] != ["="] and words != ["lock"])
    ]


def keys_of(kind: type[msgspec.Struct], before: str = "") -> set[str]:
    found: set[str] = set()
    for field in msgspec.structs.fields(kind):
        name = f"{before}{field.name}"
        found.add(name)
        for item in (field.type, *get_args(field.type)):
            if isinstance(item, type) and issubclass(item, msgspec.Struct):
                found |= keys_of(item, f"{name}.")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_each_command_and_option_on_a_page_exists(page: str) -> None:
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    for verb, *words in commands(text):
        assert verb in COMMANDS or verb.startswith(("-", "VERB", "COMMAND")), verb
        found: click.Command | None = neverblink.get_command(click.Context(neverblink), verb)
        if found is None:
            continue
        if isinstance(found, click.Group) and words and re.fullmatch(r"[a-z]+", words[0]):
            found = found.get_command(click.Context(found), words[0])
            assert found is not None, (verb, words)
        options = {name for param in found.params for name in (*param.opts, *param.secondary_opts)}
        for word in words[: words.index("|") if "|" in words else None]:
            assert not re.match(r"--?[a-z]", word) or word.split("=")[0] in options, (verb, word)


def test_the_page_names_many_commands() -> None:
    assert len(commands(PAGE)) > 20


def test_each_key_of_the_configuration_on_the_page_exists() -> None:
    tables = "|".join(field.name for field in msgspec.structs.fields(Config))
    named = {item for item in QUOTED if re.fullmatch(rf"(?:{tables})\.[a-z_]+", item)}
    assert {"restart.pause_at_most", "watchdog.hang_after", "deploy.build_env", "log.size"} <= named
    assert named <= keys_of(Config)
    assert {"env_file", "data", "durability", "standby"} <= keys_of(Config)


def test_each_push_option_and_exit_code_on_the_page_exists() -> None:
    options = set(re.findall(r"git push -o ([a-z-]+)", PAGE))
    assert options
    assert options <= set(OPTIONS)
    codes = {int(code) for code in re.findall(r"exit (?:with )?(\d+)", PAGE)}
    assert {5, 7, 8} <= codes
    assert codes <= set(Exit)


def test_the_bounds_on_the_page_match_the_code() -> None:
    assert f"when it has lasted {BELIEVED_AFTER // 10**9} s" in PAGE
    assert f"ends itself after {EXIT_GRACE // 10**9} s" in PAGE
    assert duration.parse("1m") == RestartSettings().pause_at_most
    assert "`restart.pause_at_most` (1 min)" in PAGE


@pytest.mark.parametrize("page", PAGES)
def test_each_link_has_a_target(page: str) -> None:
    file = DOCS.parent / page
    for target in re.findall(r"\]\(([^)]+)\)", file.read_text(encoding="utf-8")):
        name, _, section = target.partition("#")
        if name.startswith("http"):
            continue
        other = file.parent / name if name else file
        assert other.exists(), target
        if section:
            assert section in sections(other), target


def sections(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
