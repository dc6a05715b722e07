"""What an operator can ask, and how it is answered.

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
"""The largest request, in bytes; more is refused without being looked at."""

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
    """What every command carries: the caller's id for it, who asks, and why.

    A field that has its default is not sent, so a supervisor of an earlier version, which refuses a field that it does
    not know, takes every command that does not use a newer option.
    """

    id: str = ""
    who: str = ""
    why: str = ""


class Status(Request, frozen=True, tag="status"):
    """What runs, since when, and how the last deployment ended."""


class Deploy(Request, frozen=True, tag="deploy"):
    """Hand over to new code: that in a directory, that of a commit, or that of a release which is kept.

    Exactly one of `path`, `commit` and `release` says which. Answered at once with the deployment's id; its progress
    goes out as events, and `wait` holds the answer back until it has ended.
    """

    path: str = ""
    """A directory, absolute: a release is made of what lies in it."""
    repository: str = ""
    """With `commit`: the absolute path of a git directory, bare or a working tree's `.git`."""
    commit: str = ""
    """The full id of a commit in `repository`: a release is made of what was committed."""
    ref: str = ""
    """What the commit was called when it was asked for, as in `main`: for the history."""
    directory: str = ""
    """Where in the commit the bot's directory is; "" for its root."""
    objects: str = ""
    """A further directory of git objects to look into: the quarantine of a push that is not accepted yet."""
    release: str = ""
    """A release that is kept: its id, the beginning of it, "current" or "previous"."""
    wait: bool = False
    force: bool = False
    dry_run: bool = False
    """Rehearse on the real state, then stop: nothing is handed over."""
    replace: bool = False
    """Supersede the deployment that runs, instead of being refused."""
    queue: bool = False
    """Wait for the deployment that runs, and for a bot that is being started, instead of being refused. One that waits
    makes room for a later one of the same `repository` and `ref`: only the newest is deployed."""
    python: str = ""
    """The interpreter for this deployment, instead of the configured one."""
    change_bot: bool = False
    """Hand over although the configuration names another bot than the one that runs: another `name` or `bot`."""


class Abort(Request, frozen=True, tag="abort"):
    """Cancel the deployment that runs, or only `deployment`, also when that waits for its turn.

    The bot is not touched.
    """

    deployment: int = 0


class Rollback(Request, frozen=True, tag="rollback"):
    """Hand over to the previous release (or `release`) with the state as it is now."""

    release: str = ""
    wait: bool = False
    force: bool = False


class Pause(Request, frozen=True, tag="pause"):
    """Set `paused`: the bot enters nothing new."""


class Resume(Request, frozen=True, tag="resume"):
    """Clear `paused`."""


class RebaseClock(Request, frozen=True, tag="rebase-clock"):
    """Believe the wall clock now, and run the next tick at its next moment. The state and the indices go on."""


class Halt(Request, frozen=True, tag="halt"):
    """Set `paused`, and run the bot's `on_halt` in a turn of its own, which flattens: it gives up what it holds."""

    confirm: str = ""
    """The bot's name, which confirms which bot to halt. Anything else is refused."""


class Settings(Request, frozen=True, tag="settings"):
    """Change the bot's settings at a boundary, all that are named or none; with nothing to change, say what they are.

    They are validated against the bot's own type before the bot sees them.
    """

    set: dict[str, Any] = {}
    """New values, by the setting's name."""
    reset: tuple[str, ...] = ()
    """Settings that are to be what the bot's code says, from now on."""


class Lock(Request, frozen=True, tag="lock"):
    """Refuse deployments until `unlock`; `why` is required."""


class Unlock(Request, frozen=True, tag="unlock"):
    """Allow deployments again."""


class Send(Request, frozen=True, tag="send"):
    """Run one of the bot's own commands in a turn of its own, and answer with what it returned.

    The arguments of a command that the bot has declared (see `Commands`) are validated before it runs; any other goes
    to the bot's `on_command`.
    """

    name: str
    args: dict[str, Any] = {}


class Acknowledge(Request, frozen=True, tag="acknowledge"):
    """Acknowledge outage `outage` (0: all that are over): `status` no longer shows it."""

    outage: int = 0


class Commands(Request, frozen=True, tag="commands"):
    """The commands that the bot has declared, with what they take."""


class Releases(Request, frozen=True, tag="releases"):
    """The releases kept, newest first."""


class History(Request, frozen=True, tag="history"):
    """The last `limit` deployments and outages, newest first, or the whole story of `deployment`."""

    deployment: int = 0
    limit: int = 20
    commands: bool = False
    """The last `limit` commands instead: who asked for what, why, and what became of it."""


class ShowState(Request, frozen=True, tag="state"):
    """The bot's state, or the value at a path in it, now or at an earlier point. Read from the journal."""

    path: str = ""
    """As in `positions.BTC.size`; "" for all fields."""
    at: str = ""
    """now (""), a tick's index, a time, how long ago, `frame:N`, a decision's id, or a release."""
    offset: int = 0
    """Of a table, list or map: the first item."""
    limit: int = 100
    """And at most so many of them."""


