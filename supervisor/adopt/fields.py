"""The fields of the state: the variables that the loop changes and that begin with plain data, and their types."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from .loops import EndlessLoop
from .scopes import FUNCTIONS, Function, NameScope
from .script import Script

__all__ = ["Field", "Variable", "variables"]

_CHANGES = {
    "add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem", "popleft",
    "remove", "reverse", "rotate", "setdefault", "sort", "update",
}  # fmt: skip
"""Methods that change the object they belong to."""

_CALLS = {
    "dict": "dict",
    "list": "list",
    "set": "set",
    "collections.deque": "deque",
    "collections.Counter": "Counter",
    "collections.OrderedDict": "OrderedDict",
    "time.time": "float",
    "time.monotonic": "float",
    "time.perf_counter": "float",
    "time.time_ns": "int",
}
_FACTORIES = {"int", "float", "str", "list", "dict", "set"}
_PLAIN = (
    ast.Constant, ast.Dict, ast.List, ast.Set, ast.Tuple, ast.UnaryOp, ast.BinOp, ast.DictComp, ast.ListComp,
    ast.SetComp, ast.comprehension, ast.Name, ast.Load, ast.Store, ast.unaryop, ast.operator, ast.Call, ast.keyword,
    ast.Attribute,
)  # fmt: skip
_HARMLESS = {
    *_CALLS,
    "range",
    "len",
    "zip",
    "enumerate",
    "dict.fromkeys",
    "collections.defaultdict",
    "tuple",
    "sorted",
}


@dataclass
class Field:
    """A field of the state: its type and default, as they are written."""

    name: str
    type: str
    default: str
    imports: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """(module, name) that the type needs."""


@dataclass
class Variable:
    """A variable that outlives a round of the loop. `place` is module, local or attribute."""

    name: str
    place: str
    first: ast.Assign | ast.AnnAssign
    """Where it gets its first value."""
    references: list[ast.expr]
    changed: list[ast.expr]
    """The references that change it, without the first."""
    beside: list[ast.expr]
    """Those of them that are outside the turns: in a task, a thread or a callback."""
    early: list[ast.expr]
    """Those of them that run before the loop."""
    passed: list[ast.expr]
    field: Field | None = None
    problem: str = ""
    """Why it cannot be a field."""


def variables(script: Script, loop: EndlessLoop) -> list[Variable]:
    """The variables that the loop changes, in the order in which they begin."""
    script.background = script.beside(loop.function)
    places: list[tuple[NameScope, str]] = [(script.scopes.module, "module")]
    if loop.function is not None:
        places.append((_scope_of(script, loop.function), "local"))
    found: list[Variable] = []
    for scope, place in places:
        for name in sorted(scope.bound):
            references: list[ast.expr] = list(script.scopes.references(scope, name))
            variable = _variable(script, loop, name, place, references)
            found += [variable] if variable is not None else []
    owner = _class_of(script, loop)
    if owner is not None:
        for name, references in _attributes(script, owner).items():
            variable = _variable(script, loop, name, "attribute", references)
            found += [variable] if variable is not None else []
    found.sort(key=lambda variable: variable.first.lineno)
    taken: set[str] = set()
    for variable in found:
        if variable.name in taken and not variable.problem:
            variable.problem, variable.field = "another variable of this name is in the state", None
        taken.add(variable.name)
    return found


def _variable(
    script: Script, loop: EndlessLoop, name: str, place: str, references: list[ast.expr]
) -> Variable | None:
    if any(_is_walrus(script, node) for node in references):
        return None
    firsts = [
        parent
        for node in references
        if isinstance(parent := script.parents.get(node), ast.Assign | ast.AnnAssign)
        and (parent.targets == [node] if isinstance(parent, ast.Assign) else parent.target is node)
        and _is_before(script, loop, node, place)
    ]
    if not firsts:
        return _begun_with_others(script, loop, name, place, references)
    if firsts[0].value is None:
        return None
    first = min(firsts, key=lambda node: node.lineno)
    others = [node for node in references if script.parents.get(node) is not first]
    changed = [
        node for node in others if _changes(script, node) or _is_changed_under_another_name(script, node)
    ]
    empty = _is_empty(first.value)
    if not others or (not changed and not empty):
        return None
    functions = {node: script.scopes.of[node].function for node in others}
    beside = [
        node
        for node in changed
        if functions[node] in script.background and functions[node] is not loop.function
    ]
    early = [node for node in changed if _is_before(script, loop, node, place)]
    passed = [node for node in others if _is_argument(script, node)]
    variable = Variable(name, place, first, references, changed, beside, early, passed)
    variable.field, variable.problem = _field(script, variable)
    if variable.field is not None and (beside or (empty and not changed and not passed)):
        variable.field = None
        variable.problem = "a task, a thread or a callback changes it" if beside else ""
        if not beside:
            return None
    return variable


def _begun_with_others(
    script: Script, loop: EndlessLoop, name: str, place: str, references: list[ast.expr]
) -> Variable | None:
    """A variable that begins in an assignment of several, as in `wins = losses = 0`, which stays as it is."""
    for node in references:
        first = next((up for up in script.above(node) if isinstance(up, ast.stmt)), None)
        if (
            isinstance(first, ast.Assign)
            and isinstance(getattr(node, "ctx", None), ast.Store)
            and _is_before(script, loop, node, place)
        ):
            changed = [one for one in references if one is not node and _changes(script, one)]
            problem = "it begins together with others: write an assignment of its own"
            return (
                Variable(name, place, first, references, changed, [], [], [], None, problem)
                if changed
                else None
            )
    return None


def _is_walrus(script: Script, node: ast.expr) -> bool:
    parent = script.parents.get(node)
    return isinstance(parent, ast.NamedExpr) and parent.target is node


def _is_before(script: Script, loop: EndlessLoop, node: ast.AST, place: str) -> bool:
    """Whether a node runs once, before the loop: in the same block above it, or in `__init__`."""
    function = script.scopes.of[node].function
    if place == "attribute":
        if function is not None and function.name == "__init__":
            return True
        return function is loop.function and node_line(node) < loop.node.lineno
    if function is not loop.function and not (function is None and place == "module"):
        return False
    return function is not loop.function or node_line(node) < loop.node.lineno


def node_line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))


def _changes(script: Script, node: ast.expr) -> bool:
    """Whether this reference changes the variable or what is in it."""
    if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
        return True
    up: ast.AST = node
    while isinstance(parent := script.parents.get(up), ast.Subscript | ast.Attribute) and parent.value is up:
        if isinstance(parent.ctx, ast.Store | ast.Del):
            return True
        call = script.parents.get(parent)
        if (
            isinstance(parent, ast.Attribute)
            and parent.attr in _CHANGES
            and isinstance(call, ast.Call)
            and call.func is parent
        ):
            return True
        up = parent
    return False


def _is_changed_under_another_name(script: Script, node: ast.expr) -> bool:
    """Whether a part of the variable gets a name, as in `seen = prices[symbol]`, and is changed by that name."""
    part = script.parents.get(node)
    if isinstance(part, ast.Attribute) and part.attr in ("get", "setdefault", "values", "items"):
        part = script.parents.get(part)
    if not isinstance(part, ast.Subscript | ast.Call):
        return False
    holder = script.parents.get(part)
    targets = (
        holder.targets
        if isinstance(holder, ast.Assign)
        else [holder.target]
        if isinstance(holder, ast.For)
        else []
    )
    names = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    for name in names:
        owner = script.scopes.of[name].owner(name.id)
        if owner is not None and any(
            not isinstance(one.ctx, ast.Store) and _changes(script, one)
            for one in script.scopes.references(owner, name.id)
        ):
            return True
    return False


def _is_argument(script: Script, node: ast.expr) -> bool:
    parent = script.parents.get(node)
    if isinstance(parent, ast.keyword):
        parent = script.parents.get(parent)
    return isinstance(parent, ast.Call) and parent.func is not node


def _is_empty(value: ast.expr | None) -> bool:
    match value:
        case ast.Dict(keys=[]) | ast.List(elts=[]):
            return True
        case ast.Call(func=ast.Name(id="dict" | "list" | "set" | "deque" | "defaultdict" | "Counter")):
            return True
        case _:
            return False


def _field(script: Script, variable: Variable) -> tuple[Field | None, str]:
    """The field for a variable, or why there can be none."""
    value = variable.first.value
    assert value is not None
    text = script.source.segment(value)
    if not _is_plain(script, value):
        return (
            None,
            f"it begins as `{text if len(text) < 50 else text[:47] + '...'}`, which is not plain data",
        )
    if isinstance(variable.first, ast.AnnAssign):
        return Field(
            variable.name, script.source.segment(variable.first.annotation), _default(script, value, text)
        ), ""
    kind, imports = _type(script, variable, value)
    held = _held_class(script, variable)
    if held is not None:
        if not _is_data(script, held):
            return None, f"it holds objects of the class {held.name}, which is not a @dataclass"
        if kind == "dict":
            kind = f"dict[str, {held.name}]"
        elif kind == "list":
            kind = f"list[{held.name}]"
    return Field(variable.name, kind, _default(script, value, text), imports), ""


def _is_plain(script: Script, value: ast.expr) -> bool:
    """Whether an expression makes plain data of constants and names of the module."""
    for node in ast.walk(value):
        if not isinstance(node, _PLAIN):
            return False
        if isinstance(node, ast.Call):
            name = script.called(node)
            held = script.classes.get(name)
            if name not in _HARMLESS and not (held is not None and _is_data(script, held) and not node.args):
                return False
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            scope = script.scopes.of[node]
            owner = scope.owner(node.id)
            if (
                owner is not None
                and owner is not script.scopes.module
                and isinstance(owner.node, (*FUNCTIONS, ast.ClassDef))
            ):
                return False
            if owner is script.scopes.module and not (
                node.id.isupper() or node.id in script.imports or node.id in script.classes
            ):
                return False
    return True


def _default(script: Script, value: ast.expr, text: str) -> str:
    match value:
        case ast.Constant() | ast.UnaryOp():
            return text
        case ast.Dict(keys=[]):
            return "{}"
        case ast.List(elts=[]):
            return "[]"
        case ast.Call(func=ast.Name(id="dict" | "list" | "set"), args=[], keywords=[]):
            return {"dict()": "{}", "list()": "[]", "set()": "set()"}.get(text, text)
        case ast.Call(args=[], keywords=[]):
            return f"msgspec.field(default_factory={script.source.segment(value.func)})"
        case ast.BinOp():
            return text
        case _:
            return f"msgspec.field(default_factory=lambda: {text})"


def _type(script: Script, variable: Variable, value: ast.expr) -> tuple[str, set[tuple[str, str]]]:
    match value:
        case ast.Dict() | ast.DictComp():
            return "dict", set()
        case ast.List() | ast.ListComp():
            return "list", set()
        case ast.Set() | ast.SetComp():
            return "set", set()
        case ast.Tuple():
            return "tuple", set()
        case ast.Call():
            return _type_of_call(script, value)
        case _:
            return _scalar(script, variable, value)


def _type_of_call(script: Script, value: ast.Call) -> tuple[str, set[tuple[str, str]]]:
    name = script.called(value)
    written = script.source.segment(value.func)
    if name in script.classes:
        return name, set()
    if name == "dict.fromkeys":
        return "dict", set()
    if name == "collections.defaultdict":
        factory = value.args[0].id if value.args and isinstance(value.args[0], ast.Name) else ""
        held = factory if factory in _FACTORIES else "Any"
        return f"{written}[Any, {held}]", {("typing", "Any")}
    kind = _CALLS.get(name, "Any")
    if name.startswith("collections."):
        return {"Counter": f"{written}[Any]"}.get(kind, written), {
            ("typing", "Any")
        } if kind == "Counter" else set()
    return kind, {("typing", "Any")} if kind == "Any" else set()


def _scalar(script: Script, variable: Variable, value: ast.expr) -> tuple[str, set[tuple[str, str]]]:
    """The type of a variable that begins with a number, a text, a bool or None, by what is assigned to it later."""
    kinds = {_constant(value)}
    for node in variable.references:
        parent = script.parents.get(node)
        if isinstance(parent, ast.AugAssign) and parent.target is node:
            added = _constant(parent.value)
            # What is added to a number is a number, if not always of the same type.
            kinds.add("float" if added == "?" and kinds <= {"int", "float", "bool"} else added)
        elif isinstance(parent, ast.Assign) and node in parent.targets and parent is not variable.first:
            kinds.add(_constant(parent.value))
        elif isinstance(getattr(node, "ctx", None), ast.Store) and parent is not variable.first:
            kinds.add("?")
    if "?" in kinds:
        return "Any", {("typing", "Any")}
    optional = " | None" if "None" in kinds else ""
    kinds.discard("None")
    if kinds <= {"int", "float"} and kinds:
        return ("float" if "float" in kinds else "int") + optional, set()
    if len(kinds) == 1:
        return kinds.pop() + optional, set()
    return "Any", {("typing", "Any")}


def _constant(value: ast.expr) -> str:
    match value:
        case ast.Constant(value=None):
            return "None"
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            return type(constant).__name__
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _constant(operand)
        case ast.BinOp(left=left, right=right):
            kinds = {_constant(left), _constant(right)}
            if kinds <= {"int", "float"}:
                return "float" if "float" in kinds or isinstance(value.op, ast.Div) else "int"
            return kinds.pop() if kinds == {"str"} else "?"
        case ast.Compare() | ast.UnaryOp(op=ast.Not()):
            return "bool"
        case ast.JoinedStr():
            return "str"
        case ast.Call(func=ast.Name(id="float" | "int" | "str" | "bool" | "len" as name)):
            return "int" if name == "len" else name
        case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr="time" | "monotonic")):
            return "float"
        case _:
            return "?"


def _held_class(script: Script, variable: Variable) -> ast.ClassDef | None:
    """The class of this script whose objects are put into the variable."""
    for node in variable.changed:
        statement: ast.AST | None = node
        while statement is not None and not isinstance(statement, ast.stmt):
            statement = script.parents.get(statement)
        for inner in ast.walk(statement) if statement is not None else ():
            if (
                isinstance(inner, ast.Call)
                and isinstance(inner.func, ast.Name)
                and inner.func.id in script.classes
            ):
                return script.classes[inner.func.id]
    return None


def _is_data(script: Script, held: ast.ClassDef) -> bool:
    """Whether msgspec encodes the objects of a class: a dataclass, a named tuple, an enum, or a Struct."""
    marks = [script.called(one) or script.dotted(one) for one in held.decorator_list]
    bases = [script.dotted(base) for base in held.bases]
    return any(mark in ("dataclasses.dataclass", "attr.s", "attrs.define") for mark in marks) or any(
        base
        in (
            "msgspec.Struct",
            "typing.NamedTuple",
            "enum.Enum",
            "enum.IntEnum",
            "enum.StrEnum",
            "typing.TypedDict",
        )
        for base in bases
    )


def _class_of(script: Script, loop: EndlessLoop) -> ast.ClassDef | None:
    parent = script.parents.get(loop.function) if loop.function is not None else None
    return parent if isinstance(parent, ast.ClassDef) else None


def _scope_of(script: Script, function: Function) -> NameScope:
    return script.scopes.of[function.body[0]]


def _attributes(script: Script, owner: ast.ClassDef) -> dict[str, list[ast.expr]]:
    """The attributes `self.NAME` in the methods of a class."""
    found: dict[str, list[ast.expr]] = {}
    for method in owner.body:
        if not isinstance(method, FUNCTIONS) or not method.args.args:
            continue
        me = method.args.args[0].arg
        for node in ast.walk(method):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == me:
                found.setdefault(node.attr, []).append(node)
    return found
