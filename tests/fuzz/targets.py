"""Every decoder that reads a socket, a file or a journal, in one table; and the files of ours that decode anything.

A target takes bytes. It returns, or raises one of its documented errors; anything else is a fault, and so is a long
running time or high memory use. `bin/fuzz` runs the table under a coverage-guided fuzzer, `test_fuzz.py` under
Hypothesis. A file of the three packages that decodes something and is not in `FILES` fails a test.
"""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import subprocess
import tempfile
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from neverblink.protocol import (
    assignment,
    commands,
    control,
    duration,
    events,
    feed_assignment,
    feed_file,
    feed_wire,
    frame,
    journal,
    lease,
    link,
    listening,
    logline,
    size,
    stream,
    window,
)
from neverblink.protocol.cluster import log_record
from neverblink.protocol.errors import NeverblinkError
from neverblink.protocol.frame import Changes, Schema
from neverblink.protocol.journal import RecordKind
from neverblink.protocol.state.path import BadPath, parse
from neverblink.protocol.state.typed_decoder import TypedDecoder
from neverblink.protocol.state.values import StateValues, decode_types
from neverblink.protocol.status import BotStatus
from neverblink.protocol.wire import MessageCodec, WireError
from neverblink.supervisor.api.client import BadAnswer, convert
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.export import export
from neverblink.supervisor.audit.reader import read_journal
from neverblink.supervisor.audit.recent_ticks import RecentTicks
from neverblink.supervisor.audit.verify import JournalCheck, survey
from neverblink.supervisor.cli import command_values
from neverblink.supervisor.cli.audit import bound
from neverblink.supervisor.cli.check import finding_of
from neverblink.supervisor.cli.exit_codes import BadInput
from neverblink.supervisor.cli.log_merge import Reader
from neverblink.supervisor.cli.operations import arguments
from neverblink.supervisor.config import config
from neverblink.supervisor.environment.import_check import ImportFailed, read_answer
from neverblink.supervisor.release.copy_tree import MANIFEST
from neverblink.supervisor.release.releases import ReleaseStore
from neverblink.supervisor.state.document import read_document, staged_from
from neverblink.supervisor.state.reader import StateReader
from neverblink.supervisor.store import identity
from neverblink.supervisor.store.history_db import HistoryDb, HistoryError
from neverblink.supervisor.store.history_rows import DeploymentRow
from neverblink.supervisor.store.state_dir import Home
from neverblink.supervisor.system.errors import Refusal
from neverblink.supervisor.web.tokens import TokenError, Tokens
from neverblink.supervisor.workers.env_file import EnvFileError, read_env_file
from neverblink.supervisor.workers.leftovers import journal_left
from neverblink.worker import migration
from neverblink.worker.codecs.codec import Codec
from neverblink.worker.engine.command_turns import decode_command
from neverblink.worker.journal.directory import JournalDirectory
from neverblink.worker.model.cells import Cells, StateUnreadable
from neverblink.worker.model.commands import CommandRefused, Declared
from neverblink.worker.model.migration import MigrationError, Migrations, Translator
from neverblink.worker.model.settings import SettingsCell, SettingsRefused, SettingsUnreadable
from neverblink.worker.replication.recovery import resume

from ..protocol.codecs import messages
from ..worker.journaling_leader import Book, bare

__all__ = ["FILES", "TARGETS", "Target"]


class Target:
    """`run(data)` may raise `errors`. `whole` makes data that is valid, or nearly."""

    def __init__(
        self,
        run: Callable[[bytes], object],
        errors: tuple[type[Exception], ...],
        whole: st.SearchStrategy[bytes],
    ) -> None:
        self.run = run
        self.errors = errors
        self.whole = whole


# --- where files are read -------------------------------------------------------------------------------------------


