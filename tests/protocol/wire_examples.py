"""The examples in docs/protocol.md, made by the code they explain, and types in the words of that page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import inspect

from neverblink.protocol.assignment import Assignment, encode_assignment
from neverblink.protocol.frame import (
    GENESIS,
    Armed,
    Changes,
    Frame,
    Schema,
    Timing,
    Traffic,
    Vitals,
    digest_of,
    encode_frame,
)
from neverblink.protocol.journal import (
    HEADER_SIZE,
    Closed,
    Opened,
    RecordKind,
    Snapshot,
    Whole,
    encode_payload,
    pack_header,
    pack_record,
)
from neverblink.protocol.keys import Keys
from neverblink.protocol.lease import Holder, encode_record, slot_of
from neverblink.protocol.link import YieldTo, supervisor_codec

__all__ = ["EXAMPLES", "shown", "tokens", "words_for"]

_SCHEMA = Schema(1, "0123456789abcdef")
_HEAD = 13


def frame() -> Frame:
    """Tick 1795533244 of a bot that ticks once a second: it opened a position and moved a timer."""
    changes = Changes({"positions": msgspec.msgpack.encode({"BTC": 2})}, {})
    timing = Timing(
        due=1795533244 * 10**9, late=61_000, took=420_000, ended=1795533244000481000, mono=77 * 10**9
    )
    return Frame(
        epoch=3,
        number=0,
        seq=1795533244,
        kind="tick",
        schema=_SCHEMA,
        prev=GENESIS,
        timing=timing,
        changes=changes,
        traffic=Traffic(("fill-9",), ("fill-9",), 0),
        timers={"exit BTC": Armed(1795533300 * 10**9)},
    )


def assignment_example() -> str:
    """An assignment, one key a line."""
    example = Assignment(
        bot="foresight",
        worker="w-2",
        release="20261124T151404Z-1a2b3c4d",
        run="/srv/foresight/.neverblink/run",
        lease="/srv/foresight/.neverblink/lease",
        journal="/srv/foresight/.neverblink/journal",
        log_file="/srv/foresight/.neverblink/logs/w-2.log",
        keys=Keys(bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))),
    )
    return msgspec.json.format(encode_assignment(example), indent=2).decode()


def yield_example() -> str:
    return "\n".join(tokens(supervisor_codec.encode(YieldTo(order=7, to="w-2", deployment=4))))


def frame_example() -> str:
    body = encode_frame(frame())
    return "\n".join([*tokens(body), "", f"digest: {digest_of(body).hex()}"])


def lease_example() -> str:
    records = [Holder(3, 4711, 900123, "w-2"), Holder(2, 4650, 890001, "w-1")]
    data = bytearray(512)
    for record in records:
        data[slot_of(record.epoch) : slot_of(record.epoch) + 256] = encode_record(record)
    return "\n".join(line.rstrip() for line in data.decode().splitlines())


def journal_example() -> str:
    """A whole segment: a snapshot of an empty state, a decision, a tick."""
    body = encode_frame(frame())
    head = Snapshot(3, -1, -1, GENESIS, _SCHEMA, {"positions": b"\x80"}, {"candles": 0}, Vitals())
    opened = Opened("3-1795533244-0", 3, 1795533244, "enter", {"market": "BTC"}, 1795533244000100000)
    closed = Closed(opened.id, 3, "done", 1795533244000400000)
    lines = list(_fields(pack_header(1), [("magic", 8), ("format", 2), ("~format", 2), ("segment", 4)]))
    assert len(pack_header(1)) == HEADER_SIZE
    for kind, payload in (
        (RecordKind.SNAPSHOT, encode_payload(head)),
        (RecordKind.WHOLE, encode_payload(Whole(-1, GENESIS, {}))),
        (RecordKind.OPENED, encode_payload(opened)),
        (RecordKind.CLOSED, encode_payload(closed)),
        (RecordKind.FRAME, body),
    ):
        record = pack_record(kind, payload)
        lines += ["", *_fields(record[:_HEAD], [("length", 4), ("crc32", 4), (kind.name, 1), ("~length", 4)])]
        lines += _fields(record[_HEAD:], [("payload", len(payload))])
    return "\n".join(lines)


EXAMPLES: dict[str, Callable[[], str]] = {
    "assignment": assignment_example,
    "yield": yield_example,
    "frame": frame_example,
    "lease": lease_example,
    "journal": journal_example,
}


def shown(name: str) -> str:
    """An example as it stands in the page."""
    language = "json" if name == "assignment" else "text"
    return f"```{language}\n{EXAMPLES[name]()}\n```"


def words_for(info: inspect.Type) -> str:
    """A type in the words of the page."""
    found: Any = info
    match info:
        case inspect.StructType():
            return f"`{info.cls.__name__}`"
        case inspect.UnionType():
            parts = [words_for(part) for part in info.types]
            return " or ".join(sorted(parts, key=lambda part: part == "nil"))
        case inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in info.values)
        case inspect.ListType() | inspect.VarTupleType():
            return f"array of {words_for(found.item_type)}"
        case inspect.TupleType():
            return f"[{', '.join(words_for(part) for part in found.item_types)}]"
        case inspect.DictType():
            return f"map of {words_for(found.key_type)} to {words_for(found.value_type)}"
        case _:
            return _WORDS[type(info)]


_WORDS: dict[type, str] = {
    inspect.IntType: "int",
    inspect.StrType: "text",
    inspect.BytesType: "bytes",
    inspect.BoolType: "bool",
    inspect.NoneType: "nil",
    inspect.AnyType: "any",
}


def tokens(data: bytes) -> list[str]:
    """Each value in msgpack bytes on a line of its own: the bytes, and what they say."""
    lines: list[str] = []
    end = _token(data, 0, 0, lines)
    assert end == len(data)
    return lines


def _token(data: bytes, at: int, depth: int, lines: list[str]) -> int:
    """Show the value at `at`; return where it ends. Only the kinds that occur in the examples."""
    first = data[at]
    if 0x80 <= first <= 0x8F or 0x90 <= first <= 0x9F:
        is_map, count = first < 0x90, first & 0x0F
        _line(lines, data[at : at + 1], depth, f"map of {count}" if is_map else f"array of {count}")
        at += 1
        for _ in range(count * 2 if is_map else count):
            at = _token(data, at, depth + 1, lines)
        return at
    if 0xA0 <= first <= 0xBF:
        head, size = 1, first & 0x1F
    elif first in (0xC4, 0xD9):
        head, size = 2, data[at + 1]
    else:
        head, size = 1, _FIXED.get(first, 0)
    end = at + head + size
    value = msgspec.msgpack.decode(data[at:end])
    is_text, is_bytes = isinstance(value, str), isinstance(value, bytes)
    text = (
        f'"{value}"'
        if is_text
        else f"{len(value)} bytes"
        if is_bytes
        else _PLAIN.get(repr(value), repr(value))
    )
    _line(lines, data[at:end], depth, text)
    return end


_FIXED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xCA: 4, 0xCB: 8}
_PLAIN = {"None": "nil", "True": "true", "False": "false"}
_WIDE = 18


def _line(lines: list[str], raw: bytes, depth: int, text: str) -> None:
    indent = "  " * depth
    pieces = [raw[start : start + _WIDE].hex(" ") for start in range(0, len(raw), _WIDE)]
    lines += [f"{indent}{piece}" for piece in pieces[:-1]]
    lines.append(f"{indent}{pieces[-1]}".ljust(_WIDE * 3 + 6) + f"  {text}")


def _fields(data: bytes, parts: list[tuple[str, int]]) -> Iterator[str]:
    """Bytes, sixteen a line, each part named where it begins."""
    at = 0
    for name, size in parts:
        for start in range(0, size, 16):
            piece = data[at + start : at + min(start + 16, size)].hex(" ")
            yield f"{piece:<48} {name if start == 0 else ''}".rstrip()
        at += size
    assert at == len(data)
