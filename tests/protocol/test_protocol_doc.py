"""The protocol's page says what the code does: every message, every field, every byte."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec import inspect

from neverblink.protocol import (
    assignment,
    feed_assignment,
    feed_file,
    feed_named,
    feed_position,
    feed_queue,
    feed_wire,
    frame,
    grid,
    journal,
    keys,
    lease,
    link,
    listening,
    state_changes,
    stream,
    window,
)
from neverblink.protocol.wire import MAX_MESSAGE, PROTOCOL, VersionRange

from .codecs import kinds, tag_of
from .wire_examples import EXAMPLES, shown, words_for

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "protocol.md"
TEXT = PAGE.read_text(encoding="utf-8")

MESSAGES = [
    kind
    for union in (
        link.WorkerMessage,
        link.SupervisorMessage,
        stream.FollowerMessage,
        stream.LeaderMessage,
        feed_wire.SubscriberMessage,
        feed_wire.FeedMessage,
    )
    for kind in kinds(union)
]
PARTS = [
    link.DescriptorsLeft,
    link.StateProblem,
    link.TaskReport,
    link.YieldReport,
    *(
        state_changes.StateChanges,
        state_changes.LostField,
        state_changes.NewField,
        state_changes.RetypedField,
    ),
    keys.Keys,
    *(listening.InheritedSocket, listening.LentSockets),
    *(VersionRange, frame.Schema, frame.Changes, window.WindowSpec, grid.Gap, grid.LostTime, grid.ClockStep),
    *(
        frame.Item,
        frame.Timing,
        frame.Traffic,
        frame.NumberGap,
        frame.Armed,
        frame.Led,
        frame.Yielded,
        frame.Vitals,
    ),
    *(link.Inboxed, link.Doubt, link.Offers, link.Offered, link.SettingsNow),
    *(journal.Position, journal.Snapshot, journal.Rows, journal.Opened, journal.Closed),
    *(journal.Whole, journal.Unwritten, link.Journaled),
    *(feed_named.FeedNamed, feed_position.FeedPosition, feed_position.FeedRange),
    *(feed_queue.FeedEntry, link.FeedApplied),
]


def section(title: str) -> str:
    """What stands below a heading, up to the next."""
    found = re.search(rf"^#+ `?{re.escape(title)}`?\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/protocol.md has no heading {title!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the first table in a text."""
    lines = [line for line in text.split("\n\n") if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[0].splitlines()[2:]]


def default_of(field: inspect.Field) -> str:
    if field.required:
        return ""
    factory: Any = field.default_factory
    value = field.default if factory is msgspec.NODEFAULT else factory()
    match value:
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case str():
            return f"`{value}`" if value else '`""`'
        case int():
            return str(value)
        case _:
            return "empty"


def fields_of(kind: type[msgspec.Struct]) -> list[list[str]]:
    info: Any = inspect.type_info(kind)
    return [[f"`{field.encode_name}`", words_for(field.type), default_of(field)] for field in info.fields]


def documented(text: str) -> list[list[str]]:
    return [] if "No fields." in text else [row[:3] for row in rows(text)]


@pytest.mark.parametrize("kind", MESSAGES, ids=tag_of)
def test_the_page_has_every_message_with_every_field(kind: type[msgspec.Struct]) -> None:
    assert documented(section(tag_of(kind))) == fields_of(kind)
    assert not kind.__struct_config__.array_like


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
def test_the_page_has_every_part_of_a_message_with_every_field(kind: type[msgspec.Struct]) -> None:
    text = section(kind.__name__)
    assert documented(text) == fields_of(kind)
    assert text.lstrip().startswith("Array." if kind.__struct_config__.array_like else "Map.")
    if kind.__struct_config__.tag is not None:
        assert f"Tag `{tag_of(kind)}`" in text


def test_the_page_explains_every_part_of_a_message() -> None:
    named = {
        name for kind in (*MESSAGES, *PARTS, frame.Frame) for row in fields_of(kind) for name in _parts(row)
    }
    assert named <= {kind.__name__ for kind in PARTS}


def _parts(row: list[str]) -> list[str]:
    return re.findall(r"`([A-Z]\w+)`", row[1])


def test_the_page_has_a_frame_and_an_assignment_with_every_field() -> None:
    assert documented(section("Frames and digests")) == fields_of(frame.Frame)
    assert documented(section("The assignment")) == fields_of(assignment.Assignment)
    assert documented(section("A feed in another language")) == fields_of(feed_assignment.FeedAssignment)


