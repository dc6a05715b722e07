"""The commands of operators, and their answers.

Every surface (the CLI, a bare ZeroMQ socket, a file, HTTP) builds one of these commands and hands it to one place, so
whatever a human can do a pipeline can do, with the same safety. On the wire a command is one JSON (or msgpack) object:
`{"id": "1", "op": "status"}`; the answer carries the same id, the API's version, and a status.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, Literal, get_args

import msgspec

from .errors import NeverblinkError
from .text import DuplicateKey, cleaned, refuse_duplicates
from .wire import API, NOT_ENCODABLE, UNDECODABLE, reason

__all__ = [
    "EVENT_SOCKET",
    "MAX_REQUEST",
    "READS",
    "REQUEST_SOCKET",
    "Abort",
    "Acknowledge",
    "Answer",
    "BadRequest",
    "Code",
    "Command",
    "Commands",
    "CompareStates",
    "Deploy",
    "Down",
    "Fault",
    "Halt",
    "History",
    "ImportState",
    "Lock",
    "Pause",
    "RebaseClock",
    "Releases",
    "Request",
    "RestartFeed",
    "RestoreState",
    "Resume",
    "Rollback",
    "Send",
    "SetState",
    "Settings",
    "ShowState",
    "Status",
    "Unlock",
    "decode_answer",
    "decode_command",
    "encode_answer",
    "encode_command",
    "field_hint",
    "op_of",
]

REQUEST_SOCKET = "requests.sock"
"""The supervisor's ROUTER in the home's `run/`: commands in, answers out."""

EVENT_SOCKET = "events.sock"
"""The supervisor's PUB beside it: see `events`."""

MAX_REQUEST = 1024 * 1024
"""The largest request, in bytes; a larger one is refused without being decoded."""

Code = Literal[
    "bad-request",
    "bad-input",
    "busy",
    "locked",
    "aborted",
    "rolled-back",
    "boundary",
    "down",
    "not-found",
    "failed",
]


class Request(
    msgspec.Struct,
    frozen=True,
    tag_field="op",
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
):
    """The fields of every command: the caller's id for it, who sends it, and why.

    A field with its default value is not sent. A supervisor of an earlier version refuses unknown fields, so it
    accepts every command that uses no newer option.
    """

    id: str = ""
    who: str = ""
    why: str = ""


class Status(Request, frozen=True, tag="status"):
    """Show what runs, since when, and how the last deployment ended."""


class Deploy(Request, frozen=True, tag="deploy"):
    """Hand over to new code: that of a directory, of a commit, or of a kept release.

    Exactly one of `path`, `commit` and `release` is set. The answer comes at once, with the deployment's id, or, with
    `wait`, when the deployment has ended. Its progress is published as events.
    """

    path: str = ""
    """An absolute directory: a release is made of its content."""
    repository: str = ""
    """With `commit`: the absolute path of a git directory, bare or a working tree's `.git`."""
    commit: str = ""
    """The full id of a commit in `repository`: a release is made of its tree."""
    ref: str = ""
    """The name by which the commit was requested, as in `main`: for the history."""
    directory: str = ""
    """The bot's directory in the commit; "" for its root."""
    objects: str = ""
    """A further directory of git objects: the quarantine of a push that is not accepted yet."""
    release: str = ""
    """A kept release: its id, the beginning of its id, "current" or "previous"."""
    wait: bool = False
    force: bool = False
    dry_run: bool = False
    """Rehearse on the real state, then end without a handoff."""
    replace: bool = False
    """Supersede the running deployment, instead of being refused."""
    queue: bool = False
    """Wait for the running deployment, and for a bot that is being started, instead of being refused. A later
    deployment of the same `repository` and `ref` replaces one that waits: only the newest is deployed."""
    python: str = ""
    """The Python interpreter for this deployment, instead of the configured one."""
    change_bot: bool = False
    """Hand over although the configuration has another `name` or `bot` than the bot that runs."""
    as_read: bool = False
    """Hand over although values of the state do not read back as they were written: the new code gets what it reads."""
    drop: tuple[str, ...] = ()
    """Fields of the state whose values may be lost, as in `realised` or `positions.size`."""


class Abort(Request, frozen=True, tag="abort"):
    """Cancel the running deployment, or only `deployment`, also when that waits for its turn.

    The bot is not affected.
    """

    deployment: int = 0


class Rollback(Request, frozen=True, tag="rollback"):
    """Hand over to the previous release (or `release`) with the state as it is now."""

    release: str = ""
    wait: bool = False
    force: bool = False
    drop: tuple[str, ...] = ()
    """As of `deploy`."""


class Pause(Request, frozen=True, tag="pause"):
    """Set `paused`: the bot opens no new position."""


