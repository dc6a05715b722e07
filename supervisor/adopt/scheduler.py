"""Loops of other kinds, written as ordinary ones first: a blocking scheduler of APScheduler, and `await ws.recv()`.

Only jobs at fixed intervals can be. A line that goes away keeps its place until `finished`, so that line numbers stay
those of the script.
"""

from __future__ import annotations

import ast
import math
import re

from .adopt_error import AdoptError
from .script import Script, inside
from .source import Source, end_of, start_of

__all__ = ["finished", "with_plain_loop"]

_GONE = re.compile(r"@?__gone_(\d+)__")
_TICK = "__tick__"
_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 7 * 86400}


def with_plain_loop(source: Source) -> Source:
    """The script with a plain loop in place of its blocking scheduler, and `async for` in place of `recv`.

    Raises `AdoptError` for a job that is not called at a fixed interval.
    """
    script = Script(source)
    name = _scheduler(script)
    if name is None:
        return Source(source.path, source.changed()) if _receive(script) else source
    jobs: list[tuple[str, int]] = []
    start: ast.Expr | None = None
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = script.dotted(node.value.func)
            if called == f"{name}.start":
                start = node
            elif called == f"{name}.add_job":
                jobs.append(_job(source, node.value, node.value.args[:1], node.value.args[1:]))
                _take_out(source, node)
        elif isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and script.dotted(mark.func) == f"{name}.scheduled_job":
                    jobs.append(_job(source, mark, [ast.Name(node.name)], mark.args))
                    _take_out(source, mark)
    if start is None or not jobs:
        return source
    step = math.gcd(*(seconds for _, seconds in jobs))
    indent, unit = source.indent_of(start.lineno), source.unit
    lines = ["while True:"]
    for call, seconds in jobs:
        if seconds == step:
            lines.append(f"{indent}{unit}{call}")
        else:
            lines += [f"{indent}{unit}if {_TICK}.seq % {seconds // step} == 0:", f"{indent}{unit * 2}{call}"]
    lines.append(f"{indent}{unit}time.sleep({step})")
    source.replace(start_of(start), end_of(start), "\n".join(lines))
    return Source(source.path, source.changed())


def finished(text: str, tick: str) -> str:
    """The changed text without the lines that have gone."""
    kept: list[str] = []
    skipped = 0
    for line in text.splitlines(keepends=True):
        if found := _GONE.fullmatch(line.strip()):
            skipped = int(found[1])
        elif skipped and not line.strip():
            skipped -= 1
        else:
            skipped = 0
            kept.append(line)
    return "".join(kept).replace(_TICK, tick)


def _receive(script: Script) -> bool:
    """Write `while True: message = await ws.recv()` as `async for message in ws`; return whether there was one."""
    found = False
    for node in ast.walk(script.tree):
        first = node.body[0] if isinstance(node, ast.While) else None
        if (
            isinstance(node, ast.While)
            and isinstance(node.test, ast.Constant)
            and isinstance(first, ast.Assign)
            and isinstance(first.targets[0], ast.Name)
            and isinstance(first.value, ast.Await)
            and isinstance(first.value.value, ast.Call)
            and isinstance(first.value.value.func, ast.Attribute)
            and first.value.value.func.attr == "recv"
            and len(node.body) > 1
        ):
            read = script.source.segment(first.value.value.func.value)
            script.source.replace(
                start_of(node), end_of(node.test), f"async for {first.targets[0].id} in {read}"
            )
            _take_out(script.source, first)
            found = True
    return found


def _scheduler(script: Script) -> str | None:
    """The variable that has a BlockingScheduler."""
    for node in inside(script.tree.body):
        if isinstance(node, ast.Assign) and script.called(node.value).endswith("BlockingScheduler"):
            target = node.targets[0]
            if isinstance(target, ast.Name):
                _take_out(script.source, node)
                return target.id
    return None


def _job(source: Source, call: ast.Call, function: list[ast.expr], rest: list[ast.expr]) -> tuple[str, int]:
    """The call of a job, and its interval in seconds. Raises `AdoptError` for another kind of job."""
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    trigger = rest[0] if rest else named.get("trigger")
    args = named.get("args")
    known = isinstance(trigger, ast.Constant) and trigger.value == "interval" and len(function) == 1
    seconds = 0
    for unit, length in _UNITS.items():
        value = named.get(unit)
        if isinstance(value, ast.Constant) and isinstance(value.value, int):
            seconds += value.value * length
        elif value is not None:
            known = False
    if (
        not known
        or seconds < 1
        or "kwargs" in named
        or not (args is None or isinstance(args, ast.List | ast.Tuple))
    ):
        raise AdoptError(
            source.path,
            f"line {call.lineno}: this job has no fixed interval in whole seconds: call it from a loop of your "
            "own, with `while True:` and a sleep, and arm a timer for a time of the day",
        )
    given = (
        ", ".join(source.segment(one) for one in args.elts) if isinstance(args, ast.List | ast.Tuple) else ""
    )
    name = function[0].id if isinstance(function[0], ast.Name) else source.segment(function[0])
    return f"{name}({given})", seconds


def _take_out(source: Source, node: ast.expr | ast.stmt) -> None:
    """Replace a node by a mark with as many lines."""
    lines = (node.end_lineno or node.lineno) - node.lineno
    source.replace_node(node, f"__gone_{lines}__" + "\n" * lines)
