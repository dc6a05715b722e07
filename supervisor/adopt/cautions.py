"""What an adoption cannot do, and what it cannot see: each with its line and the mend."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

import msgspec

from .fields import Variable
from .loops import EndlessLoop
from .script import Script, inside

__all__ = ["Caution", "cautions", "third_party", "written_files"]


class Caution(msgspec.Struct, frozen=True, order=True):
    """Something that the author has to decide."""

    line: int
    what: str
    mend: str


_PORTS = (
    "http.server.HTTPServer", "http.server.ThreadingHTTPServer", "socketserver.TCPServer", "uvicorn.run",
    "asyncio.start_server", "prometheus_client.start_http_server", "aiohttp.web.run_app", "aiohttp.web.TCPSite",
    "waitress.serve", "xmlrpc.server.SimpleXMLRPCServer",
)  # fmt: skip
_WRITERS = ("to_csv", "to_parquet", "to_json", "to_pickle", "write_text", "write_bytes", "savetxt", "save")
_SCHEDULERS = ("BlockingScheduler", "BackgroundScheduler", "AsyncIOScheduler")


def cautions(
    script: Script, loop: EndlessLoop, found: list[Variable], handled: set[ast.AST]
) -> list[Caution]:
    """Everything about the script that its author should know. `handled` are nodes that the change takes care of."""
    told = [*_of_variables(script, found), *_of_loop(script, loop, handled)]
    for node in ast.walk(script.tree):
        if node not in handled:
            told += _of_node(script, node)
    return sorted(set(told))


def third_party(script: Script) -> list[str]:
    """The packages that the script imports and that are neither Python's, neverblink's nor beside it."""
    names: set[str] = set()
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    beside = script.source.path.parent
    return sorted(
        name
        for name in names - set(sys.stdlib_module_names) - {"neverblink", "msgspec"}
        if not (beside / f"{name}.py").exists() and not (beside / name).is_dir()
    )


def written_files(script: Script) -> set[str]:
    """The relative names of files that the script writes, as far as they are literal."""
    found: set[str] = set()
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Call) and (name := _written(script, node)) is not None:
            found.add(name)
    return found


def _written(script: Script, call: ast.Call) -> str | None:
    called = script.called(call)
    arguments: list[ast.expr] = list(call.args)
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    first = arguments[0] if arguments else named.get("filename") or named.get("file")
    name = constant_text(script, first)
    if name is None:
        return None
    mode = arguments[1] if len(arguments) > 1 else named.get("mode")
    opened = called in ("open", "io.open", "aiofiles.open") and (
        isinstance(mode, ast.Constant) and any(letter in str(mode.value) for letter in "wax+")
    )
    writes = (
        opened
        or called == "sqlite3.connect"
        or (
            called.startswith("logging.")
            and ("FileHandler" in called or (called == "logging.basicConfig" and "filename" in named))
        )
        or called.startswith("logging.handlers.")
        or called in ("shelve.open", "dbm.open")
        or (called.rpartition(".")[2] in _WRITERS and not isinstance(call.func, ast.Name))
    )
    return name if writes and name and not name.startswith(("/", ":", "~", "file:")) else None


def constant_text(script: Script, node: ast.expr | None) -> str | None:
    """The text of a literal, or of a name of the module that is set to one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name):
        for statement in script.tree.body:
            if isinstance(statement, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == node.id for target in statement.targets
            ):
                return statement.value.value if _is_text(statement.value) else None  # pyright: ignore
    return None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _of_variables(script: Script, found: list[Variable]) -> Iterator[Caution]:
    for variable in found:
        name = f"self.{variable.name}" if variable.place == "attribute" else variable.name
        lines = _lines(variable.changed)
        if variable.beside and variable.problem:
            yield Caution(
                variable.first.lineno,
                f"{name} stays outside the state: {variable.problem} (line {_lines(variable.beside)})",
                "a new process begins with it empty. If it must survive, put what arrives into loop.inbox, and change "
                "the state in the loop, from tick.events",
            )
        elif variable.problem:
            yield Caution(
                variable.first.lineno,
                f"{name} is changed in line {lines} and stays outside the state: {variable.problem}",
                "a new process begins with it anew. If it must survive, give it a field of the state with a type and "
                "a default",
            )
        elif variable.early:
            yield Caution(
                variable.early[0].lineno,
                f"{name} is changed before the loop, where there is no state yet (line {_lines(variable.early)})",
                "that change is lost: make it in the loop, where tick.first is true and the value is still missing",
            )
        elif variable.field is not None and variable.field.type in ("dict", "list", "set", "tuple", "Any"):
            yield Caution(
                variable.first.lineno,
                f"{name} has the type {variable.field.type} in the state",
                "declare its type, as in float | None"
                if variable.field.type == "Any"
                else "declare what it holds, as in dict[str, float], since a Decimal comes back as text otherwise",
            )