@cache
def _place() -> Path:
    """A temporary directory of this process."""
    root = Path(tempfile.mkdtemp(prefix="neverblink-fuzz-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _file(name: str, data: bytes, read: Callable[[Path], object]) -> object:
    """What `read` makes of the directory of the file `name` that holds `data`."""
    path = _place() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return read(path.parent)


def _releases(root: Path) -> object:
    return ReleaseStore(root.parent).list()


def _read_identity(home: Path) -> object:
    return identity.id_of(Home(home))


def _read_lock(root: Path) -> object:
    with Home(root).claim() as claim:
        return claim.left_by


def _read_journal(root: Path) -> object:
    list(read_journal(root))
    return audit(read_journal(root))


def _export(root: Path) -> object:
    return [msgspec.json.encode(line) for line in export(read_journal(root), snapshots=True)]


def _survey(root: Path) -> object:
    return list(survey(root)), JournalCheck().check(read_journal(root))


def _state(journal: Path) -> object:
    reader = StateReader(Home(journal.parent))
    return reader.show("", ""), reader.compare("frame:0", ""), reader.export("1")


def _import(root: Path) -> object:
    values = StateValues(Schema(1, ""), {}, {"a": msgspec.msgpack.encode(1)}, ["rows"])
    return staged_from(read_document(str(root / "state.json")), values)


def _exported(state: object) -> bytes:
    exported = {"neverblink": "state", "format": 1, "state": {"a": state, "rows": state}, "types": {}}
    return msgspec.json.encode(exported)


_exported_states = st.builds(
    _exported,
    st.recursive(
        st.none() | st.integers(-5, 5) | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["$map", "$float", "$bytes", "$ext", "$datetime", "x"]), inner, max_size=2
            )
        ),
    ),
)


def _strip(root: Path) -> object:
    strip = RecentTicks(root)
    return strip.look(), msgspec.json.encode(strip.since())


def _recover(root: Path) -> object:
    file = JournalDirectory(root, "process")
    try:
        return resume(bare(), file)
    finally:
        file.close()


@cache
def _history() -> HistoryDb:
    return HistoryDb.open(_place() / "supervisor.db", "bot")


def _kept(data: bytes) -> object:
    history = _history()
    history.keep("windows", None)
    with closing(sqlite3.connect(history.path, isolation_level=None)) as file:
        file.execute("update kept set value = ?", (data.decode("latin-1"),))
    return history.kept("windows", list[window.WindowSpec])


# --- journals of valid records with arbitrary contents ---------------------------------------------------------------


def _segment(records: list[tuple[RecordKind, bytes]]) -> bytes:
    return journal.pack_header(1) + b"".join(journal.pack_record(*record) for record in records)


_payloads: dict[RecordKind, st.SearchStrategy[bytes]] = {
    RecordKind.SNAPSHOT: messages(journal.Snapshot).map(journal.encode_payload),
    RecordKind.ROWS: messages(journal.Rows).map(journal.encode_payload),
    RecordKind.FRAME: messages(frame.Frame).map(frame.encode_frame),
    RecordKind.OPENED: messages(journal.Opened).map(journal.encode_payload),
    RecordKind.CLOSED: messages(journal.Closed).map(journal.encode_payload),
    RecordKind.WHOLE: messages(journal.Whole).map(journal.encode_payload),
}
_records = st.sampled_from(RecordKind).flatmap(lambda kind: st.tuples(st.just(kind), _payloads[kind]))
_openings = st.tuples(_payloads[RecordKind.SNAPSHOT], _payloads[RecordKind.WHOLE]).map(
    lambda two: [(RecordKind.SNAPSHOT, two[0]), (RecordKind.WHOLE, two[1])]
)
_segments = st.tuples(_openings, st.lists(_records, max_size=5)).map(lambda two: _segment(two[0] + two[1]))


