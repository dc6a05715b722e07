"""Verifies that what the leader has written can be read: decodes it as the declared type and compares.

Encoding does not look at types. A `None` in a field declared `float`, a `defaultdict` in a field declared `dict` or a
list that stands in two fields goes into the journal without complaint, and is found by the next process, which then
cannot start or goes wrong. The process that wrote the value can tell at once, and name it.

Reading back costs several times what encoding costs, so a leader does it in the time between two turns: each cell
that has changed since it was read back, those first that never were. `pump` knows from the last time what a cell takes,
does not begin what does not fit before the next turn, and uses at most a part in `_SHARE` of the time. What has been
read back before, and changes with each tick, is read back every `_AGAIN`, so that a bot that ticks a thousand times a
second pays for it in one tick of a hundred. So a value that cannot be read is found within `_AGAIN` and `_SHARE` times
what reading back the whole state takes, and never before the end of the turn that wrote it. `check_all` and
`check_changed` do all of it at once, for checks, rehearsals and simulations.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from ...protocol.link import StateProblem
from ...protocol.wire import NOT_ENCODABLE, UNDECODABLE
from .assigned_at import assigned_at
from .cells import Cells, StateError
from .mends import article, described, mend_for_difference, mend_for_shared, type_name
from .misfits import find_misfit
from .same_value import Comparison, Difference, mutables, places

__all__ = ["StateProblem", "VerificationFailed", "Verifier"]

_SHARE = 50
_ROOMY = 20
"""What takes a part in so many of the time before the next turn is done whenever it is asked for."""
_SLICE = 2_000_000
"""After so long, ns, what arrived meanwhile comes first."""
_OVERHEAD = 50_000
"""What a look costs the bot's process besides the reading, ns, about."""
_PER_BYTE = 100
"""What reading back a byte takes that never was read back, ns: an estimate on the high side."""
_LINES_TAKE = 1_000_000
"""There is time to look for the lines that wrote a value, ns."""
_CELLS_EVERY = 5_000_000_000
"""Each `Cell` is looked at so often, ns, for a change without a touch."""
_AGAIN = 100_000_000
"""After all that waited was read back, and it was not for the first time, nothing more is read back for so long, ns."""
_ROWS_AGAIN = 1_000_000_000
"""So often, ns, there is room again for rows that were written."""
_ROWS = 32
"""So many rows are read back at a time."""
_NO_TIME = 10_000_000_000
"""What did not fit before the next turn for so long, ns, is listed."""
_HURRY_AT_MOST = 1_000_000
"""A leader without any time between turns reads back what takes less than this, ns, in the turns' time."""


class VerificationFailed(StateError):
    """Values that do not read back as they were written; `problems` has each."""

    def __init__(self, problems: Iterable[StateProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.text for problem in self.problems), self.problems[0].field)


