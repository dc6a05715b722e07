"""How a state differs in a new release, and the rule whether that release may take over.

A value that is not its field's default is lost only when an operator names the field, or a migration declares it. The
worker that has read the state reports the differences and applies the rule. No I/O and no bot code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec

__all__ = [
    "WOULD_DROP",
    "LostField",
    "NewField",
    "RetypedField",
    "StateChanges",
    "refusal",
    "refused",
    "rollback_words",
]

WOULD_DROP = "the new code would drop "
"""How the reason begins when values would be lost; programs tell this abort from the others by it."""

_NAMED = 4


class LostField(msgspec.Struct, frozen=True):
    """A field whose values the new code does not keep. `value` is the first that is not its default, bounded JSON."""

    field: str
    at: str
    """The path of that value."""
    value: str
    count: int = 1
    """How many values are lost."""
    default: bool = False
    """All of them are the field's default: nothing is lost with them."""
    rows: int | None = None
    """How many rows it has, when it is a table."""
    by: str = ""
    """The migration that leaves it out, "" when the new code has no such field."""
    declared: bool = False
    """A migration says that it drops this field."""


class NewField(msgspec.Struct, frozen=True):
    """A field that only the new code has, with what it begins with; `by` is "migration" when a migration fills it."""

    field: str
    type: str
    value: str = ""
    by: str = ""


class RetypedField(msgspec.Struct, frozen=True):
    """A field whose type differs. The new code reads the value."""

    field: str
    before: str
    after: str


class StateChanges(msgspec.Struct, frozen=True):
    """How the state differs when the new code has read it. Its schema is another one; `rows` counts those of tables."""

    dropped: tuple[LostField, ...] = ()
    added: tuple[NewField, ...] = ()
    retyped: tuple[RetypedField, ...] = ()
    rows: dict[str, int] = {}

    @property
    def same(self) -> bool:
        """No field differs."""
        return not (self.dropped or self.added or self.retyped)

    def lines(self) -> list[str]:
        """The differences, a line each, for people."""
        return [
            *map(_lost_line, self.dropped),
            *map(_new_line, self.added),
            *(f"{one.field} was {one.before} and is {one.after}" for one in self.retyped),
        ]


# --- the rule -------------------------------------------------------------------------------------------------------


def refused(changes: StateChanges, drop: Iterable[str]) -> tuple[LostField, ...]:
    """The fields whose loss is not admitted: neither named in `drop`, nor declared by a migration, nor all default.

    A name admits the field and all that is in it.
    """
    named = tuple(drop)
    return tuple(
        lost
        for lost in changes.dropped
        if not (lost.default or lost.declared or any(_covers(name, lost.field) for name in named))
    )


def refusal(changes: StateChanges, drop: Iterable[str]) -> str:
    """Why the new code may not take over this state, with the mends; "" when it may."""
    named = tuple(drop)
    lost = refused(changes, named)
    if not lost:
        return ""
    few = lost[:_NAMED]
    what = ", ".join(map(_what, few))
    if len(lost) > _NAMED:
        what += f" and {len(lost) - _NAMED} more fields"
    options = " ".join(f"--drop {one.field}" for one in few)
    left_out = {one.by for one in lost if one.by}
    hint = _meant(named, [one.field for one in lost])
    mends = (
        f'say so in the migration ({", ".join(sorted(left_out))}: `@migration(…, drops=["{lost[0].field}"])`)'
        if left_out
        else f"for a renamed field write a migration that renames it, or keep its name in the state with "
        f'`msgspec.field(name="{lost[0].field.rpartition(".")[2]}")`'
    )
    return f"{WOULD_DROP}{what}: if that is meant, `{options}` (a push: `-o drop={few[0].field}`){hint}; else {mends}"


def rollback_words(changes: StateChanges | None) -> str:
    """What an instant rollback would not keep of the newest state, "" for nothing."""
    if changes is None:
        return ""
    new = ", ".join(one.field for one in changes.added)
    gone = ", ".join(one.field for one in changes.dropped if "." not in one.field)
    parts = [f"without {new}"] if new else []
    if gone:
        parts.append(f"with {gone} as of the handoff")
    return " and ".join(parts)


def _covers(name: str, field: str) -> bool:
    return field == name or field.startswith(f"{name}.")


def _meant(named: tuple[str, ...], fields: list[str]) -> str:
    for name in named:
        near = difflib.get_close_matches(name, fields, 1)
        if near:
            return f" (`--drop {name}` names no such field: did you mean {near[0]}?)"
    return ""


def _what(lost: LostField) -> str:
    if lost.rows is not None:
        return f"table {lost.field} ({_rows(lost.rows)})"
    more = f" and {lost.count - 1} more" if lost.count > 1 else ""
    return f"{lost.at} = {lost.value}{more}"


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def _lost_line(lost: LostField) -> str:
    why = ""
    if lost.default:
        why = ", its default"
    elif lost.declared:
        why = ", as its migration says"
    elif lost.by:
        why = f", left out by the migration {lost.by}"
    return f"drops {_what(lost)}{why}"


def _new_line(new: NewField) -> str:
    if new.by:
        return f"adds {new.field}, which a migration fills"
    return f"adds {new.field} = {new.value}" if new.value else f"adds {new.field}"