def _as_records(data: bytes) -> bytes:
    """A segment of valid records from any `data`: the fuzzer need not guess checksums."""
    records = [(RecordKind.SNAPSHOT, _plain_snapshot), (RecordKind.WHOLE, _plain_whole)]
    kinds = list(RecordKind)
    data = data[:4096]
    while data:
        kind, length, data = kinds[data[0] % len(kinds)], int.from_bytes(data[1:3], "little"), data[3:]
        records.append((kind, data[:length]))
        data = data[length:]
    return _segment(records)


_plain_snapshot = journal.encode_payload(
    journal.Snapshot(0, -1, -1, frame.GENESIS, Schema(1, ""), {}, {}, frame.Vitals())
)
_plain_whole = journal.encode_payload(journal.Whole(-1, frame.GENESIS, {}))
_as_payloads = st.lists(
    _records.map(lambda item: bytes([item[0] - 1]) + len(item[1]).to_bytes(2, "little") + item[1]), max_size=5
).map(b"".join)


# --- the rest --------------------------------------------------------------------------------------------------------


def _scan(data: bytes) -> None:
    for version in journal.READS:
        for past in (False, True):
            list(journal.scan(data, 0, version, past_damage=past))
    list(journal.records(lambda offset, size: data[offset : offset + size], 0, past_damage=True))


def _typed(data: bytes) -> object:
    """The types that a journal says, and a value."""
    decoder = TypedDecoder(decode_types(data))
    return [
        problem
        for one in (
            decoder,
            TypedDecoder({"properties": {"a": {"type": "array", "items": {"type": "number"}}}}),
        )
        for problem in (one.problem_of_field("a", data), one.problem_of_row("a", data[:3], data[3:]))
    ]


def _cells(data: bytes) -> object:
    cells = Cells(Book, 1)
    state = cells.load({"count": data})
    cells.apply(state, Changes({"notes": data}, {"rows": [(data[:4], data[4:]), (data, None)]}))
    return cells.load({"rows": data})


class _Collections(msgspec.Struct):
    """A state whose every field has a codec."""

    recent: deque[float] = msgspec.field(default_factory=lambda: deque[float](maxlen=3))
    counts: defaultdict[str, Counter[str]] = msgspec.field(default_factory=lambda: defaultdict(Counter[str]))
    order: OrderedDict[str, int] = msgspec.field(default_factory=lambda: OrderedDict[str, int]())
    half: Fraction = Fraction(1, 2)


_halves = [Codec(Fraction, lambda half: [half.numerator, half.denominator], lambda pair: Fraction(*pair))]


def _coded(data: bytes) -> None:
    """Each field alone, so that one which cannot be read leaves the others to be tried."""
    cells = Cells(_Collections, 1, codecs=_halves)
    problem: StateUnreadable | None = None
    for name in _Collections.__struct_fields__:
        try:
            cells.load({name: data})
        except StateUnreadable as found:
            problem = found
    if problem is not None:
        raise problem


@migration(1, 2)
def _lots(root: dict[str, Any]) -> dict[str, Any]:
    return {"lots": root.pop("sizes")}


_migrations = Migrations([vars(_lots)["__neverblink_migrations__"][0]])


def _translate(data: bytes) -> object:
    return Translator(_migrations, Schema(1, ""), Schema(2, "")).load({"sizes": data})


class _Limits(msgspec.Struct, frozen=True):
    most: int = 3
    names: tuple[str, ...] = ()
    more: Any = None


def _settings(data: bytes) -> object:
    settings = SettingsCell(_Limits())
    settings.take(settings.read(data))
    return settings.now()


def _change(data: bytes) -> object:
    change = SettingsCell(_Limits()).plan({"set": _plain_map(data)})
    return change.packed, msgspec.msgpack.encode(change.answer)


def _close(
    self: object, market: str, part: float = 1.0, legs: tuple[int, ...] = (), more: Any = None
) -> None: ...


_declared = Declared("close", _close)


def _plain_map(data: bytes) -> dict[str, Any]:
    """A command's arguments as a worker receives them."""
    return decode_command(frame.Item("command/1", "command", b"\x92\xa1x" + data, 0))[1]


