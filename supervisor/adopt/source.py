"""A script's text: reading it, and changing it at the positions of its syntax tree."""

from __future__ import annotations

import ast
import difflib
import io
import os
import tokenize
from pathlib import Path

from .adopt_error import AdoptError

__all__ = ["Source", "end_of", "first_line", "read_script", "start_of"]

_BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.With, ast.Try)
_LARGEST = 4 * 1024 * 1024


class Source:
    """A script, and the changes to be made to it. Lines count from 1; columns are bytes of UTF-8, as in `ast`."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.text = text.replace("\r\n", "\n")
        self.tree = ast.parse(self.text)
        # Not `splitlines`: Python's lines end at a line feed alone.
        self._lines = [f"{line}\n".encode() for line in self.text.removesuffix("\n").split("\n")]
        self._edits: list[tuple[tuple[int, int], tuple[int, int], int, bytes]] = []
        self.unit = self._unit()
        """One level of indentation."""
        self._inside = self._inside_strings()

    def segment(self, node: ast.AST) -> str:
        """The text of a node."""
        return ast.get_source_segment(self.text, node) or ""

    def indent_of(self, line: int) -> str:
        """The white space with which a line begins."""
        text = self._lines[line - 1].decode()
        return text[: len(text) - len(text.lstrip(" \t"))]

    def text_of(self, line: int) -> str:
        return self._lines[line - 1].decode().rstrip("\r\n")

    def replace(self, start: tuple[int, int], end: tuple[int, int], text: str) -> None:
        """Replace what is between two positions (line, column)."""
        self._edits.append((start, end, len(self._edits), text.encode()))

    def replace_node(self, node: ast.expr | ast.stmt, text: str) -> None:
        self.replace(start_of(node), end_of(node), text)

    def insert_lines(self, before: int, lines: list[str]) -> None:
        """Insert lines before line `before`."""
        at = (before, 0) if before <= len(self._lines) else (len(self._lines) + 1, 0)
        self.replace(at, at, "".join(f"{line}\n" for line in lines))

    def blank_before(self, line: int) -> list[str]:
        """The blank lines that are missing before a definition at this line."""
        there = 0
        while line - there > 1 and not self.text_of(line - there - 1).strip():
            there += 1
        return [""] * (2 - min(there, 2)) if line - there > 1 else []

    def remove_lines(self, first: int, last: int) -> None:
        self.replace((first, 0), (last + 1, 0), "")

    def indent(self, first: int, last: int) -> None:
        """Indent these lines by one level, but not the inside of a string."""
        for number in range(first, last + 1):
            if number not in self._inside and self._lines[number - 1].strip():
                self.replace((number, 0), (number, 0), self.unit)

    def reindent(self, first: int, last: int, old: str, new: str) -> None:
        """Give the lines with the indentation `old`, and those further in, the indentation `new`."""
        for number in range(first, last + 1):
            if (
                number not in self._inside
                and self.text_of(number).startswith(old)
                and self.text_of(number).strip()
            ):
                self.replace((number, 0), (number, len(old.encode())), new)

    def changed(self) -> str:
        """The text with all changes, with line feeds alone."""
        whole = b"".join(self._lines)
        starts = [0]
        for line in self._lines:
            starts.append(starts[-1] + len(line))

        def offset(position: tuple[int, int]) -> int:
            return starts[min(position[0], len(starts)) - 1] + position[1]

        edits = [(offset(start), offset(end), number, text) for start, end, number, text in self._edits]
        # What is replaced or removed as a whole is not changed in addition.
        left = [edit for edit in edits if not any(_is_within(edit, other) for other in edits)]
        # From the end, so that earlier offsets stay right. At one offset the edit that was asked for first stays first.
        for start, end, _, text in sorted(left, reverse=True):
            whole = whole[:start] + text + whole[end:]
        return whole.decode()

    def diff(self, new: str) -> str:
        name = self.path.name
        lines = difflib.unified_diff(
            self.text.splitlines(keepends=True), new.splitlines(keepends=True), name, f"{name} on neverblink"
        )
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
        )

    def _unit(self) -> str:
        for node in ast.walk(self.tree):
            body = node.body if isinstance(node, _BLOCKS) else []
            if body and isinstance(node, ast.stmt) and body[0].lineno > node.lineno:
                inner, outer = self.indent_of(body[0].lineno), self.indent_of(node.lineno)
                if len(inner) > len(outer):
                    return inner[len(outer) :]
        return "    "

    def _inside_strings(self) -> set[int]:
        """The lines that begin inside a string."""
        found: set[int] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and isinstance(
                getattr(node, "value", ""), str | bytes
            ):
                last = node.end_lineno or node.lineno
                if last > node.lineno and not self._is_concatenation(node.lineno, last):
                    found.update(range(node.lineno + 1, last + 1))
        return found

    def _is_concatenation(self, first: int, last: int) -> bool:
        """Whether these lines hold several strings, each on its own line."""
        text = b"".join(self._lines[first - 1 : last])
        return b'"""' not in text and b"'''" not in text


def _is_within(edit: tuple[int, int, int, bytes], other: tuple[int, int, int, bytes]) -> bool:
    """Whether an edit lies inside what another one replaces."""
    start, end = edit[:2]
    if start == end:
        return other[0] < start < other[1]
    return other[0] <= start and end <= other[1] and (start, end) != other[:2]


def start_of(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def end_of(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def first_line(statement: ast.stmt) -> int:
    """The line of a statement, or of its first decorator."""
    return min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))])


def read_script(path: Path) -> Source:
    """Read the script at `path`. Raises `AdoptError`."""
    if path.is_dir():
        raise AdoptError(path, "is a directory: name the script in it that has the loop")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise AdoptError(path, "there is no such file") from None
    except OSError as problem:
        raise AdoptError(
            path, f"can't be read: {problem.strerror or os.strerror(problem.errno or 0)}"
        ) from None
    if len(data) > _LARGEST:
        raise AdoptError(path, f"is larger than {_LARGEST // 1024**2} MiB: is it a script?")
    if b"\0" in data:
        raise AdoptError(path, "is a binary file: expected a Python script")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        raise AdoptError(path, "is not text in UTF-8 or in the encoding that it declares") from None
    if encoding not in ("utf-8", "utf-8-sig"):
        raise AdoptError(path, f"is written in {encoding}: save it as UTF-8")
    text = text.removeprefix("\ufeff")
    try:
        source = Source(path, text)
    except SyntaxError as problem:
        raise AdoptError(path, f"line {problem.lineno}: {problem.msg}: it is not valid Python 3") from None
    except (ValueError, RecursionError) as problem:
        raise AdoptError(path, f"is not valid Python 3: {problem}") from None
    if not path.stem.isidentifier() or path.suffix != ".py":
        mend = "".join(letter if letter.isalnum() else "_" for letter in path.stem)
        raise AdoptError(
            path,
            f"cannot be imported under this name: rename it to {mend if mend[:1].isalpha() else f'bot_{mend}'}.py",
        )
    return source
