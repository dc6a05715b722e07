"""check: whether the bot could run and be deployed, tested in advance."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import os
import shlex
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from ...protocol import duration, size
from ...protocol.assignment import CHECK_JOURNAL
from ...protocol.commands import Deploy, Status
from ...protocol.errors import NeverblinkError
from ...protocol.state_changes import StateChanges, refusal
from ..api.client import CommandFault, Unreachable
from ..config.config import Config, ConfigError, load
from ..config.feed_settings import FeedSettings
from ..environment.import_check import check_feed, check_import
from ..environment.prepare import CheckFailed, Preparer
from ..notify.apprise_sender import no_library, not_usable
from ..notify.secret_urls import Unresolved, url_of
from ..release.releases import ReleaseStore
from ..sockets.client_keys import client_keys
from ..store.state_dir import Home
from ..system.hidden_files import HiddenFiles
from ..terminal.screen import Screen
from ..workers.env_file import read_env_file, readable_by_others
from .command import Done, local_command
from .context import CommandContext
from .exit_codes import Exit
from .run_deployment import Interrupts, follow, result_of

__all__ = ["check", "finding_of"]

_REHEARSE_WITHIN = 120.0


class CheckResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of one check; `ok` is None when it could not be made."""

    check: str
    ok: bool | None
    detail: str


@local_command
@click.argument("path", type=click.Path(path_type=Path), default=None, required=False)
@click.option("--no-rehearsal", is_flag=True, help="Do not rehearse beside the running bot.")
def check(context: CommandContext, path: Path | None, no_rehearsal: bool) -> Done:
    """Find out whether the bot in PATH (default: the project) could run and be deployed.

    The configuration is read, the environment built and the check in [deploy] run, the bot imported by its own
    interpreter, its state encoded and decoded; and when the bot runs, the code rehearses on its live state, exactly as
    in `deploy --dry-run`.
    """
    directory = context.project if path is None else context.path(path)
    context.look_near(directory)
    findings: list[CheckResult] = []

    def found(check: str, ok: bool | None, detail: str) -> bool | None:
        findings.append(CheckResult(check, ok, detail))
        _show(context.screen, findings[-1])
        return ok

    try:
        config = load(directory)
    except ConfigError as problem:
        found("config", False, problem.message)
    else:
        found("config", True, f"{config.path}: bot {config.bot}, python {config.python}")
        if config.notify.targets:
            targets = _notify(config, context)
            found("notify", targets.ok, targets.detail)
        if config.env_file is not None:
            file = _env_file(config.env_file)
            found("env_file", file.ok, file.detail)
        if config.sockets:
            sockets = _sockets(config, context)
            found("sockets", sockets.ok, sockets.detail)
        contents = _release(directory, config, context.home.path)
        found("release", contents.ok, contents.detail)
        with _environments(context) as place:
            ready = _prepare(context, directory, config, place, found)
            bot = _import(ready, context) if ready is not None else None
            for feed in _feeds(ready, context) if ready is not None else ():
                found(feed.check, feed.ok, feed.detail)
        if bot is not None and found("bot", bot.ok, bot.detail) and not no_rehearsal:
            for result in _rehearse(context, directory, ready or config):
                found(result.check, result.ok, result.detail)
    ok = all(finding.ok is not False for finding in findings)
    return Done({"ok": ok, "checks": msgspec.to_builtins(findings)}, Exit.DONE if ok else Exit.BROKEN)


@contextlib.contextmanager
def _environments(context: CommandContext) -> Generator[Path]:
    """Where environments are made: those of the home, so that a deployment finds them; else of no longer use.

    In another user's home root would leave what that user can't remove.
    """
    environments = context.home.environments
    if environments.is_dir() and environments.stat().st_uid == os.geteuid():
        # Other users may have put links into it before.
        yield Home.open(context.home.path).environments
    else:
        with tempfile.TemporaryDirectory(prefix="neverblink-check-") as place:
            yield Path(place)


def _prepare(
    context: CommandContext,
    directory: Path,
    config: Config,
    place: Path,
    found: Callable[[str, bool | None, str], object],
) -> Config | None:
    """Make the project ready as a deployment would; None when that failed."""
    voice = _Voice(context.screen, found)

    def report(problem: str) -> None:
        found("hidden", None, problem)

    private = (*context.home.private, *client_keys(context.environment))
    hidden = HiddenFiles(private, report)
    preparer = Preparer(place, context.environment, note=f".running-{os.getpid()}", hidden=hidden)
    try:
        return asyncio.run(preparer.prepare("", directory, config, voice))
    except NeverblinkError as problem:
        found("check" if isinstance(problem, CheckFailed) else "environment", False, problem.message)
        return None