class Resume(Request, frozen=True, tag="resume"):
    """Clear `paused`."""


class RebaseClock(Request, frozen=True, tag="rebase-clock"):
    """Believe the wall clock now, and run the next tick at its next time. The state and the tick numbers go on."""


class Halt(Request, frozen=True, tag="halt"):
    """Set `paused`, and run the bot's `on_halt` in a turn of its own, which closes its positions."""

    confirm: str = ""
    """The bot's name, as a confirmation. Any other value is refused."""


class Settings(Request, frozen=True, tag="settings"):
    """Change the bot's settings at a boundary, all of them or none; without a change, return them.

    They are validated against the bot's own type before the bot gets them.
    """

    set: dict[str, Any] = {}
    """New values, by the setting's name."""
    reset: tuple[str, ...] = ()
    """Settings to reset to the defaults in the bot's code."""


class Lock(Request, frozen=True, tag="lock"):
    """Refuse deployments until `unlock`; `why` is required."""


class Unlock(Request, frozen=True, tag="unlock"):
    """Allow deployments again."""


class Send(Request, frozen=True, tag="send"):
    """Run one of the bot's own commands in a turn of its own, and answer with its return value.

    The arguments of a command that the bot has declared (see `Commands`) are validated before it runs; any other
    command goes to the bot's `on_command`.
    """

    name: str
    args: dict[str, Any] = {}


class Acknowledge(Request, frozen=True, tag="acknowledge"):
    """Acknowledge outage `outage` (0: all that have ended): `status` no longer shows it."""

    outage: int = 0


class Commands(Request, frozen=True, tag="commands"):
    """List the commands that the bot has declared, with their arguments."""


class Releases(Request, frozen=True, tag="releases"):
    """List the kept releases, newest first."""


class History(Request, frozen=True, tag="history"):
    """List the last `limit` deployments and outages, newest first, or all that is known of `deployment`."""

    deployment: int = 0
    limit: int = 20
    commands: bool = False
    """List the last `limit` commands instead: who sent which, why, and the outcome."""


class ShowState(Request, frozen=True, tag="state"):
    """The bot's state, or the value at a path in it, now or at an earlier point. Read from the journal."""

    path: str = ""
    """A path such as `positions.BTC.size`; "" for all fields."""
    at: str = ""
    """now (""), a tick's index, a time, how long ago, `frame:N`, a decision's id, or a release."""
    offset: int = 0
    """The first item to show of a table, list or map."""
    limit: int = 100
    """How many of its items are shown at most."""


class CompareStates(Request, frozen=True, tag="state-diff"):
    """The differences between the bot's state at two points. Read from the journal."""

    a: str
    """As `at` of `state`."""
    b: str = ""
    limit: int = 100
    """How many single values are listed; all are counted."""


class RestoreState(Request, frozen=True, tag="state-restore"):
    """Restore the bot's state and timers of an earlier point: at a boundary, all of it or nothing."""

    at: str
    """As `at` of `state`."""
    confirm: str = ""
    """The bot's name, as a confirmation. Any other value is refused."""
    in_doubt: bool = False
    """Restore although decisions since then are in doubt: their outcome is not recorded."""
    dry_run: bool = False
    """Only return what would change, and which decisions were taken since."""


class ImportState(Request, frozen=True, tag="state-import"):
    """Replace the bot's state by an export; fields that it leaves out stay. Exactly one of the two is given."""

    path: str = ""
    """A file on the bot's machine, absolute."""
    document: dict[str, Any] = {}
    confirm: str = ""
    """As of `state-restore`."""
    in_doubt: bool = False
    """Import although decisions are in doubt: since the export, or of an outage that is not acknowledged."""


class SetState(Request, frozen=True, tag="state-set"):
    """Replace the value at a path of the bot's state."""

    path: str
    value: Any
    """As JSON."""
    confirm: str = ""
    """As of `state-restore`."""
    in_doubt: bool = False
    """Set it although decisions of an outage that is not acknowledged are in doubt."""


class RestartFeed(Request, frozen=True, tag="feed-restart"):
    """Replace the process of a feed by one on the release that leads."""

    feed: str


class Down(Request, frozen=True, tag="down"):
    """Stop the bot for good at its next boundary, then the supervisor."""

    leave_workers: bool = False
    """End only the supervisor, in whatever state: the workers run on, and the next `up` adopts them."""


Command = (
    Status
    | Deploy
    | Abort
    | Rollback
    | Pause
    | Resume
    | RebaseClock
    | Halt
    | Settings
    | Lock
    | Unlock
    | Send
    | Acknowledge
    | Commands
    | Releases
    | History
    | ShowState
    | CompareStates
    | RestoreState
    | ImportState
    | SetState
    | RestartFeed
    | Down
)


