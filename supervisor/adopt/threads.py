"""Threads that a script starts before its loop, and that can be told to end: they are bound to the lead."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from .script import Script, inside
from .source import end_of, start_of

__all__ = ["StartedThread", "started_thread", "tell_to_end"]


@dataclass
class StartedThread:
    """A thread: its function of this module, its arguments, and the statement that starts it, if not the same."""

    call: ast.Call
    function: ast.FunctionDef
    args: list[ast.expr]
    start: ast.stmt | None


def started_thread(script: Script, statement: ast.stmt, block: Sequence[ast.stmt]) -> StartedThread | None:
    """The thread that a statement makes and starts, or that a later one in its block starts.

    None for one whose function is not a loop with sleeps, or is used elsewhere too.
    """
    value = statement.value if isinstance(statement, ast.Expr | ast.Assign) else None
    start: ast.stmt | None = None
    if (
        isinstance(statement, ast.Expr)
        and isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
    ):
        value = value.func.value if value.func.attr == "start" else None
    elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        name = statement.targets[0]
        owner = script.scopes.of[name].owner(name.id)
        uses = (
            [node for node in script.scopes.references(owner, name.id) if node is not name] if owner else []
        )
        start = next((one for one in block if len(uses) == 1 and uses[0] in set(inside([one]))), None)
        if not (isinstance(start, ast.Expr) and script.called(start.value) == f"{name.id}.start"):
            return None
    if not isinstance(value, ast.Call) or script.called(value) != "threading.Thread" or value.args:
        return None
    named = {keyword.arg: keyword.value for keyword in value.keywords}
    target, args = named.get("target"), named.get("args")
    function = script.functions.get(target.id) if isinstance(target, ast.Name) else None
    if not isinstance(function, ast.FunctionDef) or set(named) - {"target", "args", "daemon", "name"}:
        return None
    if not (args is None or isinstance(args, ast.Tuple | ast.List)) or _loop(script, function) is None:
        return None
    if len(list(script.scopes.references(script.scopes.module, function.name))) != 1:
        return None
    return StartedThread(value, function, args.elts if isinstance(args, ast.Tuple | ast.List) else [], start)


def tell_to_end(script: Script, thread: StartedThread, name: str) -> None:
    """Give the thread's function the event `name`, which ends its loop and its sleeps."""
    source, function = script.source, thread.function
    loop = _loop(script, function)
    assert loop is not None
    line = source.text_of(function.lineno)
    column = len(line[: line.index("(", line.index(function.name)) + 1].encode())
    comma = ", " if function.args.args else ""
    source.replace((function.lineno, column), (function.lineno, column), f"{name}{comma}")
    source.replace_node(loop.test, f"not {name}.is_set()")
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and script.called(node) == "time.sleep":
            source.replace(start_of(node), end_of(node.func), f"{name}.wait")


def _loop(script: Script, function: ast.FunctionDef) -> ast.While | None:
    """The only loop of a thread's function: `while True` with a sleep."""
    found = [node for node in ast.walk(function) if isinstance(node, ast.While)]
    if len(found) != 1 or not isinstance(found[0].test, ast.Constant) or not found[0].test.value:
        return None
    sleeps = any(
        script.called(node) == "time.sleep" for node in ast.walk(found[0]) if isinstance(node, ast.Call)
    )
    return found[0] if sleeps else None