_spec: MessageCodec[window.WindowSpec] = MessageCodec(window.WindowSpec, "a window")


def _window(data: bytes) -> object:
    spec = _spec.decode(data)
    made = window.Window.of(spec)
    return made.next(1_795_533_244_000_000_000)


def _texts(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def _words(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """Arguments of a command: those that are not UTF-8 are refused before anything reads them."""
    return lambda data: read(data.decode("utf-8", "replace"))


def _encoded(kind: Any) -> st.SearchStrategy[bytes]:
    return messages(kind).map(msgspec.msgpack.Encoder().encode)


def _json(kind: Any) -> st.SearchStrategy[bytes]:
    # What a message holds as bytes is base64 in JSON.
    return messages(kind).map(msgspec.json.Encoder().encode)


def _said(*texts: str) -> st.SearchStrategy[bytes]:
    return st.sampled_from([text.encode() for text in texts])


_CONFIG = """
name = "sniper.2"
bot = "bots.sniper:make"
python = "python3.13"
durability = "always"
[handoff]
probation = "1h30m"
[keep]
releases = 9
[journal]
segment = "1.5MiB"
keep_for = "2d"
"""
_PYPROJECT = '[tool.neverblink]\nbot = "bot:B"\n[tool.neverblink.keep]\nreleases = 2\n'
_LEASE = lease.encode_record(lease.Holder(2, 4650, 890001, "w-1")) + lease.encode_record(
    lease.Holder(3, 4711, 900123, "w-2")
)

_WANTED = {
    "properties": {
        "count": {"type": "integer"},
        "note": {"type": "string"},
        "on": {"type": "boolean"},
        "some": {"type": "array", "items": {"type": "integer"}},
        "by": {"type": "object"},
        "of": {"enum": ["a", "b"]},
        "either": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    }
}
_CHECKED = config.Config(Path("/p/neverblink.toml"), "b", "bot:B", "python3")

TARGETS: dict[str, Target] = {
    # sockets
    "worker's message": Target(link.worker_codec.decode, (WireError,), _encoded(link.WorkerMessage)),
    "supervisor's message": Target(
        link.supervisor_codec.decode, (WireError,), _encoded(link.SupervisorMessage)
    ),
    "follower's message": Target(
        stream.follower_codec.decode, (WireError,), _encoded(stream.FollowerMessage)
    ),
    "log record": Target(
        lambda data: log_record.entry_of(1, data), (WireError,), _encoded(log_record.LogRecord)
    ),
    "leader's message": Target(stream.leader_codec.decode, (WireError,), _encoded(stream.LeaderMessage)),
    "operator's command": Target(
        lambda data: decode_command(frame.Item("command/1", "command", data, 0)),
        (WireError,),
        st.just(msgspec.msgpack.encode(("pause", {"a": [1]}))),
    ),
    "settings set": Target(
        _settings, (SettingsUnreadable,), st.just(msgspec.msgpack.encode({"most": 7, "gone": 1}))
    ),
    "change of settings": Target(
        _change,
        (SettingsRefused, WireError),
        st.just(msgspec.msgpack.encode({"most": 7, "names": ["a"], "more": {"a": [1]}})),
    ),
    "arguments of a declared command": Target(
        lambda data: _declared.read(_plain_map(data)),
        (CommandRefused, WireError),
        st.just(msgspec.msgpack.encode({"market": "BTC", "legs": [1], "more": {"a": [1]}})),
    ),
    "control.json": Target(
        control.parse,
        (control.ControlError,),
        st.lists(_json(commands.Command), max_size=3).map(lambda some: b"[" + b",".join(some) + b"]")
        | _json(commands.Command),
    ),
    "request": Target(
        commands.decode_command, (commands.BadRequest,), _json(commands.Command) | _encoded(commands.Command)
    ),
    "answer": Target(commands.decode_answer, (commands.BadRequest,), _json(commands.Answer)),
    "status answered": Target(
        lambda data: convert(commands.decode_answer(data).result, BotStatus),
        (commands.BadRequest, BadAnswer),
        messages(BotStatus).map(lambda seen: commands.encode_answer(commands.Answer("1", "ok", 1, seen))),
    ),
    "deployment answered": Target(
        lambda data: convert(commands.decode_answer(data).result, DeploymentRow),
        (commands.BadRequest, BadAnswer),
        messages(DeploymentRow).map(lambda row: commands.encode_answer(commands.Answer("1", "ok", 1, row))),
    ),
    "event": Target(events.decode_event, (NeverblinkError,), _json(events.Event)),
    "lent sockets": Target(listening.decode_lent, (listening.ListeningError,), _json(listening.LentSockets)),
    "assignment": Target(
        assignment.decode_assignment, (assignment.AssignmentError,), _json(assignment.Assignment)
    ),
    "subscriber's message": Target(
        feed_wire.subscriber_codec.decode, (WireError,), _encoded(feed_wire.SubscriberMessage)
    ),
    "feed's message": Target(feed_wire.feed_codec.decode, (WireError,), _encoded(feed_wire.FeedMessage)),
    "feed's stream": Target(
        lambda data: feed_wire.FeedStream(1 << 16).feed(data),
        (WireError,),
        _encoded(feed_wire.FeedMessage).map(feed_wire.framed),
    ),
    "feed's assignment": Target(
        feed_assignment.decode_feed_assignment,
        (assignment.AssignmentError,),
        _json(feed_assignment.FeedAssignment),
    ),
    "feed's file": Target(
        feed_file.decode_feed_file,
        (),
        st.just(feed_file.encode_feed_record(feed_file.FeedRecord(1, 2, 3, 4, b"", 5, 6, "r"))),
    ),
    # the state
    "frame": Target(frame.decode_frame, (WireError,), messages(frame.Frame).map(frame.encode_frame)),
    "types in a journal": Target(
        _typed,
        (),
        _said(
            '{"properties":{"a":{"type":"number"}}}',
            '{"properties":{"a":{"anyOf":[{"$ref":"#/$defs/A"},{"type":"null"}]}},"$defs":{"A":{"properties":{}}}}',
            '{"properties":{"a":{"x-table":true,"propertyNames":{"type":"integer"}}}}',
        ),
    ),
    "state": Target(_cells, (StateUnreadable,), _said("\x05", "\x80", "\x81\xa1r\x82")),
    "state with codecs": Target(
        _coded,
        (StateUnreadable,),
        _said("\x92\x01\x02", "\x82\xa6maxlen\x02\xa5items\x90", "\x81\xa1a\x81\xa1b\x01"),
    ),
    "migration": Target(_translate, (MigrationError,), _said("\x05", "\x81\xa1r\x05")),
    # the journal
    "segment's header": Target(
        lambda data: journal.read_header(data, "here"),
        (journal.JournalError,),
        st.just(journal.pack_header(7)),
    ),
    "records": Target(_scan, (), _segments.map(lambda data: data[journal.HEADER_SIZE :])),
    "snapshot": Target(journal.decode_snapshot, (WireError,), _payloads[RecordKind.SNAPSHOT]),
    "rows": Target(journal.decode_rows, (WireError,), _payloads[RecordKind.ROWS]),
    "decision opened": Target(journal.decode_opened, (WireError,), _payloads[RecordKind.OPENED]),
    "decision closed": Target(journal.decode_closed, (WireError,), _payloads[RecordKind.CLOSED]),
    "end of a snapshot": Target(journal.decode_whole, (WireError,), _payloads[RecordKind.WHOLE]),
    "audit": Target(
        lambda data: _file("audit/00000001.journal", data, _read_journal),
        (journal.JournalError,),
        _segments,
    ),
    "audit of whole records": Target(
        lambda data: _file("whole/00000001.journal", _as_records(data), _read_journal),
        (journal.JournalError,),
        _as_payloads,
    ),
    "export": Target(
        lambda data: _file("export/00000001.journal", data, _export), (journal.JournalError,), _segments
    ),
    "export of whole records": Target(
        lambda data: _file("lines/00000001.journal", _as_records(data), _export),
        (journal.JournalError,),
        _as_payloads,
    ),
    "survey and check": Target(
        lambda data: _file("survey/00000001.journal", data, _survey), (journal.JournalError,), _segments
    ),
    "check of whole records": Target(
        lambda data: _file("check/00000001.journal", _as_records(data), _survey),
        (journal.JournalError,),
        _as_payloads,
    ),
    "strip": Target(lambda data: _file("strip/00000001.journal", data, _strip), (), _segments),
    "strip of whole records": Target(
        lambda data: _file("strips/00000001.journal", _as_records(data), _strip), (), _as_payloads
    ),
    "state in a journal": Target(
        lambda data: _file("state/journal/00000001.journal", data, _state), (Refusal,), _segments
    ),
    "state of whole records": Target(
        lambda data: _file("states/journal/00000001.journal", _as_records(data), _state),
        (Refusal,),
        _as_payloads,
    ),
    "exported state": Target(
        lambda data: _file("exported/state.json", data, _import), (NeverblinkError,), _exported_states
    ),
    "arrival": Target(
        lambda data: _file("arrival/00000001.journal", data, journal_left),
        (journal.JournalError, WireError),
        _segments,
    ),
    "recovery": Target(
        lambda data: _file("recovery/00000001.journal", data, _recover),
        (journal.JournalError, StateUnreadable, MigrationError),
        _segments,
    ),
    "recovery of whole records": Target(
        lambda data: _file("again/00000001.journal", _as_records(data), _recover),
        (journal.JournalError, StateUnreadable, MigrationError),
        _as_payloads,
    ),
    # files
    "lease": Target(lease.decode_file, (lease.LeaseCorrupt,), st.just(_LEASE)),
    "configuration": Target(
        lambda data: _file("own/neverblink.toml", data, config.load), (config.ConfigError,), _said(_CONFIG)
    ),
    "pyproject": Target(
        lambda data: _file("shared/pyproject.toml", data, config.load),
        (config.ConfigError,),
        _said(_PYPROJECT),
    ),
    "home's record": Target(
        lambda data: _file("home/lock", data, _read_lock), (), _said('{"pid":1,"started":2,"bot":"b"}\n')
    ),
    "home's identity": Target(
        lambda data: _file("home/identity", data, _read_identity),
        (),
        _said('{"id":"4f1c","device":1,"inode":2,"boot":"b"}\n'),
    ),
    "environment file": Target(
        lambda data: _file("keys/.env", data, lambda place: read_env_file(place / ".env")),
        (EnvFileError,),
        _said("A=1\nexport B='two words'\n"),
    ),
    "release's manifest": Target(
        lambda data: _file(f"releases/20261124T151404Z-1a2b3c4d/{MANIFEST}", data, _releases),
        (),
        _said('{"made_at":1,"digest":"d","origin":"/","files":1,"bytes":2}'),
    ),
    "tokens": Target(
        lambda data: _file("http/tokens", data, lambda root: Tokens(root / "tokens").list()),
        (TokenError,),
        _said('[{"name":"anna","role":"viewer","digest":"d","made":1}]'),
    ),
    "log line": Target(
        _texts(lambda text: (logline.decode_line(text), Reader("w1", "v1").read(text))),
        (),
        _json(logline.LogLine)
        | _said('{"time":"0001-01-01T00:00:00+23:00","level":"info","text":"x"}', "2026-11-26 12:00:00,5 x"),
    ),
    "history": Target(_kept, (HistoryError,), _json(list[window.WindowSpec])),
    "check's finding": Target(
        lambda data: finding_of(
            _CHECKED, read_answer(_CHECKED, subprocess.CompletedProcess((), 0, data, b""))
        ),
        (ImportFailed,),
        _said('{"ok":true,"interval":5,"windows":[],"state":"B","schema":1}\n'),
    ),
    # what people write
    "window": Target(_window, (window.WindowError, WireError), _encoded(window.WindowSpec)),
    "duration": Target(_texts(duration.parse), (duration.DurationError,), _said("1h30m", "-2.5s", "7µs")),
    "size": Target(_texts(size.parse), (size.SizeError,), _said("16MiB", "1.5GB", "3B")),
    "bound of an audit": Target(
        _texts(lambda text: bound("--since", text, 1_795_533_244_000_000_000)),
        (BadInput,),
        _said("10m", "17", "14:05:09", "2026-11-24T14:05:09"),
    ),
    "path in a state": Target(
        _texts(lambda text: parse(text)), (BadPath,), _said("a.b[0]", '["a.b"].c', "a[[1, 2]]", "'x'.y")
    ),
    "arguments": Target(
        _words(lambda text: (arguments((text,), ""), arguments((), text))),
        (BadInput,),
        _said("a=1", '{"a":[1]}'),
    ),
    "typed value": Target(
        _words(lambda text: command_values.read((text,), _WANTED)),
        (BadInput,),
        _said(
            "count=7",
            "on=true",
            'note="text"',
            "some=[1,2]",
            'by={"a":null}',
            "count=1e400",
            "of=b",
            "either=7",
        ),
    ),
}

FILES: dict[str, tuple[str, ...] | str] = {
    "protocol/assignment.py": ("assignment",),
    "protocol/commands.py": ("request", "answer"),
    "protocol/control.py": ("control.json",),
    "protocol/events.py": ("event",),
    "protocol/feed_assignment.py": ("feed's assignment",),
    "protocol/feed_file.py": ("feed's file",),
    "protocol/feed_wire.py": ("subscriber's message", "feed's message", "feed's stream"),
    "protocol/frame.py": ("frame",),
    "protocol/listening.py": ("lent sockets",),
    "protocol/journal.py": (
        "segment's header",
        "records",
        "snapshot",
        "rows",
        "decision opened",
        "decision closed",
        "end of a snapshot",
    ),
    "protocol/lease.py": ("lease",),
    "protocol/link.py": ("worker's message", "supervisor's message"),
    "protocol/cluster/log_record.py": ("log record",),
    "protocol/stream.py": ("follower's message", "leader's message"),
    "protocol/logline.py": ("log line",),
    "protocol/text.py": ("request",),
    "protocol/wire.py": "the codecs themselves, of which each is a target",
    "supervisor/sockets/client_keys.py": "a key that it has just made",
    "supervisor/system/subprocess_runner.py": "its own note, of which it believes nothing that cannot be decoded",
    "supervisor/cli/log_merge.py": ("log line",),
    "supervisor/cli/operations.py": ("arguments",),
    "supervisor/cli/command_values.py": ("typed value",),
    "supervisor/api/client.py": ("answer", "status answered", "deployment answered"),
    "supervisor/config/config.py": ("configuration", "pyproject"),
    "supervisor/demo/bots/sniper/exchange.py": "the demo's bot listens to the demo's exchange",
    "supervisor/demo/ledger.py": "the demo's ledger is written and read by the demo alone",
    "supervisor/demo/venue.py": "the demo's exchange is asked by the demo's bot alone",
    "supervisor/demo/world.py": "the demo reads what the demo's processes say",
    "supervisor/environment/import_check.py": ("check's finding",),
    "supervisor/environment/environments.py": "its own stamp, without which an environment counts as not there",
    "supervisor/feeds/watch.py": ("feed's message",),
    "supervisor/control_files/request_files.py": "its own answers, of which it believes nothing that cannot be decoded",
    "supervisor/audit/export.py": ("export", "export of whole records"),
    "supervisor/audit/values.py": ("types in a journal",),
    "protocol/state/typed_decoder.py": ("types in a journal",),
    "worker/replication/last_readable.py": "the journal's own records, of which it leaves out what cannot be decoded",
    "supervisor/audit/scope.py": ("bound of an audit",),
    "supervisor/state/leads.py": ("state in a journal", "state of whole records"),
    "supervisor/state/document.py": ("exported state",),
    "supervisor/api/state_commands.py": "what the leader answers, of which it takes any map",
    "supervisor/cli/state.py": ("exported state", "answer"),
    "worker/model/release_comparison.py": "values that the replica has just read",
    "supervisor/cli/check.py": "plain data of the check and of the supervisor; what does not fit is a finding",
    "worker/model/state_schema.py": "a default that it has just encoded",
    "worker/engine/state_edits.py": "what its own supervisor has staged, of which it takes nothing that does not fit",
    "protocol/state/path.py": ("path in a state",),
    "protocol/state/typed_json.py": ("exported state",),
    "protocol/state/values.py": ("state in a journal", "state of whole records"),
    "supervisor/store/history_db.py": ("history",),
    "supervisor/store/state_dir.py": ("home's record",),
    "supervisor/sockets/worker_keys.py": "a key of 32 bytes, of any value",
    "supervisor/release/releases.py": ("release's manifest",),
    "supervisor/sockets/__main__.py": "what the process that has started it says",
    "supervisor/store/identity.py": ("home's identity",),
    "supervisor/audit/recent_ticks.py": ("strip", "strip of whole records"),
    "supervisor/sockets/worker_socket.py": ("worker's message",),
    "supervisor/system/install_hint.py": "the installer's own record, of which it believes nothing that cannot be read",
    "supervisor/notify/sender_process.py": "what the process that it has started says",
    "supervisor/notify/apprise_sender.py": "what the process that has started it says",
    "supervisor/web/__main__.py": "what the process that has started it says",
    "supervisor/web/app.py": "each route is tried from its own description: tests/web/test_every_route.py",
    "supervisor/web/handlers.py": ("status answered",),
    "supervisor/web/tokens.py": ("tokens",),
    "worker/engine/command_turns.py": ("operator's command",),
    "worker/model/commands.py": ("arguments of a declared command",),
    "worker/model/decision.py": "decodes what it has encoded in the same breath",
    "worker/runtime/supervised.py": ("supervisor's message", "follower's message", "leader's message"),
    "worker/model/migration.py": ("migration",),
    "worker/io/identity.py": "a key of 32 bytes, of any value",
    "worker/codecs/type_hooks.py": ("state", "state with codecs"),
    "worker/codecs/codec.py": "encodes, and makes a decoder to see whether its type can be decoded",
    "worker/codecs/pickle_codec.py": "a pickle runs what is in it: an author asks for it by name, and the guide warns",
    "worker/io/own_configuration.py": "the configuration beside a bot that runs alone, of which it takes any table",
    "worker/feeds/fan_out.py": ("subscriber's message",),
    "worker/feeds/feed.py": "a value that the author's code passed to the process before it",
    "worker/feeds/subscription.py": ("feed's message", "feed's stream"),
    "worker/simulation/feeds.py": "what it has encoded itself",
    "worker/simulation/world.py": "a simulation of what is encoded in the same process",
    "worker/model/changes_reader.py": ("state", "state with codecs"),
    "worker/shell.py": "what the command line wrote for it; the state itself is read as at any start",
    "worker/adapters/python_telegram_bot.py": "values that the same adapter encoded; the state was read before",
    "supervisor/cli/env.py": "an interpreter's answer to our own question",
    "worker/io/output.py": "what the bot itself prints; anything that is not JSON is a line of text",
    "worker/model/settings.py": ("settings set", "change of settings"),
}
"""Each file that decodes: the targets that reach it, or why it needs none."""
