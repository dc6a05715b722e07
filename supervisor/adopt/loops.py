"""The loop of a script: where it is, how often it runs, and where it waits."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .scopes import FUNCTIONS, Function
from .script import Script, blocks, inside

__all__ = ["EndlessLoop", "Sleep", "joins", "loops", "stream_in"]

_DEEPEST = 6
_SLEEPS = ("time.sleep", "asyncio.sleep")


@dataclass
class Sleep:
    """A statement that sleeps. `last`: the loop's next round follows it."""

    statement: ast.stmt
    call: ast.Call
    last: bool
    failed: bool
    """In an `except` block."""


@dataclass
class EndlessLoop:
    """A loop without an end. `function` has it, None for the module; `chain` leads there from the entry."""

    node: ast.While | ast.AsyncFor
    function: Function | None
    chain: tuple[Function, ...]
    sleeps: list[Sleep] = field(default_factory=list[Sleep])
    stream: ast.AsyncFor | None = None
    """What it reads from, for a loop that waits for messages instead of sleeping."""
    beside: bool = False
    """It runs in a task or a thread beside others."""

    @property
    def is_async(self) -> bool:
        return isinstance(self.function, ast.AsyncFunctionDef)

    def period(self, script: Script) -> tuple[str, float, str]:
        """The argument for `tick`, its seconds, and why it is a guess ("" when it is none)."""
        usual = next((one for one in self.sleeps if one.last and not one.failed), None) or next(
            (one for one in self.sleeps if not one.failed), None
        )
        if usual is None or not usual.call.args:
            return '"1s"', 1.0, "the loop does not sleep: one second is a guess"
        return _period(script, usual.call.args[0])


def loops(script: Script) -> list[EndlessLoop]:
    """The loops without an end that the script runs when it is started, in the order in which it comes to them."""
    found: list[EndlessLoop] = []
    seen: set[ast.AST] = set()

    def look(
        statements: Sequence[ast.AST], function: Function | None, chain: tuple[Function, ...], beside: bool
    ) -> None:
        for node in inside(statements):
            if node in seen:
                continue
            if isinstance(node, ast.AsyncFor) or (isinstance(node, ast.While) and _is_endless(node)):
                seen.update(inside([node]))
                sleeps = list(_sleeps(script, node.body, last=True)) if isinstance(node, ast.While) else []
                found.append(EndlessLoop(node, function, chain, sleeps, stream_in(node), beside))
            elif isinstance(node, ast.Call) and len(chain) < _DEEPEST:
                target = script.target(node, function)
                if target is not None and target not in chain:
                    aside = beside or script.is_background_argument(node)
                    look(target.body, target, (*chain, target), aside)

    look(script.entry(), None, (), False)
    return found


def joins(script: Script) -> int | None:
    """The line where the script joins neverblink already, None when it does not."""
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Call) and script.dotted(node.func) == "neverblink.worker.join":
            return node.lineno
        if isinstance(node, ast.ClassDef):
            bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
            if any(script.dotted(base) == "neverblink.worker.Worker" for base in bases):
                return node.lineno
    return None


def stream_in(node: ast.AST) -> ast.AsyncFor | None:
    """The `async for` inside a statement."""
    return next((one for one in inside([node]) if isinstance(one, ast.AsyncFor)), None)


def _is_endless(node: ast.While) -> bool:
    """Whether a `while` is the loop of a program: `while True`, `while running`, `while not stop.is_set()`."""
    if isinstance(node.test, ast.Constant):
        return bool(node.test.value)
    test = (
        node.test.operand
        if isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
        else node.test
    )
    if isinstance(test, ast.Call):
        return (
            not test.args
            and isinstance(test.func, ast.Attribute)
            and test.func.attr in ("is_set", "is_running")
        )
    return isinstance(test, ast.Name | ast.Attribute)


def _sleeps(script: Script, body: list[ast.stmt], *, last: bool, failed: bool = False) -> Iterator[Sleep]:
    """The sleeps in a block. `last`: the next round follows the block."""
    for at, statement in enumerate(body):
        after = body[at + 1 :]
        ends = last and (not after or (len(after) == 1 and isinstance(after[0], ast.Continue)))
        ends = ends or bool(after and isinstance(after[0], ast.Continue))
        if isinstance(statement, ast.Expr) and script.called(statement.value) in _SLEEPS:
            call = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
            if isinstance(call, ast.Call) and not _is_zero(call):
                yield Sleep(statement, call, ends, failed)
            continue
        if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
            continue
        loop = isinstance(statement, ast.For | ast.AsyncFor | ast.While)
        for block in blocks(statement):
            # What is after the body of a `try` without an error: `else`, or `finally`.
            tried = isinstance(statement, ast.Try) and block is statement.body
            more = tried and isinstance(statement, ast.Try) and bool(statement.orelse or statement.finalbody)
            yield from _sleeps(script, block, last=ends and not loop and not more, failed=failed)
        for handler in getattr(statement, "handlers", []):
            more = bool(getattr(statement, "finalbody", []))
            yield from _sleeps(script, handler.body, last=ends and not more, failed=True)


def _is_zero(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and not call.args[0].value


def _period(script: Script, expression: ast.expr) -> tuple[str, float, str]:
    text = script.source.segment(expression)
    value = _number(script, expression)
    if value is not None and value > 0:
        if isinstance(expression, ast.Constant):
            return f'"{_seconds(value)}"', value, ""
        return f'f"{{{text}}}s"', value, ""
    inner = {
        number: node
        for node in ast.walk(expression)
        if isinstance(node, ast.Constant | ast.Name)
        and (number := _number(script, node)) is not None
        and number > 0
    }
    if len(inner) == 1 and ("time" in text or "loop" in text):
        # Such as `60 - time.time() % 60`, which keeps to a grid as ticks do.
        [(number, node)] = inner.items()
        known = (
            f'"{_seconds(number)}"'
            if isinstance(node, ast.Constant)
            else f'f"{{{script.source.segment(node)}}}s"'
        )
        return known, number, ""
    return '"1s"', 1.0, f"it sleeps {text} seconds, which is not a constant: one second is a guess"


def _number(script: Script, node: ast.expr) -> float | None:
    """The value of an expression that is a number, or a name of the module that is set to one once."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.Name():
            scope = script.scopes.of.get(node)
            if scope is None or scope.owner(node.id) is not script.scopes.module:
                return None
            assigned = [
                statement.value
                for statement in script.tree.body
                if isinstance(statement, ast.Assign | ast.AnnAssign)
                and statement.value is not None
                and any(
                    isinstance(target, ast.Name) and target.id == node.id
                    for target in (
                        statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                    )
                )
            ]
            return _number(script, assigned[0]) if len(assigned) == 1 else None
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() | ast.Add() | ast.Sub(), right=right):
            a, b = _number(script, left), _number(script, right)
            if a is None or b is None or (isinstance(node.op, ast.Div) and not b):
                return None
            match node.op:
                case ast.Mult():
                    return a * b
                case ast.Div():
                    return a / b
                case ast.Add():
                    return a + b
                case _:
                    return a - b
        case _:
            return None


def _seconds(value: float) -> str:
    if value == int(value):
        return f"{int(value)}s"
    return f"{value * 1000:g}ms"
