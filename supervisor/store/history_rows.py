"""The rows of the history: its tables, and what is read from them.

Every table names the bot, although a home holds one, so that one file can hold many one day.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ...protocol.events import DeploymentEnded, Outcome

__all__ = [
    "SCHEMA",
    "STEPS",
    "WINDOWS",
    "ClaimRow",
    "CommandRow",
    "CommitNote",
    "DeploymentRow",
    "Kind",
    "LeaderRow",
    "PhaseNote",
    "StepNote",
    "WorkerRow",
    "ended_of",
]

Kind = Literal["deploy", "rollback"]

WINDOWS = "windows"
"""Under this key the leader's windows are kept (a list of `WindowSpec`)."""

_TABLES = """
create table deployments (
    id integer primary key autoincrement,
    bot text not null,
    kind text not null,
    release text not null,
    previous text not null,
    who text not null,
    why text not null,
    dry_run integer not null,
    begun integer not null,
    ended integer,
    outcome text,
    reason text not null default '',
    leader text not null default '',
    runs text not null default '',
    seq integer,
    blackout integer,
    late integer,
    missed integer not null default 0,
    rollback text not null default ''
) strict;
create index deployments_of on deployments (bot, id);
create table phases (
    bot text not null, deployment integer not null, at integer not null,
    phase text not null, before text not null, took integer not null
) strict;
create index phases_of on phases (deployment);
create table steps (
    bot text not null, deployment integer not null, at integer not null,
    step text not null, text text not null, took integer not null, facts text not null
) strict;
create index steps_of on steps (deployment);
create table workers (
    bot text not null, worker text not null, release text not null, pid integer not null, started integer not null,
    log text not null, begun integer not null, ended integer, code integer, reason text not null default '',
    primary key (bot, worker)
) strict;
create table leaders (
    bot text not null, at integer not null, worker text not null, release text not null,
    epoch integer not null, cause text not null, seq integer not null
) strict;
create index leaders_of on leaders (bot, at);
create table commands (
    bot text not null, at integer not null, op text not null,
    who text not null, why text not null, outcome text not null, detail text not null
) strict;
create index commands_of on commands (bot, at);
create table kept (bot text not null, key text not null, value text not null, primary key (bot, key)) strict;
"""

_OUTAGES = """
create table outages (
    bot text not null, id integer not null, since integer not null, until integer,
    worker text not null, release text not null, cause text not null, deaths integer not null, missed integer not null,
    windows text not null, in_doubt text not null, successor text not null, epoch integer not null,
    acknowledged integer, who text not null, why text not null, primary key (bot, id)
) strict;
"""

_COMMITS = """
alter table deployments add column "commit" text not null default '';
alter table deployments add column subject text not null default '';
alter table deployments add column author text not null default '';
alter table deployments add column ref text not null default '';
"""

_STANDBYS = """
create table standbys (
    bot text not null, at integer not null, worker text not null, release text not null,
    state text not null, reason text not null
) strict;
create index standbys_of on standbys (bot, at);
"""

_COMMANDED = """
alter table commands add column seq integer;
alter table commands add column facts text not null default '{}';
"""

_CONTROL = """
create table control (
    bot text not null, id text not null, at integer not null, op text not null, digest text not null,
    command text not null, answered integer, answer text not null default '', primary key (bot, id)
) strict;
"""

_HEARTBEATS = """
alter table deployments add column heartbeats integer not null default 0;
alter table outages add column heartbeats integer not null default 0;
"""

STEPS = (_TABLES, _OUTAGES, _COMMITS, _STANDBYS, _COMMANDED, _CONTROL, _HEARTBEATS)
"""The migrations of the tables, one for each version. Only ever append to it."""

SCHEMA = len(STEPS)
"""The version of the tables."""


class PhaseNote(msgspec.Struct, frozen=True):
    """The deployment entered `phase` at wall ns `at`, after `took` ns in the phase before."""

    at: int
    phase: str
    before: str
    took: int


class StepNote(msgspec.Struct, frozen=True):
    """A step within a phase: see `events.StepDone`."""

    at: int
    step: str
    text: str
    took: int
    facts: dict[str, Any]


class CommitNote(msgspec.Struct, frozen=True):
    """A commit as git describes it. `ref` is its name in the command."""

    commit: str
    subject: str = ""
    author: str = ""
    ref: str = ""


class DeploymentRow(msgspec.Struct, frozen=True):
    """One deployment. Times are ns; `begun` and `ended` wall clock, `ended` and `outcome` None while it runs."""

    id: int
    bot: str
    kind: Kind
    release: str
    previous: str
    who: str
    why: str
    dry_run: bool
    begun: int
    ended: int | None
    outcome: Outcome | None
    reason: str
    leader: str
    runs: str
    """The release that led after it had ended."""
    seq: int | None
    blackout: int | None
    late: int | None
    missed: int
    rollback: str
    commit: str = ""
    """The deployed commit, "" for a directory; the next three describe it."""
    subject: str = ""
    author: str = ""
    ref: str = ""
    heartbeats: bool = False
    """The bot was event-driven: `seq`, `late` and `missed` are about heartbeats."""
    phases: tuple[PhaseNote, ...] = ()
    steps: tuple[StepNote, ...] = ()


class WorkerRow(msgspec.Struct, frozen=True):
    """One worker process; `ended` is None until its end was seen."""

    bot: str
    worker: str
    release: str
    pid: int
    started: int
    """Field 22 of /proc/PID/stat: together with the pid it identifies a process until the next boot."""
    log: str
    begun: int
    ended: int | None
    code: int | None
    reason: str


class LeaderRow(msgspec.Struct, frozen=True):
    """The leader from `seq` on; `worker` is "" when there was none."""

    bot: str
    at: int
    worker: str
    release: str
    epoch: int
    cause: str
    seq: int


class ClaimRow(msgspec.Struct, frozen=True):
    """A command of control.json: `command` until it has an answer, then `answer`."""

    id: str
    at: int
    op: str
    digest: str
    """The digest of the command."""
    command: str
    answered: int | None
    answer: str
    """"" before there is one, and again when it is no longer kept."""


class CommandRow(msgspec.Struct, frozen=True):
    """A command and its result: "ok", or the fault's code."""

    bot: str
    at: int
    op: str
    who: str
    why: str
    outcome: str
    detail: str
    seq: int | None = None
    """The tick after which it took effect."""
    facts: dict[str, Any] = {}

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


def ended_of(row: DeploymentRow) -> DeploymentEnded | None:
    """The end of a deployment by the history, None when it has not ended."""
    if row.outcome is None:
        return None
    return DeploymentEnded(
        bot=row.bot,
        at=row.ended or 0,
        deployment=row.id,
        outcome=row.outcome,
        reason=row.reason,
        leader=row.leader,
        release=row.runs,
        seq=row.seq,
        blackout=row.blackout,
        late=row.late,
        missed=row.missed,
        rollback=row.rollback,
    )