class Verifier:
    """Verifies the state that `cells` encodes."""

    def __init__(self, cells: Cells) -> None:
        self.problems: dict[str, StateProblem] = {}
        """What was found and is still so, by field."""
        self.strict = False
        """Every turn is verified at its end, and a problem ends it: in a simulation."""
        self.modules: tuple[str, ...] = ()
        """Where the code is that may write to the state."""
        self._cells = cells
        self._seen: dict[str, set[int]] = {}
        """The ids of the mutable objects in each cell when it was read back last."""
        self._objects: dict[str, Any] = {}
        """What stood in each cell then."""
        self._cost: dict[str, int] = {}
        """What reading back a cell took last time, ns."""
        self.rows: deque[tuple[str, Iterator[Any]]] = deque()
        """Rows that wait: a table, and the keys that one turn has written there."""
        self._bad_rows: dict[str, Any] = {}
        """The key of a row that was found wrong, for each table that has one."""
        self._no_time: dict[str, int] = {}
        """Cells and tables that are not read back because it does not fit before the next turn, and since when."""
        self._row_cost = _OVERHEAD
        """What reading back a row took last time, ns."""
        self._looked: set[str] = set()
        """The fields with a problem whose lines were looked for."""
        self.next_at = 0
        self._rows_at = 0
        self._cells_at = 0

    def stamp(self, seq: int, at: int) -> list[StateProblem]:
        """Return what is new since the last call, with the tick and the wall clock (ns) at which it was found."""
        new = [
            msgspec.structs.replace(item, seq=seq, at=at) for item in self.problems.values() if not item.at
        ]
        self.problems |= {problem.field: problem for problem in new}
        return new

    def lines_of(self, field: str) -> tuple[str, ...]:
        """The lines of the bot that can have written to a field; empty when there are none, or many."""
        return assigned_at(self.modules, field) if field else ()

    def unverified(self, now: int) -> tuple[str, ...]:
        """The fields that were not read back for long by `now`, ns, because the time between two turns is too short."""
        if not self._no_time:
            return ()
        return tuple(sorted(name for name, since in self._no_time.items() if now - since >= _NO_TIME))

    # --- all at once ---

    def check_all(self, state: Any) -> list[StateProblem]:
        """Read back every cell, and the rows that were touched; return what is wrong."""
        self._cells.unread.update(self._cells.names)
        return self.check_changed(state)

    def check_changed(self, state: Any) -> list[StateProblem]:
        """Read back everything that changed since it last was; return what is wrong."""
        self._look_for_exchanged(state)
        self._cells.unread.update(self._cells.held_names)
        while self._cells.unread:
            for name in sorted(self._cells.unread):
                self._check_cell(state, name, lines=True)
        self._take_rows()
        while self.rows:
            self._check_rows(state, _ROWS, lines=True)
        self._cells.take_rows_again()
        return list(self.problems.values())

    # --- in spare time ---

    def waits(self, clock: Callable[[], int]) -> bool:
        """Whether there is something to read back, and it is time by `clock()`, ns."""
        cells = self._cells
        if cells.unread or cells.unread_rows or self.rows:
            return clock() >= self.next_at
        return bool(cells.held_names) and clock() >= max(self.next_at, self._cells_at)

    def pump(self, state: Any, clock: Callable[[], int], until: int) -> bool:
        """Between two turns: read back what fits before `until`; return whether `problems` changed.

        Only at a boundary, where the state is what was written.
        """
        before = dict(self.problems)
        collects = gc.isenabled()
        # What is read back is dropped at once, so it need not bring a collection nearer, which takes longer than this.
        gc.disable()
        try:
            spent, news = self._slice(state, clock, until)
        finally:
            if collects:
                gc.enable()
        pause = _SHARE * (spent + _OVERHEAD)
        self.next_at = clock() + (pause if news else max(pause, _AGAIN))
        return self.problems != before

    def hurry(self, state: Any, clock: Callable[[], int]) -> bool:
        """As `pump`, for a leader that has had no time between turns for long: a little."""
        return self.pump(state, clock, clock() + _HURRY_AT_MOST)

    def _slice(self, state: Any, clock: Callable[[], int], until: int) -> tuple[int, bool]:
        """Read back what fits; return how long it took, and whether something of it was new or rows are left."""
        cells = self._cells
        news = False
        began = clock()
        self._look_for_exchanged(state)
        if began >= self._cells_at:
            # Nothing else tells that one of them changed without a touch.
            self._cells_at = began + _CELLS_EVERY
            cells.unread.update(cells.held_names)
        self._take_rows()
        # Those that never were read back come first.
        for name in sorted(cells.unread, key=lambda name: (name in self._cost, name)):
            now = clock()
            takes = self._cost.get(name) or _OVERHEAD + _PER_BYTE * cells.size_of(name)
            if now + takes > until:
                self._no_time.setdefault(name, began)
                continue
            news = news or name not in self._cost
            self._check_cell(state, name, lines=until - now > _LINES_TAKE)
            self._cost[name] = clock() - now
            if clock() - began > _SLICE and _ROOMY * self._cost[name] > until - now:
                return clock() - began, True
        while self.rows:
            now = clock()
            fit = min(_ROWS, (until - now) // max(1, self._row_cost))
            if fit < 1:
                self._no_time.setdefault(self.rows[0][0], began)
                break
            if now - began > _SLICE:
                break
            count = self._check_rows(state, fit, lines=until - now > _LINES_TAKE)
            self._row_cost = (clock() - now) // max(1, count)
        else:
            if began >= self._rows_at:
                self._rows_at = began + _ROWS_AGAIN
                cells.take_rows_again()
        return clock() - began, news or bool(self.rows)

    # --- one cell, and rows ---

    def _look_for_exchanged(self, state: Any) -> None:
        """Another object in a cell may have the same bytes, as an empty `defaultdict` has those of `{}`."""
        cells = self._cells
        for name in cells.names:
            if cells.value(state, name) is not self._objects.get(name, self):
                cells.unread.add(name)

    def _check_cell(self, state: Any, name: str, *, lines: bool) -> None:
        cells = self._cells
        cells.unread.discard(name)
        self._no_time.pop(name, None)
        if cells.waits(state, name):
            return
        if cells.touch_is_missing(state, name):
            self._note(name, self._not_touched(name, cells.value(state, name)), lines=lines)
            return
        value, hint = cells.value(state, name), cells.type_of(name)
        self._objects[name] = value
        comparison = Comparison(cells.encode, cells.codecs)
        problem = None
        try:
            found = comparison.difference(value, cells.read_back(name))
        except UNDECODABLE as reason:
            problem = self._unreadable(name, value, hint, "", str(reason))
        else:
            self._seen[name] = comparison.seen
            if found is not None:
                problem = self._differs(name, value, hint, found)
            else:
                problem = self._shared_with_another(state, name, value)
        self._note(name, problem, lines=lines)
        if problem is None:
            # What another one shared with this one may be its own now.
            cells.unread.update(item.field for item in self.problems.values() if item.kind == "shared")

    def _take_rows(self) -> None:
        waiting, self._cells.unread_rows = self._cells.unread_rows, []
        # They are not looked at here: there may be a million.
        self.rows.extend((table, iter(keys)) for table, keys in waiting)

    def _check_rows(self, state: Any, most: int, *, lines: bool) -> int:
        """Read back some of the rows that wait, and return how many those were."""
        count = 0
        while self.rows and count < most:
            table, keys = self.rows[0]
            self._no_time.pop(table, None)
            rows = self._cells.rows_of(state, table)
            for key in keys:
                count += 1
                found = self._row_problem(table, key, rows[key]) if key in rows else None
                if found is not None:
                    self._bad_rows[table] = key
                    self._note(table, found, lines=lines)
                elif table in self._bad_rows and self._bad_rows[table] == key:
                    del self._bad_rows[table]
                    self._note(table, None, lines=False)
                if count == most:
                    break
            else:
                self.rows.popleft()
        return count

    def _row_problem(self, table: str, key: Any, row: Any) -> StateProblem | None:
        cells = self._cells
        comparison = Comparison(cells.encode, cells.codecs)
        try:
            read_key, read_row = cells.row_read_back(table, key, row)
            in_key = comparison.difference(key, read_key)
            in_row = comparison.difference(row, read_row)
        except (*UNDECODABLE, *NOT_ENCODABLE) as reason:
            key_type, row_type = cells.row_types(table)
            if find_misfit(key, key_type, cells.encode, cells.decode_as):
                return self._unreadable(table, key, key_type, f" key {key!r}", str(reason))
            return self._unreadable(table, row, row_type, f"[{key!r}]", str(reason))
        if in_key is not None:
            found = in_key._replace(path=f" key {key!r}{in_key.path}")
            return self._differs(table, key, cells.row_types(table)[0], found)
        if in_row is not None:
            found = in_row._replace(path=f"[{key!r}]{in_row.path}")
            return self._differs(table, row, cells.row_types(table)[1], found)
        return None

    # --- what is wrong ---

    def _note(self, name: str, problem: StateProblem | None, *, lines: bool) -> None:
        if problem is None:
            self.problems.pop(name, None)
            self._looked.discard(name)
            return
        known = self.problems.get(name)
        # Its value may be another one at each tick.
        if known is None or (known.path, known.kind) != (problem.path, problem.kind):
            known = problem
            self._looked.discard(name)
        if name not in self._looked:
            if lines:
                known = msgspec.structs.replace(known, lines=self._lines(known))
                self._looked.add(name)
            elif name in self._cells.names:
                # With more time before the next turn.
                self._cells.unread.add(name)
        self.problems[name] = known

    def _lines(self, problem: StateProblem) -> tuple[str, ...]:
        inner = problem.path.rpartition(".")[2]
        if inner.isidentifier() and inner != problem.field and (found := self.lines_of(inner)):
            return found
        return self.lines_of(problem.field)

    def _unreadable(self, name: str, value: Any, hint: Any, where: str, reason: str) -> StateProblem:
        found = find_misfit(value, hint, self._cells.encode, self._cells.decode_as)
        path, part, expected = found or ("", value, hint)
        wanted = type_name(expected)
        if part is None:
            mend = f"declare it as {wanted} | None, or write {article(wanted)}"
        elif found is None:
            mend = f"write what the type allows ({reason})"
        else:
            mend = f"write {article(wanted)}, or declare the type that it has"
        return StateProblem(name, _path(name, where + path), "unreadable", wanted, described(part), mend)

    def _not_touched(self, name: str, value: Any) -> StateProblem:
        hint = f"Cell[{type_name(self._cells.type_of(name))}]"
        mend = f"it was changed without a touch: call self.state.{name}.touch() after changing its value"
        return StateProblem(name, _path(name, ".value"), "differs", hint, described(value), mend)

    def _differs(self, name: str, value: Any, hint: Any, found: Difference) -> StateProblem:
        path = _path(name, found.path)
        if found.shared:
            here = [_path(name, place) for place in places(value, found.written)]
            others = [place for place in here if place != path] or ["another place"]
            return self._shared(name, path, hint, found.written, others[0])
        return StateProblem(
            name,
            path,
            "differs",
            type_name(hint),
            described(found.written),
            mend_for_difference(found.written, found.read, hint),
        )

    def _shared_with_another(self, state: Any, name: str, value: Any) -> StateProblem | None:
        mine = self._seen[name]
        for other, theirs in self._seen.items():
            if other == name or mine.isdisjoint(theirs):
                continue
            # An id may be of an object that is gone, and was given again: look at what is there now.
            for mutable in mutables(self._cells.value(state, other), theirs & mine):
                there = places(value, mutable)
                if there:
                    elsewhere = _path(other, places(self._cells.value(state, other), mutable)[0])
                    path = _path(name, there[0])
                    return self._shared(name, path, self._cells.type_of(name), mutable, elsewhere)
        return None

    def _shared(self, name: str, path: str, hint: Any, value: Any, other: str) -> StateProblem:
        found = f"the same {type(value).__name__} stands in {other} too"
        return StateProblem(name, path, "shared", type_name(hint), found, mend_for_shared(value))


def _path(name: str, inside: str) -> str:
    return (name or "state") + inside