class _Voice:
    """Shows the output, and turns each step into a result."""

    def __init__(self, screen: Screen, found: Callable[[str, bool | None, str], object]) -> None:
        self._screen = screen
        self._found = found

    def line(self, step: str, text: str) -> None:
        self._screen.line(f"    {self._screen.faint(text)}")

    def step(self, step: str, text: str, took: int, facts: dict[str, Any]) -> None:
        self._found(step, True, text)


def _import(config: Config, context: CommandContext) -> CheckResult:
    try:
        return finding_of(config, check_import(config, context.environment))
    except NeverblinkError as problem:
        return CheckResult("bot", False, problem.message)


def _feeds(config: Config, context: CommandContext) -> list[CheckResult]:
    return [_feed(config, feed, context) for feed in config.feeds]


def _feed(config: Config, feed: FeedSettings, context: CommandContext) -> CheckResult:
    try:
        check_feed(config, feed, context.environment)
    except NeverblinkError as problem:
        return CheckResult(f"feed {feed.name}", False, problem.message)
    return CheckResult(f"feed {feed.name}", True, f"{feed.run} can be imported; it connects when it runs")


def finding_of(config: Config, finding: dict[str, Any]) -> CheckResult:
    """The result of the bot's own check. Its contents are untrusted: no value is sure to have its type."""
    if config.command:
        return CheckResult(
            "bot", True, f"{shlex.join(config.command)} is run as it is, and joins when it runs"
        )
    if finding.get("interval") is None:
        return CheckResult(
            "bot", True, f"{config.bot} is a function; what it joins with is seen when it runs"
        )
    every = _interval(finding.get("interval"))
    parts = [
        f"{config.bot} ticks every {every}"
        if finding.get("ticks", True)
        else f"{config.bot} is event-driven (a heartbeat every {every})"
    ]
    windows: list[Any] = finding.get("windows") or []
    if windows:
        parts.append(f"{len(windows)} window{'s' if len(windows) > 1 else ''}")
    parts.append(f"its state encodes (schema {_version(finding.get('schema'))})")
    warnings = [str(warning) for warning in cast("list[Any]", finding.get("warnings") or [])]
    if config.feeds and finding.get("takes_events") is False:
        warnings.append("it has feeds and neither on_event nor on_events, so what they bring is dropped")
    return CheckResult("bot", None if warnings else True, "; ".join([", ".join(parts), *warnings]))


def _notify(config: Config, context: CommandContext) -> CheckResult:
    """Check whether notifications could be sent, without sending any."""
    if importlib.util.find_spec("apprise") is None:
        return CheckResult("notify", False, no_library())
    unknown: list[str] = []
    wrong: list[str] = []
    for target in config.notify.targets:
        try:
            problem = not_usable(url_of(target, context.environment))
        except Unresolved as missing:
            # The supervisor's environment may have variables that this one lacks.
            unknown.append(f"{target.name}: {missing.message}")
        else:
            wrong += [f"{target.name}: {problem}"] if problem else []
    if wrong or unknown:
        return CheckResult("notify", False if wrong else None, "; ".join(wrong + unknown))
    names = ", ".join(target.name for target in config.notify.targets)
    return CheckResult("notify", True, f"{names}: `neverblink notify test` sends a test message")


def _env_file(path: Path) -> CheckResult:
    """Check that the bot's environment file can be read, and only by this user."""
    try:
        names = read_env_file(path)
    except NeverblinkError as problem:
        return CheckResult("env_file", False, problem.message)
    if readable_by_others(path):
        return CheckResult(
            "env_file", None, f"{path} can be read by other users: chmod 600 {shlex.quote(str(path))}"
        )
    return CheckResult("env_file", True, f"{path}: {len(names)} variables")


def _sockets(config: Config, context: CommandContext) -> CheckResult:
    """Where the bot would listen, and how that differs from where it listens now."""
    wanted = {settings.name: settings for settings in config.sockets}
    about = [
        f"{name} {settings.address}" + (" (every worker accepts)" if settings.accept == "all" else "")
        for name, settings in wanted.items()
    ]
    try:
        with context.client() as client:
            bound = {each["name"]: each["address"] for each in client.ask(Status()).get("sockets", ())}
    except NeverblinkError:
        return CheckResult("sockets", True, "; ".join(about))
    for name, settings in wanted.items():
        if settings.address.port or settings.address.is_unix:
            if str(settings.address) not in bound.values():
                about.append(f"a deployment binds {settings.address} before its worker starts")
        elif name not in bound:
            about.append(f"a deployment binds a free port for {name}")
    kept = {str(settings.address) for settings in wanted.values()}
    about += [
        f"{address} is closed after the probation"
        for name, address in bound.items()
        if address not in kept and not (name in wanted and not wanted[name].address.port)
    ]
    return CheckResult("sockets", True, "; ".join(about))


