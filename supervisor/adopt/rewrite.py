"""The smallest change that puts a script on neverblink, as edits of its text."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from .adopt_error import AdoptError
from .cautions import constant_text, written_files
from .entry import only_call, with_entry
from .fields import Field, Variable, variables
from .loops import EndlessLoop
from .scopes import FUNCTIONS, Function
from .script import Script, blocks, inside
from .source import Source, end_of, first_line, start_of
from .threads import started_thread, tell_to_end

__all__ = ["Rewrite"]


class Rewrite:
    """Changes `script` so that `loop` joins. Afterwards `bot` is the function to name in the configuration."""

    def __init__(self, script: Script, loop: EndlessLoop) -> None:
        self.script, self.loop, self.source = script, loop, script.source
        self.found = variables(script, loop)
        self.kept = [one for one in self.found if one.field is not None and not one.problem]
        self.handled: set[ast.AST] = set()
        self.feed = ""
        """The function of the feed, for a loop that reads messages."""
        self.bot = ""
        self._state_type = script.free("State", "BotState", "LoopState")
        self._state = script.free("state", "kept", "bot_state")
        self.tick = script.free("tick", "turn", "bot_tick")
        self._loop = script.free("loop", "ticks", "bot_loop")
        self._stop = script.free("stop", "ending", "bot_stop")
        self._main = script.free("main", "run_bot", "bot_main")
        self._needs_loop = False
        self._of_module = any(one.place == "module" for one in self.kept)

    @property
    def fields(self) -> list[Field]:
        return [one.field for one in self.kept if one.field is not None]

    def carry_out(self) -> str:
        """Make all changes; return the new text. Raises `AdoptError`."""
        self._rename()
        self._initial_values()
        anchor = self._tasks()
        if self.loop.stream is not None:
            self._stream(self.loop.stream)
        else:
            self._header(anchor)
            self._leave_out_sleeps()
        self._files()
        self._arguments()
        # First: both may be inserted before the same line.
        self._imports()
        self._state_class()
        text, self.bot = with_entry(self._parsed(self.source.changed()), self.loop, self._main)
        return text

    def _parsed(self, text: str) -> Script:
        """The changed script. Raises `AdoptError` when it is not valid."""
        try:
            return Script(Source(self.source.path, text))
        except SyntaxError as problem:
            raise AdoptError(
                self.source.path,
                f"line {problem.lineno} of the changed script would not be valid Python ({problem.msg}): "
                "this script has to be changed by hand",
            ) from None

    # --- the state ---

    def _new_name(self, variable: Variable, node: ast.expr) -> str:
        if variable.place == "attribute":
            assert isinstance(node, ast.Attribute)
            return f"{self.source.segment(node.value)}.{self._state}.{variable.name}"
        return f"{self._state}.{variable.name}"

    def _rename(self) -> None:
        """Have every reference to a variable of the state name its field."""
        in_texts: dict[ast.JoinedStr, dict[str, str]] = {}
        for variable in self.kept:
            for node in variable.references:
                if self.script.parents.get(node) is variable.first:
                    continue
                new = self._new_name(variable, node)
                text = self._text_around(node)
                if text is not None:
                    # Before Python 3.12 the positions inside such a text are not those in the file.
                    old = f"{self._owner_name(node)}{variable.name}"
                    in_texts.setdefault(text, {})[old] = new
                else:
                    self.source.replace_node(node, new)
        for text, names in in_texts.items():
            self.source.replace_node(text, _in_text(self.source.segment(text), names))
        for node in ast.walk(self.script.tree):
            if isinstance(node, ast.Global | ast.Nonlocal):
                self._declaration(node)

    def _owner_name(self, node: ast.expr) -> str:
        return (
            f"{node.value.id}."
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            else ""
        )

    def _text_around(self, node: ast.AST) -> ast.JoinedStr | None:
        found = None
        up = self.script.parents.get(node)
        while up is not None and not isinstance(up, ast.stmt):
            if isinstance(up, ast.JoinedStr):
                found = up
            up = self.script.parents.get(up)
        return found

    def _declaration(self, node: ast.Global | ast.Nonlocal) -> None:
        gone = {one.name for one in self.kept if one.place != "attribute"}
        left = [name for name in node.names if name not in gone]
        if left == node.names:
            return
        if left:
            kind = "global" if isinstance(node, ast.Global) else "nonlocal"
            self.source.replace_node(node, f"{kind} {', '.join(left)}")
        else:
            self._remove(node)

    def _initial_values(self) -> None:
        """Remove the first values, which are the defaults of the fields; the first place makes an empty state."""
        made: set[str] = set()
        for variable in self.kept:
            place = "module" if variable.place == "local" and self._of_module else variable.place
            if place == "module" or place in made or (place == "local" and not self._is_read_early()):
                self._remove(variable.first)
            else:
                made.add(place)
                target = self._state
                if place == "attribute":
                    first = variable.first
                    node = first.targets[0] if isinstance(first, ast.Assign) else first.target
                    assert isinstance(node, ast.Attribute)
                    target = f"{self.source.segment(node.value)}.{self._state}"
                self.source.replace_node(variable.first, f"{target} = {self._state_type}()")

    def _is_read_early(self) -> bool:
        """Whether a variable of the function is used before the loop, or by functions inside it."""
        function = self.loop.function
        return any(
            node.lineno < self.loop.node.lineno or self.script.scopes.of[node].function is not function
            for one in self.kept
            if one.place == "local"
            for node in one.references
            if self.script.parents.get(node) is not one.first
        )

    def _bindings(self) -> list[str]:
        """The lines at the beginning of a tick: the names of the state mean that of this tick."""
        lines: list[str] = []
        if any(one.place != "attribute" for one in self.kept):
            lines.append(f"{self._state} = {self.tick}.state")
        if any(one.place == "attribute" for one in self.kept):
            assert self.loop.function is not None
            me = self.loop.function.args.args[0].arg
            lines.append(f"{me}.{self._state} = {self.tick}.state")
        return lines

    def _state_class(self) -> None:
        if not self.kept:
            return
        unit = self.source.unit
        lines = [f"class {self._state_type}(msgspec.Struct):"]
        lines += [f"{unit}{one.name}: {one.type} = {one.default}" for one in self.fields]
        lines += ["", "", f"{self._state} = {self._state_type}()"] if self._of_module else ["", ""]
        tops = [self._top(one.first) for one in self.kept]
        before = min(first_line(top) for top in tops)
        used = [
            held.end_lineno or held.lineno
            for name, held in self.script.classes.items()
            if any(re.search(rf"\b{name}\b", f"{one.type} {one.default}") for one in self.fields)
        ]
        at = max([before, *(line + 1 for line in used)])
        self.source.insert_lines(at, [*self.source.blank_before(at), *lines])

    def _top(self, node: ast.AST) -> ast.stmt:
        """The statement of the module that has a node."""
        up = node
        while not isinstance(parent := self.script.parents[up], ast.Module):
            up = parent
        assert isinstance(up, ast.stmt)
        return up

    # --- the loop ---

    def _join(self) -> str:
        if self.loop.stream is not None:
            period = '"100ms"'
        else:
            period, _, _ = self.loop.period(self.script)
        return f"join({self._state_type if self.kept else 'dict'}, tick={period})"

    def _header(self, anchor: ast.stmt | None) -> None:
        node = self.loop.node
        assert isinstance(node, ast.While)
        if node.body[0].lineno == node.lineno or node.orelse:
            raise AdoptError(
                self.source.path,
                f"line {node.lineno}: write this loop without `else`, and its body on lines of its own",
            )
        interrupt = self._interrupts()
        needs = self._needs_loop or interrupt is not None
        ticks = self._loop if needs else self._join()
        word = "async for" if self.loop.is_async else "for"
        self.source.replace(start_of(node), end_of(node.test), f"{word} {self.tick} in {ticks}")
        indent = self.source.indent_of(node.body[0].lineno)
        lines = [f"{indent}{line}" for line in self._bindings()]
        if self._may_end(node.test):
            lines += [f"{indent}if {self._negated(node.test)}:", f"{indent}{self.source.unit}break"]
        if (
            not lines
            and all(sleep.last and sleep.statement in node.body for sleep in self.loop.sleeps)
            and len(node.body) == len(self.loop.sleeps)
        ):
            lines = [f"{indent}pass"]
        if lines:
            self.source.insert_lines((node.test.end_lineno or node.lineno) + 1, lines)
        if needs and anchor is None:
            block = self._block_of(node)
            at = next((one for one in block if node in list(inside([one]))), node)
            self.source.insert_lines(
                first_line(at), [f"{self.source.indent_of(at.lineno)}{self._loop} = {self._join()}"]
            )
        if interrupt is not None:
            outer = self.source.indent_of(node.lineno)
            self.source.insert_lines(
                (node.end_lineno or node.lineno) + 1,
                [f"{outer}if {self._loop}.stopped:", f"{outer}{self.source.unit}raise KeyboardInterrupt"],
            )
        function = self.loop.function
        if function is not None and self._of_module:
            body = function.body[0]
            self.source.insert_lines(
                first_line(body), [f"{self.source.indent_of(body.lineno)}global {self._state}"]
            )

    def _may_end(self, test: ast.expr) -> bool:
        """Whether the condition of the loop can become false."""
        if isinstance(test, ast.Constant):
            return False
        name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
        stores = [
            node
            for node in ast.walk(self.script.tree)
            if isinstance(getattr(node, "ctx", None), ast.Store)
            and name in (getattr(node, "attr", None), getattr(node, "id", None))
        ]
        return not name or len(stores) > 1

    def _negated(self, test: ast.expr) -> str:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self._renamed(test.operand)
        return f"not {self._renamed(test)}"

    def _block_of(self, node: ast.AST) -> Sequence[ast.stmt]:
        """The statements of the function, of the `__main__` block, or of the module, that have this loop."""
        if self.loop.function is not None:
            return self.loop.function.body
        block = self.script.main_block
        if isinstance(block, ast.If) and node in list(inside([block])):
            return block.body
        return self.script.tree.body

    def _interrupts(self) -> ast.Try | None:
        """The `try` around the loop, in the same function, that handles a Ctrl-C."""
        for up in self.script.above(self.loop.node):
            if isinstance(up, FUNCTIONS):
                break
            if isinstance(up, ast.Try) and up.body[-1:] == [self.loop.node]:
                for handler in up.handlers:
                    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
                    if any(isinstance(name, ast.Name) and name.id == "KeyboardInterrupt" for name in names):
                        return up
        return None

    def _renamed(self, node: ast.expr) -> str:
        text = self.source.segment(node)
        for variable in self.kept:
            for reference in variable.references:
                if reference in list(ast.walk(node)):
                    old = re.escape(f"{self._owner_name(reference)}{variable.name}")
                    text = re.sub(rf"(?<![\w.]){old}\b", self._new_name(variable, reference), text)
        return text

    def _leave_out_sleeps(self) -> None:
        """Leave out the sleeps that the tick replaces."""
        for sleep in self.loop.sleeps:
            if sleep.last:
                self._remove(sleep.statement)

    def _remove(self, statement: ast.stmt) -> None:
        """Remove a statement with its lines; `pass` takes its place where a block would be empty."""
        parent = self.script.parents[statement]
        alone = self._is_alone(statement)
        block = next((found for found in blocks(parent) if statement in found), [statement])
        empty = len(block) == 1 and parent is not self.loop.node and not isinstance(parent, ast.Module)
        if empty or not alone:
            self.source.replace_node(statement, "pass")
        else:
            self.source.remove_lines(statement.lineno, statement.end_lineno or statement.lineno)

    def _is_alone(self, statement: ast.stmt) -> bool:
        first = self.source.text_of(statement.lineno)
        last = self.source.text_of(statement.end_lineno or statement.lineno)
        before = first.encode()[: statement.col_offset].decode().strip()
        after = last.encode()[statement.end_col_offset or 0 :].decode().strip()
        return not before and (not after or after.startswith("#"))

    # --- what runs beside the loop ---

    def _tasks(self) -> ast.stmt | None:
        """Bind tasks to the lead; return the statement before which the loop is joined, None for the usual place."""
        if self.loop.beside:
            return self._gathered()
        first: ast.stmt | None = None
        block = self._block_of(self.loop.node)
        for statement in block:
            if self.loop.node in list(inside([statement])):
                break
            thread = started_thread(self.script, statement, block)
            if thread is not None:
                line = ", ".join([thread.function.name, *(self._renamed(one) for one in thread.args)])
                first = self._bind(statement, f"{self._loop}.while_leading({line})", first)
                if thread.start is not None:
                    self._remove(thread.start)
                tell_to_end(self.script, thread, self._stop)
                self.handled.add(thread.call)
                continue
            call = only_call(statement)
            if call is None or self.script.called(call) not in (
                "asyncio.create_task",
                "asyncio.ensure_future",
            ):
                continue
            line = self._while_leading(call.args[0]) if call.args and not self._is_used(statement) else None
            if line is None or not self.loop.is_async:
                continue
            self.handled.add(call)
            first = self._bind(statement, line, first)
        self._needs_loop = first is not None
        return first

    def _bind(self, statement: ast.stmt, line: str, first: ast.stmt | None) -> ast.stmt:
        """Put a line in place of a statement; the loop is joined before the first of them, which is returned."""
        if first is None:
            indent = self.source.indent_of(statement.lineno)
            self.source.insert_lines(first_line(statement), [f"{indent}{self._loop} = {self._join()}"])
        self.source.replace_node(statement, line)
        return first or statement

    def _is_used(self, statement: ast.stmt) -> bool:
        """Whether the variable that a task is assigned to is used later."""
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            return False
        name = statement.targets[0]
        owner = self.script.scopes.of[name].owner(name.id)
        assert owner is not None
        return any(node is not name for node in self.script.scopes.references(owner, name.id))

    def _while_leading(self, call: ast.expr) -> str | None:
        """The line that runs `call` while this process leads; None for one that has to be changed by hand."""
        if (
            not isinstance(call, ast.Call)
            or call.keywords
            or any(isinstance(one, ast.Starred) for one in call.args)
        ):
            return None
        parts = [self._renamed(call.func), *(self._renamed(one) for one in call.args)]
        return f"{self._loop}.while_leading({', '.join(parts)})"

    def _gathered(self) -> ast.stmt:
        """Await the loop where it was gathered with others, and bind those to the lead."""
        function = self.loop.function
        assert function is not None
        caller = self.loop.chain[-2].body if len(self.loop.chain) > 1 else self.script.entry()
        for statement in inside(caller):
            if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Await):
                continue
            gather = statement.value.value
            if not isinstance(gather, ast.Call) or self.script.called(gather) != "asyncio.gather":
                continue
            within = self.script.scopes.of[gather].function
            mine = [one for one in gather.args if self.script.target(one, within) is function]
            others = [one for one in gather.args if one not in mine]
            lines = [self._while_leading(one) for one in others]
            if len(mine) != 1 or None in lines or not isinstance(mine[0], ast.Call):
                break
            indent = self.source.indent_of(statement.lineno)
            arguments = [
                self._loop,
                *(self._renamed(one) for one in (*mine[0].args, *(k.value for k in mine[0].keywords))),
            ]
            if mine[0].keywords:
                break
            text = [
                f"{self._loop} = {self._join()}",
                *(line for line in lines if line is not None),
                f"await {self._renamed(mine[0].func)}({', '.join(arguments)})",
            ]
            self.source.replace_node(statement, f"\n{indent}".join(text))
            self._parameter(function)
            self.handled.update(ast.walk(gather))
            self._needs_loop = True
            return statement
        raise AdoptError(
            self.source.path,
            f"line {self.loop.node.lineno}: this loop runs in a task beside others: await {function.name}(), as in "
            f"`await asyncio.gather({function.name}(), …)`, and try again",
        )

    def _parameter(self, function: Function) -> None:
        """Give the function with the loop the parameter `loop`, as its first one."""
        method = isinstance(self.script.parents.get(function), ast.ClassDef)
        names = function.args.args
        if names[1 if method else 0 :]:
            first = names[1 if method else 0]
            self.source.replace(
                (first.lineno, first.col_offset), (first.lineno, first.col_offset), f"{self._loop}, "
            )
        elif method:
            me = names[0]
            at = (me.end_lineno or me.lineno, me.end_col_offset or 0)
            self.source.replace(at, at, f", {self._loop}")
        else:
            line = self.source.text_of(function.lineno)
            column = len(line[: line.index("(", line.index(function.name)) + 1].encode())
            self.source.replace((function.lineno, column), (function.lineno, column), self._loop)

    # --- messages ---

    def _stream(self, stream: ast.AsyncFor) -> None:
        """Have a feed read the messages, and the loop apply them."""
        function, path = self.loop.function, self.source.path
        if (
            function is None
            or isinstance(self.script.parents.get(function), ast.ClassDef)
            or self.loop.beside
        ):
            raise AdoptError(
                path,
                f"line {stream.lineno}: this loop reads messages inside a class or beside others: move the "
                "connection into a function of a feed, `async def messages(feed)`, and take them from tick.events",
            )
        outer = next(one for one in function.body if stream in list(inside([one])))
        inner_names = {
            node.id for part in stream.body for node in ast.walk(part) if isinstance(node, ast.Name)
        }
        made = {
            node.id
            for node in inside([outer])
            if isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and node not in set(inside(stream.body))
        } - {node.id for node in ast.walk(stream.target) if isinstance(node, ast.Name)}
        used = made & inner_names
        message = self.source.segment(stream.target)
        whole = isinstance(stream.target, ast.Name) and any(
            isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == message
            for part in stream.body
            for node in ast.walk(part)
        )
        if used or whole or any(_leaves_stream(self.script, node, stream) for node in inside(stream.body)):
            what = (
                f"its body uses {', '.join(sorted(used))}"
                if used
                else "its body ends it"
                if not whole
                else "its messages are objects"
            )
            raise AdoptError(
                path,
                f"line {stream.lineno}: the messages cannot go through a feed, since {what}: write a function "
                "`async def messages(feed)` that publishes plain data, and take it from tick.events",
            )
        self._publish(function, outer, stream, message)
        first, last = stream.body[0], stream.body[-1]
        indent, unit = self.source.indent_of(outer.lineno), self.source.unit
        event = self.script.free("event", "arrived", "bot_event")
        head = [f"{indent}async for {self.tick} in {self._join()}:"]
        head += [f"{indent}{unit}{line}" for line in self._bindings()]
        head += [
            f"{indent}{unit}for {event} in {self.tick}.events:",
            f"{indent}{unit * 2}{message} = {event}.data",
        ]
        start = first_line(first)
        self.source.replace((outer.lineno, 0), (start, 0), "".join(f"{line}\n" for line in head))
        self.source.reindent(
            start, last.end_lineno or last.lineno, self.source.indent_of(first.lineno), f"{indent}{unit * 2}"
        )
        end = outer.end_lineno or outer.lineno
        if end > (last.end_lineno or last.lineno):
            self.source.remove_lines((last.end_lineno or last.lineno) + 1, end)
        if self._of_module:
            body = function.body[0]
            self.source.insert_lines(
                first_line(body), [f"{self.source.indent_of(body.lineno)}global {self._state}"]
            )

    def _publish(self, function: Function, outer: ast.stmt, stream: ast.AsyncFor, message: str) -> None:
        """Write the function of the feed: the connection as it was, with `publish` in place of the body."""
        script = self.script
        self.feed = script.free("messages", "read_messages", "feed_messages")
        needed = {
            node.id
            for node in inside([outer])
            if isinstance(node, ast.Name) and node not in set(inside(stream.body))
        }
        state = {one.name for one in self.kept if one.place != "attribute"}
        if needed & state:
            raise AdoptError(
                self.source.path,
                f"line {outer.lineno}: the connection uses {', '.join(sorted(needed & state))}, which is part of the "
                "state: a feed has no state; keep that in the process of the feed",
            )
        lines = [f"async def {self.feed}(feed):"]
        own = {argument.arg for argument in function.args.args}
        if needed & own:
            raise AdoptError(
                self.source.path,
                f"line {function.lineno}: the connection uses the argument {', '.join(sorted(needed & own))}: make it "
                "a constant of the module",
            )
        for statement in function.body[: function.body.index(outer)]:
            names = {
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
            if isinstance(statement, ast.Assign | ast.AnnAssign) and names & needed:
                lines += self._lines_of(statement.lineno, statement.end_lineno or statement.lineno)
        lines += self._lines_of(outer.lineno, stream.body[0].lineno - 1)
        lines.append(f"{self.source.indent_of(stream.body[0].lineno)}feed.publish({message})")
        last = stream.body[-1].end_lineno or stream.body[-1].lineno
        lines += self._lines_of(last + 1, outer.end_lineno or last)
        self.source.insert_lines(first_line(function), [*lines, "", ""])
        self.handled.update(ast.walk(outer))

    def _lines_of(self, first: int, last: int) -> list[str]:
        return [self.source.text_of(line) for line in range(first, last + 1)]

    # --- files, arguments, entry, imports ---

    def _files(self) -> None:
        """Files that the script writes go into the data directory."""
        self._data = False
        names = {name for name in written_files(self.script) if "/" not in name}
        for node in ast.walk(self.script.tree):
            if (
                not isinstance(node, ast.Constant)
                or node.value not in names
                or self._text_around(node) is not None
            ):
                continue
            parent = self.script.parents[node]
            if isinstance(parent, ast.keyword):
                parent = self.script.parents[parent]
            known = (
                isinstance(parent, ast.Assign)
                and isinstance(parent.targets[0], ast.Name)
                and constant_text(self.script, parent.targets[0])
            )
            if isinstance(parent, ast.Call) or known:
                self.source.replace_node(node, f"data_directory() / {self.source.segment(node)}")
                self._data = True

    def _arguments(self) -> None:
        """A worker gets no arguments of the command line, so the parser's defaults apply."""
        for node in ast.walk(self.script.tree):
            if (
                isinstance(node, ast.Call)
                and self.script.called(node).endswith(".parse_args")
                and not node.args
            ):
                end = end_of(node)
                self.source.replace((end[0], end[1] - 1), (end[0], end[1] - 1), "[]")

    def _imports(self) -> None:
        wanted = ["data_directory, join" if self._data else "join"]
        lines: list[str] = []
        needed = {one for field in self.fields for one in field.imports}
        if any(name == "Any" and self.script.imports.get("Any") != "typing.Any" for _, name in needed):
            lines.append("from typing import Any")
        if self.kept and self.script.imports.get("msgspec") != "msgspec":
            lines.append("import msgspec")
        lines.append(f"from neverblink.worker import {wanted[0]}")
        last = 0
        for statement in self.script.tree.body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                last = statement.end_lineno or statement.lineno
            elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                break
        if not last:
            doc = self.script.tree.body[0]
            is_doc = isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
            last = (doc.end_lineno or doc.lineno) if is_doc else first_line(doc) - 1
            lines.append("")
        self.source.insert_lines(last + 1, lines)


