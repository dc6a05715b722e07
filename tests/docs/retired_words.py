"""Finds the retired words: the project's old dialect and its metaphors, in prose and in names.

`python -m tests.docs.retired_words [ROOM...]` prints the lines that still have one.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PLACES = (
    *("protocol", "worker", "supervisor", "tests", "bin", "docs"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
)
"""Where people read what we write."""
ITSELF = ("tests/docs/retired_words.py", "tests/docs/test_retired_words.py")

# "There is no X" is plain; "it is no X" is the dialect.
IS_NO = r"(?<!there )is no(?! (?:more|less|longer|later|earlier)\b) \w+"
DIALECT = rf"somebody|(?<!`)nobody|whoever|{IS_NO}|told of|may be said|so grave"
METAPHORS = (
    *("desk", "crew", "courier", "doorstep", "postbox", "teller", "keeper"),
    *("heir", "heirs", "baton", "errand", "lookout"),
)
"""Write instead: dispatcher, worker pool, sender, listener, socket, notifier, successor, final-frame socket."""
IN_PROSE = re.compile(rf"\b(?:{DIALECT}|(?<!\.)(?:{'|'.join(METAPHORS)}))\b", re.IGNORECASE)
IN_NAMES = re.compile(rf"(?:^|_)(?:{'|'.join(METAPHORS)})(?=_|$)")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Line(NamedTuple):
    """One line that has a retired word."""

    path: str
    number: int
    text: str


def find() -> list[Line]:
    """All lines of the tree with a retired word, in order."""
    found: list[Line] = []
    for path in _files():
        name = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        if not (in_text(" ".join(text.split())) or in_name("_".join(set(re.findall(r"\w+", text))))):
            continue
        numbers = _in_python(text, lines) if path.suffix == ".py" else _in_text(lines)
        found += [Line(name, number, lines[number - 1].strip()) for number in sorted(numbers)]
    return found


def room_of(path: str) -> str:
    """The room of a file: `docs`, `bin`, a file at the top, or two folders such as `supervisor/api`."""
    first, *rest = path.split("/")
    if first in ("docs", "bin") or not rest:
        return first
    return f"{first}/{rest[0]}" if len(rest) > 1 else first


def in_text(text: str) -> bool:
    """Whether a line of prose has a retired word."""
    return IN_PROSE.search(text) is not None


def in_name(name: str) -> bool:
    """Whether an identifier has a retired metaphor among its words."""
    return IN_NAMES.search(CAMEL.sub("_", name).lower()) is not None


def _files() -> Iterator[Path]:
    for place in PLACES:
        top = ROOT / place
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if not path.is_file() or path.relative_to(ROOT).as_posix() in ITSELF:
                continue
            script = path.parent.name == "bin" and not path.suffix
            if script or (path.suffix in (".py", ".md", ".js", ".html") and "vendor" not in path.parts):
                yield path


def _in_text(lines: list[str]) -> set[int]:
    return {number for number, line in enumerate(lines, 1) if in_text(line)}


def _in_python(text: str, source: list[str]) -> set[int]:
    """Comments, names, and strings that are prose: one without a space is a key or a name on the wire."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if (token.type == tokenize.COMMENT and in_text(token.string)) or (
            token.type == tokenize.NAME and in_name(token.string)
        ):
            found.add(token.start[0])
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            inside = range(node.lineno - 1, node.end_lineno or node.lineno)
            # Implicitly joined strings are one constant of several lines: look at the source of each.
            lines = {number + 1 for number in inside if in_text(source[number])}
            if lines or in_text(node.value):
                found |= lines or {node.lineno}
    return found


def main() -> None:
    rooms = sys.argv[1:]
    for line in find():
        if not rooms or room_of(line.path) in rooms:
            print(f"{line.path}:{line.number}: {line.text}")


if __name__ == "__main__":
    main()