READS = (Status, Commands, Releases, History, ShowState, CompareStates)
"""The commands that change nothing, so that the history does not list them. So are `Settings` without a change and
`RestoreState` as a dry run."""


class Fault(msgspec.Struct, frozen=True):
    """Why a command was refused or failed, for programs (`code`, `facts`) and for people (`message`)."""

    code: Code
    message: str
    facts: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one command."""

    id: str
    status: Literal["ok", "error"]
    api: int = msgspec.field(default_factory=lambda: API)
    seq: int | None = None
    """The tick after which it took effect (the last known tick, for a command that does not concern the bot); None if
    it changed nothing, and before the first tick."""
    result: Any = None
    error: Fault | None = None


class BadRequest(NeverblinkError):
    """A request that is not a command. `id` is the caller's, if it could be read."""

    def __init__(self, problem: str, id: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.id = id


class _Id(msgspec.Struct):
    id: str = ""


class _Op(msgspec.Struct):
    op: str = ""


_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_packed_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)


def encode_command(command: Command) -> bytes:
    return msgspec.json.encode(command)


def decode_command(data: bytes | memoryview) -> Command:
    """Return the command in a JSON or msgpack object; raise `BadRequest` if there is none."""
    if len(data) > MAX_REQUEST:
        raise BadRequest(f"a request of {len(data)} bytes; at most {MAX_REQUEST} are accepted")
    packed = bytes(data[:1]) not in (b"{", b" ", b"\n", b"\t", b"\r")
    try:
        command = (_packed_commands if packed else _commands).decode(data)
        if not packed:
            refuse_duplicates(bytes(data))
        return command
    except DuplicateKey as problem:
        raise BadRequest(f"{problem}: give it once", *_named(data, packed)[:1]) from None
    except RecursionError:
        raise BadRequest("nested too deeply") from None
    except UNDECODABLE as problem:
        id, op = _named(data, packed)
        hint = _meant(op, str(problem))
        raise BadRequest(
            f'not a request: {reason(problem)}{hint}; expected one JSON object such as {{"id": "1", "op": "status"}}',
            id,
        ) from None


def op_of(command: Command) -> str:
    """Return the command's name on the wire."""
    return str(type(command).__struct_config__.tag)


def field_hint(problem: str, known: Iterable[str]) -> str:
    """Return what to add to msgspec's error about an unknown field: the likely name, or all that are `known`.

    "" for any other error.
    """
    found = _UNKNOWN.fullmatch(problem)
    if found is None:
        return ""
    known = list(known)
    near = difflib.get_close_matches(found[1].lower(), known, 1)
    return f' (did you mean "{near[0]}"?)' if near else f" (expected {', '.join(known) or 'none'})"


_UNKNOWN = re.compile("Object contains unknown field `(.*)`", re.DOTALL)


def encode_answer(answer: Answer, *, packed: bool = False) -> bytes:
    """Return `answer` as JSON, or `packed` as msgpack. If the bot's result can't be encoded, that is the answer."""
    encode = msgspec.msgpack.encode if packed else msgspec.json.encode
    try:
        return encode(answer)
    except UnicodeEncodeError:
        return encode_answer(cleaned(answer), packed=packed)
    except NOT_ENCODABLE as problem:
        language, other = ("msgpack", "JSON") if packed else ("JSON", "msgpack")
        message = f"the answer cannot be encoded as {language} ({problem}): ask in {other}, or answer with plain data"
        return encode(Answer(answer.id, "error", error=Fault("failed", message)))


def decode_answer(data: bytes | memoryview) -> Answer:
    """Return the answer in `data`; raise `BadRequest` if it is not an answer."""
    try:
        return msgspec.json.decode(data, type=Answer)
    except RecursionError:
        raise BadRequest("not an answer: nested too deeply") from None
    except UNDECODABLE as problem:
        raise BadRequest(f"not an answer: {problem}") from None


def _named(data: bytes | memoryview, packed: bool) -> tuple[str, str]:
    """Return the id and the op of an invalid request, as far as they can be read."""
    language = msgspec.msgpack if packed else msgspec.json
    found: list[str] = []
    for kind in (_Id, _Op):
        try:
            request = language.decode(data, type=kind)
        except UNDECODABLE:
            found.append("")
        else:
            found.append(request.id if isinstance(request, _Id) else request.op)
    return found[0], found[1]


def _meant(op: str, problem: str) -> str:
    """Return a hint for an unknown op, or for a key that the op does not have."""
    known = {str(kind.__struct_config__.tag): kind for kind in get_args(Command)}
    if op in known:
        return field_hint(problem, known[op].__struct_fields__)
    near = difflib.get_close_matches(op.lower(), known, 1) if op else []
    return f' (did you mean "{near[0]}"?)' if near else ""
