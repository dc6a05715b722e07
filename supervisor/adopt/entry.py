"""The function that starts the bot: the one that the script calls, or one made of the statements before the loop."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from .adopt_error import AdoptError
from .loops import EndlessLoop
from .scopes import FUNCTIONS
from .script import Script, inside
from .source import end_of, first_line, start_of

__all__ = ["only_call", "with_entry"]


def with_entry(script: Script, loop: EndlessLoop, name: str) -> tuple[str, str]:
    """The text of the changed `script` with a function to name in the configuration, and that function's name.

    `loop` is the loop of the script as it was; `name` is free for a new function.
    """
    source, block = script.source, script.main_block
    starts = loop.chain[0].name if loop.chain else ""
    if isinstance(block, ast.If):
        if len(block.body) == 1 and _calls_only(script, block.body[0], starts):
            return source.text, starts
        body: Sequence[ast.stmt] = block.body
        last = block.end_lineno or block.lineno
        source.replace(start_of(block), end_of(block.test), f"def {name}()")
        indent = source.indent_of(body[0].lineno)
    else:
        top = _leading(script, loop, starts)
        if _calls_only(script, top, starts):
            # Not at the import, which every process does.
            source.insert_lines(top.lineno, ['if __name__ == "__main__":'])
            source.indent(top.lineno, top.end_lineno or top.lineno)
            return source.changed(), starts
        body = script.tree.body[script.tree.body.index(top) :]
        last = body[-1].end_lineno or body[-1].lineno
        source.insert_lines(first_line(top), [*source.blank_before(first_line(top)), f"def {name}():"])
        indent = source.unit
    shared = _shared(script, body)
    if shared:
        source.insert_lines(first_line(body[0]), [f"{indent}global {', '.join(sorted(shared))}"])
    if not isinstance(block, ast.If):
        source.indent(first_line(body[0]), last)
    source.insert_lines(last + 1, ["", "", 'if __name__ == "__main__":', f"{source.unit}{name}()"])
    return source.changed(), name


def only_call(statement: ast.stmt) -> ast.Call | None:
    """The call that a statement consists of, with or without an assignment or `await`."""
    value = statement.value if isinstance(statement, ast.Expr | ast.Assign) else None
    if isinstance(value, ast.Await):
        value = value.value
    return value if isinstance(value, ast.Call) else None


def _calls_only(script: Script, statement: ast.stmt, function: str) -> bool:
    """Whether a statement is nothing but `main()` or `asyncio.run(main())`."""
    call = only_call(statement)
    if call is None or isinstance(statement, ast.Assign):
        return False
    if script.called(call) == "asyncio.run" and len(call.args) == 1 and isinstance(call.args[0], ast.Call):
        call = call.args[0]
    return (
        isinstance(call.func, ast.Name)
        and call.func.id == function
        and function in script.functions
        and not call.args
        and not call.keywords
    )


def _leading(script: Script, loop: EndlessLoop, starts: str) -> ast.stmt:
    """The statement of the module that leads to the loop."""
    for top in script.tree.body:
        if isinstance(top, (*FUNCTIONS, ast.ClassDef)):
            continue
        for node in inside([top]):
            if starts and isinstance(node, ast.Call):
                target = script.target(node, None)
                if target is not None and target.name == starts:
                    return top
            elif not starts and script.called(node) == "neverblink.worker.join":
                return top
    raise AdoptError(script.source.path, f"line {loop.node.lineno}: nothing that is run leads to this loop")


def _shared(script: Script, body: Sequence[ast.stmt]) -> set[str]:
    """The variables of the module that these statements set and that others use."""
    scopes, mine = script.scopes, set(inside(body))
    made = {
        node.id
        for node in mine
        if isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Store)
        and scopes.of[node].owner(node.id) is scopes.module
    }
    return {name for name in made if any(one not in mine for one in scopes.references(scopes.module, name))}