def test_the_page_has_every_field_of_a_feeds_file() -> None:
    told = re.findall(r"`(\w+)`", " ".join(row[0] for row in rows(section("The file of a feed"))))
    assert told == list(feed_file.FeedRecord.__struct_fields__)
    assert f"two slots of {feed_file.FILE_SIZE // 2:,} bytes" in section("The file of a feed")


def test_the_page_has_every_kind_of_frame_and_of_record() -> None:
    kinds_told = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section("Frames and digests"), re.MULTILINE)
    words = [word for cell in kinds_told for word in re.findall(r"`(\w+)`", cell)]
    assert [word for word in words if word in get_args(frame.Kind)] == list(get_args(frame.Kind))
    records = re.findall(r"^\| (\d) \| `(\w+)` \|", section("The journal"), re.MULTILINE)
    assert [(int(number), name) for number, name in records] == [
        (kind.value, kind.name) for kind in journal.RecordKind
    ]


def test_the_numbers_on_the_page_match_the_code() -> None:
    assert f"at most {link.LINK_LIMIT >> 20} MiB, one between workers at most {MAX_MESSAGE >> 20} MiB" in TEXT
    assert f"length of the payload, at most {journal.MAX_RECORD >> 20} MiB | 4 |" in TEXT
    assert f"a header of {journal.HEADER_SIZE} bytes" in TEXT
    assert f"The file is {lease.FILE_SIZE} bytes: two lines of {lease.SLOT_SIZE}" in TEXT
    assert f"This page describes version {PROTOCOL.newest}." in TEXT
    assert len(frame.GENESIS) == 16


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_on_the_page_match_the_code(name: str, rewrite: bool) -> None:
    before, after = f"<!-- example: {name} -->\n", "\n<!-- end -->"
    text = PAGE.read_text(encoding="utf-8")
    start = text.index(before) + len(before)
    end = text.index(after, start)
    if rewrite:
        PAGE.write_text(text[:start] + shown(name) + text[end:], encoding="utf-8")
        return
    assert text[start:end] == shown(name)


def test_every_link_on_the_page_has_a_target() -> None:
    headings = {_anchor(line) for line in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)}
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in target]
    assert len(targets) > 30
    missing = [
        target
        for target in targets
        if not (
            target[1:] in headings
            if target.startswith("#")
            else (PAGE.parent / target.partition("#")[0]).resolve().is_file()
        )
    ]
    assert missing == []


def test_the_page_links_every_scenario() -> None:
    linked = set(re.findall(r"\.\./tests/scenarios/(\w+)\.txt", TEXT))
    assert {path.stem for path in (ROOT / "tests" / "scenarios").glob("*.txt")} <= linked


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# --- an independent reader, written from the page: struct, zlib, hashlib and a plain msgpack decoder ---


def test_a_journal_can_be_read_by_the_page_alone() -> None:
    data = bytes.fromhex(
        "".join(line[:48] for line in EXAMPLES["journal"]().splitlines()).replace(" ", "").strip()
    )
    magic, form, check, segment = struct.unpack_from("<8sHHI", data)
    assert (magic, form, form ^ check, segment) == (b"NBLINKJ\n", 2, 0xFFFF, 1)
    found: list[tuple[int, Any]] = []
    at, payload = 16, b""
    while at < len(data):
        length, crc, kind, complement = struct.unpack_from("<IIBI", data, at)
        payload = data[at + 13 : at + 13 + length]
        assert length ^ complement == 2**32 - 1
        assert zlib.crc32(payload, kind) == crc
        found.append((kind, msgspec.msgpack.decode(payload)))
        at += 13 + length
    (_, head), (_, whole), (_, opened), (_, closed), (_, tick) = found
    assert [kind for kind, _ in found] == [1, 6, 4, 5, 3]
    assert whole == [-1, bytes(16), {}]
    assert head[:4] == [3, -1, -1, bytes(16)]
    assert opened[:4] == ["3-1795533244-0", 3, 1795533244, "enter"]
    assert closed[:3] == ["3-1795533244-0", 3, "done"]
    assert tick[:4] == [3, 0, 1795533244, "tick"]
    assert tick[5] == bytes(16)  # prev: the digest before the first frame
    assert msgspec.msgpack.decode(tick[7][0]["positions"]) == {"BTC": 2}
    digest = hashlib.blake2b(payload, digest_size=16).hexdigest()
    assert f"digest: {digest}" in EXAMPLES["frame"]()


def test_the_lease_can_be_read_by_the_page_alone() -> None:
    for number, line in enumerate(EXAMPLES["lease"]().splitlines()):
        record = json.loads(line)
        text = f"{record['epoch']} {record['pid']} {record['started']} {record['holder']}"
        assert record["epoch"] % 2 == number
        assert zlib.crc32(text.encode()) == record["crc"]