def _leaves_stream(script: Script, node: ast.AST, stream: ast.AsyncFor) -> bool:
    if isinstance(node, ast.Return):
        return True
    if not isinstance(node, ast.Break):
        return False
    up = script.parents.get(node)
    while up is not stream:
        if isinstance(up, ast.For | ast.While | ast.AsyncFor):
            return False
        up = script.parents.get(up) if up is not None else stream
    return True


def _in_text(text: str, names: dict[str, str]) -> str:
    """An f-string with names replaced inside its braces, and not in the texts there."""
    pattern = re.compile(
        "|".join(
            rf"(?<![\w.]){re.escape(name)}\b(?!\s*=[^=}}!:])" for name in sorted(names, key=len, reverse=True)
        )
    )
    result, depth, at = "", 0, 0
    quote = ""
    while at < len(text):
        letter = text[at]
        if depth and quote:
            quote = "" if letter == quote else quote
        elif text.startswith(("{{", "}}"), at) and not depth:
            result += text[at : at + 2]
            at += 2
            continue
        elif letter == "{":
            depth += 1
        elif letter == "}" and depth:
            depth -= 1
        elif depth and letter in "'\"":
            quote = letter
        elif depth and (found := pattern.match(text, at)) is not None:
            result += names[found.group(0)]
            at = found.end()
            continue
        result += letter
        at += 1
    return result