def _release(directory: Path, config: Config, home: Path) -> CheckResult:
    """What a release of the directory would hold."""
    with tempfile.TemporaryDirectory(prefix="neverblink-check-") as place:
        (releases := Path(place) / "releases").mkdir()
        warnings: list[str] = []
        try:
            release = ReleaseStore(releases).make(
                directory, config.module, warn=warnings.append, leave_out=(home,)
            )
        except NeverblinkError as problem:
            return CheckResult("release", False, problem.message)
        about = f"{release.files} files, {size.show(release.bytes)}"
        return CheckResult("release", None if warnings else True, "; ".join([about, *warnings]))


def _rehearse(context: CommandContext, directory: Path, config: Config) -> list[CheckResult]:
    """The rehearsal, and what becomes of the state: of the one that runs, or of the one in the journal."""
    silent = Screen(io.StringIO())
    try:
        with context.client() as client, Interrupts() as interrupts, client.events() as events:
            command = Deploy(path=str(directory), dry_run=True, why="neverblink check")
            begun = client.ask(command, within=_REHEARSE_WITHIN)
            outcome = result_of(follow(client, events, begun["deployment"], silent, interrupts))
    except Unreachable:
        not_made = CheckResult("rehearsal", None, "not made: the bot is not running here")
        return [not_made, _compare_with_journal(context, config)]
    except CommandFault as refused:
        if refused.fault.code == "down":
            not_made = CheckResult("rehearsal", None, f"not made: {refused.message}")
            return [not_made, _compare_with_journal(context, config)]
        if refused.fault.code in ("busy", "locked"):
            return [CheckResult("rehearsal", None, f"not made: {refused.message}")]
        return [CheckResult("rehearsal", False, refused.message)]
    except NeverblinkError as problem:
        return [CheckResult("rehearsal", None, f"not made: {problem.message}")]
    state = [_state(outcome.state)] if outcome.state is not None else []
    if outcome.outcome == "rehearsed":
        restored = "the live state was restored by this code; nothing was handed over"
        return [*state, CheckResult("rehearsal", True, restored)]
    return [*state, CheckResult("rehearsal", False, outcome.reason)]


def _compare_with_journal(context: CommandContext, config: Config) -> CheckResult:
    """Have the bot's code read the state in the journal."""
    journal = context.home.journal
    if not journal.is_dir() or not any(journal.iterdir()):
        return CheckResult("state", None, "not compared: the bot does not run here, and there is no journal")
    try:
        said = check_import(config, {**context.environment, CHECK_JOURNAL: str(journal)})
    except NeverblinkError as problem:
        return CheckResult("state", False, problem.message)
    if unreadable := str(said.get("unreadable") or ""):
        return CheckResult("state", False, f"the state in the journal cannot be read: {unreadable}")
    if said.get("interval") is None:
        what = "a program of its own" if config.command else "a function"
        return CheckResult("state", None, f"not compared: {config.bot} is {what}; a deployment compares it")
    if "changes" not in said:
        return CheckResult("state", None, "not compared: the bot's environment has an older neverblink")
    return _state(said["changes"] or {}, with_mend=True)


def _state(plain: object, *, with_mend: bool = False) -> CheckResult:
    """What becomes of the state; `with_mend`: no rehearsal says why that is refused."""
    try:
        changes = msgspec.convert(plain, StateChanges)
    except msgspec.ValidationError as problem:
        return CheckResult("state", None, f"not compared: the answer is of another version ({problem})")
    refusals = refusal(changes, ())
    text = "; ".join(changes.lines()) or "no field of the state differs"
    return CheckResult("state", not refusals, refusals if refusals and with_mend else text)


def _show(screen: Screen, finding: CheckResult) -> None:
    mark = {True: screen.good("✓"), False: screen.bad("✗"), None: screen.warn("-")}[finding.ok]
    screen.line(f"{mark} {finding.check:<10} {finding.detail}")


def _interval(interval: Any) -> str:
    return duration.show(interval) if isinstance(interval, int) else str(interval)


def _version(schema: object) -> str:
    """The version of a schema, without its fingerprint."""
    return str(cast("list[object]", schema)[0]) if isinstance(schema, list) else str(schema)
