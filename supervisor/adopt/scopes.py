"""Which variable each name of a module means: Python's scoping rules, on its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator

__all__ = ["FUNCTIONS", "Function", "NameScope", "Scopes"]

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class NameScope:
    """A module, function, class or comprehension, and the names that are its own."""

    def __init__(self, node: ast.AST, parent: NameScope | None) -> None:
        self.node = node
        self.parent = parent
        self.bound: set[str] = set()
        self.elsewhere: dict[str, str] = {}
        """Names that `global` or `nonlocal` declares to be of another scope."""

    @property
    def function(self) -> Function | None:
        """The function in which this scope is evaluated, None for the module."""
        scope: NameScope | None = self
        while scope is not None and not isinstance(scope.node, FUNCTIONS):
            scope = scope.parent
        return scope.node if scope is not None and isinstance(scope.node, FUNCTIONS) else None

    def owner(self, name: str) -> NameScope | None:
        """The scope whose variable `name` means here; None for a builtin."""
        scope: NameScope | None = self
        while scope is not None:
            kind = scope.elsewhere.get(name)
            if kind == "global":
                return self._module()
            visible = scope is self or not isinstance(scope.node, ast.ClassDef)
            if kind is None and visible and name in scope.bound:
                return scope
            scope = scope.parent
        return None

    def _module(self) -> NameScope:
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope


class Scopes:
    """The scopes of a module, and the scope in which each of its nodes is evaluated."""

    def __init__(self, tree: ast.Module) -> None:
        self.module = NameScope(tree, None)
        self.of: dict[ast.AST, NameScope] = {}
        for statement in tree.body:
            self._visit(statement, self.module)

    def references(self, scope: NameScope, name: str) -> Iterator[ast.Name]:
        """All names that mean the variable `name` of `scope`."""
        for node, at in self.of.items():
            if isinstance(node, ast.Name) and node.id == name and at.owner(name) is scope:
                yield node

    def _visit(self, node: ast.AST, scope: NameScope) -> None:
        self.of[node] = scope
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self._function(node, scope)
                return
            case ast.ClassDef():
                scope.bound.add(node.name)
                for outer in (*node.decorator_list, *node.bases, *node.keywords):
                    self._visit(outer, scope)
                inner = NameScope(node, scope)
                for statement in node.body:
                    self._visit(statement, inner)
                return
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node, scope)
                return
            case ast.Global() | ast.Nonlocal():
                kind = "global" if isinstance(node, ast.Global) else "nonlocal"
                scope.elsewhere.update(dict.fromkeys(node.names, kind))
            case ast.Name(ctx=ast.Store() | ast.Del()):
                scope.bound.add(node.id)
            case ast.NamedExpr():
                holder = scope
                while isinstance(holder.node, _COMPREHENSIONS) and holder.parent is not None:
                    holder = holder.parent
                holder.bound.add(node.target.id)
            case ast.Import() | ast.ImportFrom():
                scope.bound.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                scope.bound.add(name)
            case ast.MatchMapping(rest=str(name)):
                scope.bound.add(name)
            case _:
                pass
        for child in ast.iter_child_nodes(node):
            self._visit(child, scope)

    def _function(self, node: Function | ast.Lambda, scope: NameScope) -> None:
        arguments = node.args
        outer: list[ast.AST] = [
            *arguments.defaults,
            *(value for value in arguments.kw_defaults if value is not None),
        ]
        everything = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        everything += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
        outer += [one.annotation for one in everything if one.annotation is not None]
        if not isinstance(node, ast.Lambda):
            scope.bound.add(node.name)
            outer += node.decorator_list
            if node.returns is not None:
                outer.append(node.returns)
        for part in outer:
            self._visit(part, scope)
        inner = NameScope(node, scope)
        inner.bound.update(one.arg for one in everything)
        for statement in [node.body] if isinstance(node, ast.Lambda) else node.body:
            self._visit(statement, inner)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, scope: NameScope
    ) -> None:
        inner = NameScope(node, scope)
        self._visit(node.generators[0].iter, scope)
        for at, generator in enumerate(node.generators):
            self._visit(generator.target, inner)
            for part in (*([generator.iter] if at else []), *generator.ifs):
                self._visit(part, inner)
        for part in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
            self._visit(part, inner)