class CompareStates(Request, frozen=True, tag="state-diff"):
    """What differs between the bot's state at two points. Read from the journal."""

    a: str
    """As `at` of `state`."""
    b: str = ""
    limit: int = 100
    """How many single values are listed; all are counted."""


class RestoreState(Request, frozen=True, tag="state-restore"):
    """Have the bot's state and timers be what they were at an earlier point: at a boundary, all of it or nothing."""

    at: str
    """As `at` of `state`."""
    confirm: str = ""
    """The bot's name, which confirms which bot is changed. Anything else is refused."""
    in_doubt: bool = False
    """Restore although decisions since then are in doubt: what became of them is known nowhere."""
    dry_run: bool = False
    """Only say what would change, and which decisions were taken since."""


class ImportState(Request, frozen=True, tag="state-import"):
    """Have the bot's state be what an export says; fields that it leaves out stay. Exactly one of the two is given."""

    path: str = ""
    """A file on the bot's machine, absolute."""
    document: dict[str, Any] = {}
    confirm: str = ""
    """As of `state-restore`."""


class SetState(Request, frozen=True, tag="state-set"):
    """Have the value at a path of the bot's state be another one."""

    path: str
    value: Any
    """As JSON."""
    confirm: str = ""
    """As of `state-restore`."""


class Down(Request, frozen=True, tag="down"):
    """Stop the bot for good at its next boundary, then the supervisor."""

    leave_workers: bool = False
    """End only the supervisor, whatever is under way: the workers run on, and the next `up` adopts them."""


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
    | Down
)


READS = (Status, Commands, Releases, History, ShowState, CompareStates)
"""Those that change nothing, and so are no part of the history. `Settings` with nothing to change is one too, and
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
    """The tick after which it took effect (the last one known, for what is not the bot's to do); None for what changed
    nothing, and before the first tick."""
    result: Any = None
    error: Fault | None = None


class BadRequest(NeverblinkError):
    """A request that is not a command. `id` is the caller's, where it could be read."""

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
    """Return the command in a JSON or msgpack object; raise `BadRequest` when there is none."""
    if len(data) > MAX_REQUEST:
        raise BadRequest(f"a request of {len(data)} bytes; at most {MAX_REQUEST} are accepted")
    packed = bytes(data[:1]) not in (b"{", b" ", b"\n", b"\t", b"\r")
    try:
        command = (_packed_commands if packed else _commands).decode(data)
        if not packed:
            refuse_duplicates(bytes(data))
        return command
    except DuplicateKey as problem:
        raise BadRequest(f"{problem}: say it once", *_named(data, packed)[:1]) from None
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
    """What the command is called on the wire."""
    return str(type(command).__struct_config__.tag)


def field_hint(problem: str, known: Iterable[str]) -> str:
    """What to add to msgspec's complaint of an unknown field: the one that was meant, or all that are `known`.

    "" for any other complaint.
    """
    found = _UNKNOWN.fullmatch(problem)
    if found is None:
        return ""
    known = list(known)
    near = difflib.get_close_matches(found[1].lower(), known, 1)
    return f' (did you mean "{near[0]}"?)' if near else f" (expected {', '.join(known) or 'none'})"


_UNKNOWN = re.compile("Object contains unknown field `(.*)`", re.DOTALL)


def encode_answer(answer: Answer, *, packed: bool = False) -> bytes:
    """Return `answer` as JSON, or `packed` as msgpack. If the language has no words for what a bot answered, that is
    the answer."""
    encode = msgspec.msgpack.encode if packed else msgspec.json.encode
    try:
        return encode(answer)
    except UnicodeEncodeError:
        return encode_answer(cleaned(answer), packed=packed)
    except NOT_ENCODABLE as problem:
        language, other = ("msgpack", "JSON") if packed else ("JSON", "msgpack")
        said = (
            f"the answer cannot be said in {language} ({problem}): ask in {other}, or answer with plain data"
        )
        return encode(Answer(answer.id, "error", error=Fault("failed", said)))


def decode_answer(data: bytes | memoryview) -> Answer:
    """Return the answer in `data`; raise `BadRequest` when it is none."""
    try:
        return msgspec.json.decode(data, type=Answer)
    except RecursionError:
        raise BadRequest("not an answer: nested too deeply") from None
    except UNDECODABLE as problem:
        raise BadRequest(f"not an answer: {problem}") from None


def _named(data: bytes | memoryview, packed: bool) -> tuple[str, str]:
    """The id and the op of an invalid request, as far as they can be read."""
    language = msgspec.msgpack if packed else msgspec.json
    found: list[str] = []
    for kind in (_Id, _Op):
        try:
            one = language.decode(data, type=kind)
        except UNDECODABLE:
            found.append("")
        else:
            found.append(one.id if isinstance(one, _Id) else one.op)
    return found[0], found[1]


def _meant(op: str, problem: str) -> str:
    """A hint for an op that there is not, or a key that the op does not have."""
    known = {str(kind.__struct_config__.tag): kind for kind in get_args(Command)}
    if op in known:
        return field_hint(problem, known[op].__struct_fields__)
    near = difflib.get_close_matches(op.lower(), known, 1) if op else []
    return f' (did you mean "{near[0]}"?)' if near else ""
