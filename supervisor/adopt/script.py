"""What a script does: its imports, its entry, the functions that it calls, and those that run beside its loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import cast

from .scopes import FUNCTIONS, Function, Scopes
from .source import Source

__all__ = ["BACKGROUND", "Script", "blocks", "inside"]

BACKGROUND = {
    "asyncio.create_task",
    "asyncio.ensure_future",
    "asyncio.gather",
    "asyncio.wait",
    "asyncio.to_thread",
    "asyncio.start_server",
    "threading.Thread",
    "threading.Timer",
    "multiprocessing.Process",
    "concurrent.futures.ThreadPoolExecutor",
}
"""Calls that run a function beside the one that calls them."""

_RUNNERS = {"asyncio.run", "run_until_complete", "asyncio.get_event_loop", "anyio.run", "trio.run"}
_SAME_THREAD = {"do", "map", "filter", "sorted", "min", "max", "partial", "signal", "register", "sort"}
"""Callers of a function that they are given, in the thread of the loop; for `do`, see the library schedule."""


def inside(statements: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of these statements in order, without those of functions and classes defined in them."""
    for statement in statements:
        yield statement
        if not isinstance(statement, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            yield from inside(list(ast.iter_child_nodes(statement)))


def blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The blocks of statements that a statement consists of, without those of its handlers."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block:
            yield cast("list[ast.stmt]", block)


class Script:
    """The facts about a script that every part of the adoption needs."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tree = source.tree
        self.scopes = Scopes(source.tree)
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self.names = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)} | {
            name for scope in set(self.scopes.of.values()) for name in scope.bound
        }
        self.names |= self.scopes.module.bound
        self.imports = self._imports()
        self.functions = {node.name: node for node in self.tree.body if isinstance(node, FUNCTIONS)}
        self.classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}
        self.main_block = next((node for node in self.tree.body if _is_main_block(node)), None)
        self.background: set[Function] = self.beside(None)
        """The functions that run beside the loop: tasks, threads, and callbacks that a library calls."""

    def free(self, *wanted: str) -> str:
        """The first of these names that the script does not use."""
        numbered = [f"{wanted[-1]}{number}" for number in range(2, 100)]
        return next(name for name in (*wanted, *numbered) if name not in self.names)

    def dotted(self, node: ast.AST) -> str:
        """What an expression such as `t.sleep` names, through the imports: "time.sleep"; "" for another expression."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            before = self.dotted(node.value)
            return f"{before}.{node.attr}" if before else node.attr
        return ""

    def called(self, node: ast.AST) -> str:
        """The dotted name of what a call calls, awaited or not; "" for another expression."""
        if isinstance(node, ast.Await):
            node = node.value
        return self.dotted(node.func) if isinstance(node, ast.Call) else ""

    def entry(self) -> list[ast.stmt]:
        """The statements that run when the script is started: those of the module, and of its `__main__` block."""
        own = [node for node in self.tree.body if node is not self.main_block]
        return [*own, *(self.main_block.body if isinstance(self.main_block, ast.If) else [])]

    def target(self, call: ast.AST, within: Function | None) -> Function | None:
        """The function of this script that a call runs, None when it is another one's."""
        if isinstance(call, ast.Await):
            call = call.value
        if not isinstance(call, ast.Call):
            return None
        if isinstance(call.func, ast.Name):
            return self.functions.get(call.func.id) or (
                self.method(self.classes[call.func.id], "__init__") if call.func.id in self.classes else None
            )
        if isinstance(call.func, ast.Attribute):
            owner = self.class_of(call.func.value, within)
            return self.method(owner, call.func.attr) if owner is not None else None
        return None

    def class_of(self, node: ast.AST, within: Function | None) -> ast.ClassDef | None:
        """The class of this script that an expression is an object of: `Bot()`, `bot`, `self`."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self.classes.get(node.func.id)
        if not isinstance(node, ast.Name):
            return None
        if within is not None and within.args.args and node.id == within.args.args[0].arg:
            parent = self.parents.get(within)
            if isinstance(parent, ast.ClassDef):
                return parent
        for found in ast.walk(self.tree):
            if (
                isinstance(found, ast.Assign)
                and any(isinstance(target, ast.Name) and target.id == node.id for target in found.targets)
                and isinstance(found.value, ast.Call)
                and isinstance(found.value.func, ast.Name)
                and found.value.func.id in self.classes
            ):
                return self.classes[found.value.func.id]
        return None

    def method(self, owner: ast.ClassDef, name: str) -> Function | None:
        return next((node for node in owner.body if isinstance(node, FUNCTIONS) and node.name == name), None)

    def calls(self, statements: Sequence[ast.AST]) -> Iterator[ast.Call]:
        """The calls in these statements. Those that run a function beside the loop are left out."""
        for node in inside(statements):
            if isinstance(node, ast.Call) and not self.is_background_argument(node):
                yield node

    def is_background_argument(self, node: ast.AST) -> bool:
        """Whether a node is an argument of a call that runs it beside the loop, such as create_task."""
        up = self.parents.get(node)
        while up is not None and not isinstance(up, ast.stmt):
            if isinstance(up, ast.Call) and self.is_background_call(up):
                return True
            up = self.parents.get(up)
        return False

    def is_background_call(self, call: ast.Call) -> bool:
        name = self.called(call)
        return name in BACKGROUND or name.endswith(
            (".create_task", ".submit", ".run_in_executor", ".ensure_future")
        )

    def reached(self, roots: Sequence[Function]) -> set[Function]:
        """These functions of the script, and all that they call."""
        found: set[Function] = set()
        waiting = list(roots)
        while waiting:
            function = waiting.pop()
            if function in found:
                continue
            found.add(function)
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and (target := self.target(node, function)) is not None:
                    waiting.append(target)
                elif isinstance(node, FUNCTIONS):
                    waiting.append(node)
        return found

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes that contain this one, from the inside out."""
        up = self.parents.get(node)
        while up is not None:
            yield up
            up = self.parents.get(up)

    def beside(self, loop: Function | None) -> set[Function]:
        """The functions that run beside the one with the loop, and all that they call."""
        roots: list[Function] = []
        for node in ast.walk(self.tree):
            within = self.scopes.of[node].function if node in self.scopes.of else None
            if isinstance(node, ast.Call) and self.is_background_argument(node):
                target = self.target(node, within)
                roots += [target] if target is not None else []
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                target = self._named(node, within)
                if target is not None and self._is_passed_on(node):
                    roots.append(target)
        return self.reached([root for root in roots if root is not loop])

    def _named(self, node: ast.Name | ast.Attribute, within: Function | None) -> Function | None:
        """The function that an expression names without a call."""
        if isinstance(node, ast.Name):
            scope = self.scopes.of.get(node)
            owner = scope.owner(node.id) if scope is not None else None
            if owner is self.scopes.module:
                return self.functions.get(node.id)
            inner = owner.node if owner is not None else None
            if isinstance(inner, FUNCTIONS):
                return next(
                    (one for one in inner.body if isinstance(one, FUNCTIONS) and one.name == node.id), None
                )
            return None
        owner_class = self.class_of(node.value, within)
        return self.method(owner_class, node.attr) if owner_class is not None else None

    def _is_passed_on(self, node: ast.AST) -> bool:
        """Whether a function is given to something that may call it outside the loop."""
        parent = self.parents.get(node)
        if isinstance(parent, ast.Call) and parent.func is node:
            return False
        if isinstance(parent, (*FUNCTIONS, ast.ClassDef)):
            return False  # a decorator, or an annotation
        call = (
            parent
            if isinstance(parent, ast.Call)
            else self.parents.get(parent)
            if parent is not None
            else None
        )
        if isinstance(call, ast.Call):
            return self.called(call).rpartition(".")[2] not in _SAME_THREAD
        return isinstance(parent, ast.Assign) and any(
            isinstance(one, ast.Attribute) for one in parent.targets
        )

    def _imports(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    found[name] = alias.name if alias.asname else name
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
        return found


def _is_main_block(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
    )