def _of_loop(script: Script, loop: EndlessLoop, handled: set[ast.AST]) -> Iterator[Caution]:
    if loop.stream is not None:
        yield Caution(
            loop.node.lineno,
            "the connection becomes a feed, which runs under a supervisor only",
            "try the bot with `neverblink watch`: alone it gets no messages",
        )
    _, _, guess = loop.period(script)
    if guess and loop.stream is None:
        yield Caution(loop.node.lineno, guess, "set tick in the call of join")
    for sleep in loop.sleeps if loop.stream is None else []:
        if not sleep.last:
            yield Caution(
                sleep.statement.lineno,
                f"`{script.source.segment(sleep.statement)}` is inside the loop",
                "it delays ticks and handoffs: arm a timer with loop.set_timer(name, after=…), or shorten it",
            )
        elif sleep.failed:
            yield Caution(
                sleep.statement.lineno,
                f"`{script.source.segment(sleep.statement)}` after an error is left out",
                "the next tick comes after the usual time: keep the time of the next attempt in the state",
            )
    for node in inside(loop.node.body):
        if isinstance(node, ast.Break | ast.Return) and _leaves(script, node, loop):
            yield Caution(
                node.lineno,
                f"`{script.source.segment(node)}` ends the loop",
                "neverblink takes that for a failure and starts the bot again: skip ticks instead, or pause the bot",
            )
    for up in script.above(loop.node):
        if isinstance(up, ast.Try) and up.finalbody:
            yield Caution(
                up.finalbody[0].lineno,
                "this `finally` runs in each process that leaves, also after a deployment",
                "what closes positions belongs under `if loop.stopped:`, which is true when the bot stops for good",
            )


def _leaves(script: Script, node: ast.AST, loop: EndlessLoop) -> bool:
    """Whether a `break` or `return` ends this loop, and not one inside it."""
    if isinstance(node, ast.Return):
        return True
    up = script.parents.get(node)
    while up is not None and up is not loop.node:
        if isinstance(up, ast.While | ast.For | ast.AsyncFor):
            return False
        up = script.parents.get(up)
    return True


def _of_node(script: Script, node: ast.AST) -> Iterator[Caution]:
    if not isinstance(node, ast.Call):
        if isinstance(node, ast.Attribute) and script.dotted(node) == "sys.argv":
            yield Caution(
                node.lineno,
                "sys.argv has no arguments of yours in a worker",
                "take them from the environment, or from settings",
            )
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id in script.classes
        ):
            yield Caution(
                node.lineno,
                f"{script.source.segment(node)} belongs to the class, and stays outside the state",
                "a new process begins with it anew: make it a variable of the object",
            )
        return
    called = script.called(node)
    last = called.rpartition(".")[2]
    if script.is_background_call(node) and called not in ("asyncio.gather", "asyncio.wait"):
        yield Caution(
            node.lineno,
            f"`{_short(script, node)}` runs in every process, also in one that only follows",
            "start it with loop.while_leading(function, …) if it acts or must exist once",
        )
    elif (
        called in _PORTS
        or (last == "bind" and node.args)
        or (last == "run" and "port" in {k.arg for k in node.keywords})
    ):
        yield Caution(
            node.lineno,
            f"`{_short(script, node)}` binds a port, and during a handoff two processes would",
            'name it in neverblink.toml, as in [sockets] api = "127.0.0.1:8085", and use loop.sockets["api"]',
        )
    elif called == "signal.signal" or last == "add_signal_handler":
        yield Caution(
            node.lineno,
            "a handler of a signal is not called when the bot stops or hands over",
            "what it does belongs after the loop, under `if loop.stopped:`",
        )
    elif called == "atexit.register":
        yield Caution(
            node.lineno,
            "this runs in each process that leaves, also after a deployment",
            "what closes positions belongs after the loop, under `if loop.stopped:`",
        )
    elif called in ("sys.exit", "exit", "quit", "os._exit"):
        yield Caution(
            node.lineno,
            f"`{_short(script, node)}` ends the process, which counts as a failure",
            "return before the loop begins, or let the loop run out",
        )
    elif called in ("input", "getpass.getpass"):
        yield Caution(
            node.lineno,
            f"`{_short(script, node)}` reads from a terminal, which a worker does not have",
            "take it from env_file",
        )
    elif called.startswith(("multiprocessing.", "os.fork")):
        yield Caution(
            node.lineno,
            f"`{_short(script, node)}` starts a process",
            'use the method "spawn": a fork copies the worker\'s sockets',
        )
    elif last in _SCHEDULERS:
        yield Caution(
            node.lineno,
            f"the jobs of {last} run outside the turns, and their next times are not part of the state",
            "call them in the loop: `if tick.seq % N == 0:`, or with loop.set_timer(name, every=…)",
        )
    elif called.startswith("schedule.") and last == "run_pending":
        yield Caution(
            node.lineno,
            "the next times of these jobs are not part of the state: after a deployment each waits its full time again",
            "use loop.set_timer(name, every=…) for those that are longer than a tick",
        )
    elif last == "parse_args" and not node.args:
        yield Caution(
            node.lineno,
            "a worker gets no arguments",
            "its defaults apply: take values from the environment, or from settings",
        )


def _lines(nodes: list[ast.expr]) -> str:
    return ", ".join(str(line) for line in sorted({node.lineno for node in nodes}))


def _short(script: Script, node: ast.AST) -> str:
    text = " ".join(script.source.segment(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
