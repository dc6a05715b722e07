"""Of states of every type: the leader's verifier, a follower, the journal and a successor agree, value by value."""

from __future__ import annotations

import copy
from typing import Any, cast

import msgspec
from hypothesis import HealthCheck, given, settings

from neverblink.protocol.frame import Changes
from neverblink.protocol.state.typed_decoder import TypedDecoder
from neverblink.protocol.state.values import decode_types
from neverblink.worker.model.cells import Cells, StateUnreadable
from neverblink.worker.model.verifier import Verifier

from ...hypothesis_profile import examples
from .typed_values import Everything, canonical, changes


def floats_of_ints(value: Any, like: Any) -> Any:
    """`value` with each int as a float where `like`, which was read back as its declared type, has one."""
    kind = cast(Any, type(value))
    if kind is int and cast(Any, type(like)) is float and value == like:
        return like
    if kind is not cast(Any, type(like)) or kind not in (dict, list, tuple) or len(value) != len(like):
        return value
    if kind is dict:
        return dict[Any, Any](zip(value, map(floats_of_ints, value.values(), like.values()), strict=True))
    return cast(Any, kind(map(floats_of_ints, value, like)))


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(changes)
def test_the_verifier_tells_exactly_what_another_process_would_not_read_as_it_was(
    made: list[tuple[str, Any]],
) -> None:
    cells = Cells(Everything)
    state: Everything = cells.fresh()
    journal = TypedDecoder(decode_types(cells.types))
    verifier = Verifier(cells)
    assert verifier.check_all(state) == []
    follower_cells = Cells(Everything)
    follower: Any = follower_cells.load(cells.root(state))
    for name, value in made:
        # One object in two places is another matter.
        if name == "rows":
            key, row = value
            state.rows[key] = copy.deepcopy(row)
        else:
            setattr(state, name, copy.deepcopy(value))
    collected = cells.collect(state)
    told = {problem.field for problem in verifier.check_changed(state)}
    for name in {name for name, _ in made}:
        sent = (
            Changes({}, {name: collected.tables.get(name, [])})
            if name == "rows"
            else Changes({name: collected.cells[name]} if name in collected.cells else {}, {})
        )
        try:
            follower_cells.apply(follower, sent)
        except StateUnreadable:
            readable = False
        else:
            readable = True
        # The journal's types decide as the bot's own do.
        problems = [journal.problem_of_field(name, data) for name, data in sent.cells.items()]
        problems += [
            journal.problem_of_row(name, key, row) for name, rows in sent.tables.items() for key, row in rows
        ]
        assert readable == (not any(problems)), (name, problems)
        if not readable:
            assert name in told
            continue
        mine, theirs = getattr(state, name), getattr(follower, name)
        if name == "rows":
            mine, theirs = dict(mine), dict(theirs)
        equal = canonical(floats_of_ints(mine, theirs)) == canonical(theirs)
        assert (name not in told) == equal, (name, mine, theirs)
    if not told:
        root: dict[str, bytes] = cells.root(state)
        successor = Cells(Everything).load(root)
        for name in root:
            assert canonical(floats_of_ints(getattr(state, name), getattr(successor, name))) == canonical(
                getattr(successor, name)
            )
        assert msgspec.msgpack.encode(successor.rows) == b"\x80"
