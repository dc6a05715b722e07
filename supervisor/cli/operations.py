"""pause, resume, rebase-clock, lock, unlock, send, acknowledge, down: one request, one answer."""

from __future__ import annotations

import difflib
import time
from typing import Any, cast

import click
import msgspec

from ...protocol import duration
from ...protocol.commands import (
    Acknowledge,
    Code,
    Commands,
    Down,
    Fault,
    Lock,
    Pause,
    RebaseClock,
    Resume,
    Send,
    Unlock,
)
from ...protocol.errors import NeverblinkError
from ...protocol.link import Offered
from ...protocol.wire import UNDECODABLE, reason
from ..api.client import Client, CommandFault, Unfinished, Unreachable, convert
from ..store.living_workers import alive_in
from .command import Done, remote_command
from .command_values import Schema, read, refuse_equal_keys
from .context import CommandContext
from .exit_codes import BadInput
from .releases import open_history

__all__ = [
    "acknowledge",
    "arguments",
    "down",
    "lock",
    "pause",
    "rebase_clock",
    "resume",
    "seconds",
    "send",
    "unlock",
]

_LEAVES_WITHIN = 10.0
"""Time limit, in seconds, for a supervisor to end its page and send its last messages after the bot has stopped."""
_why = click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")


@remote_command
@_why
def pause(context: CommandContext, why: str) -> Done:
    """Pause the bot: no new entries. It keeps ticking, and exits continue."""
    with context.client() as client:
        result = client.ask(Pause(why=why))
    context.screen.line(
        f"{context.screen.warn('paused')}  the bot keeps ticking, with no new entries until `neverblink resume`"
    )
    return Done(_object(result))


@remote_command
@_why
def resume(context: CommandContext, why: str) -> Done:
    """Resume the bot: it may enter again."""
    with context.client() as client:
        result = client.ask(Resume(why=why))
    context.screen.line(f"{context.screen.good('resumed')}  the bot may enter again")
    return Done(_object(result))


@remote_command
@_why
def rebase_clock(context: CommandContext, why: str) -> Done:
    """Accept the wall clock at once, and run the next tick at its next due time.

    A step of the wall clock is accepted automatically after 15 s. The state is kept, and no tick index is used twice.
    """
    with context.client() as client:
        result = client.ask(RebaseClock(why=why))
    context.screen.line(f"{context.screen.good('rebased')}  the bot ticks by the wall clock again")
    return Done(_object(result))


@remote_command
@click.option("-m", "--why", required=True, metavar="WHY", help="The reason, shown with each refusal.")
def lock(context: CommandContext, why: str) -> Done:
    """Refuse deployments until `unlock`. A rollback stays possible."""
    if not why.strip():
        raise BadInput("a lock needs a reason: neverblink lock -m 'release freeze until Monday'")
    with context.client() as client:
        result = client.ask(Lock(why=why))
    context.screen.line(
        f"{context.screen.warn('locked')}  deployments are refused until `neverblink unlock`: {why}"
    )
    return Done(_object(result))


@remote_command
@_why
def unlock(context: CommandContext, why: str) -> Done:
    """Allow deployments again."""
    with context.client() as client:
        result = client.ask(Unlock(why=why))
    context.screen.line(f"{context.screen.good('unlocked')}  deployments are allowed")
    return Done(_object(result))


@remote_command
@click.argument("name")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--args", "args_json", default="", metavar="JSON", help="The arguments as one JSON object.")
@click.option("--within", default="60s", show_default=True, help="How long to wait for the bot's answer.")
def send(context: CommandContext, name: str, pairs: tuple[str, ...], args_json: str, within: str) -> Done:
    """Run one of the bot's commands in a turn of its own, and show what it returns.

    `neverblink commands` lists the declared ones, whose arguments are validated before they run. Any other name is
    passed to the bot's on_command.

    A VALUE is parsed by the type that the command declares: as JSON (3, true, [1,2]) or, if that does not fit, as text.
    An undeclared value is parsed as JSON if possible: neverblink send size pct=2.5
    """
    if not name.strip():
        raise BadInput("a command name is missing: `neverblink commands` lists the bot's commands")
    with context.client() as client:
        declared = _declared(client)
        args = arguments(pairs, args_json, declared.get(name))
        result = client.ask(Send(name=name, args=args), within=seconds(within))
    answer = _object(result)
    value = answer.get("value")
    context.screen.line(value if isinstance(value, str) else _pretty(value))
    near = difflib.get_close_matches(name, declared, 1) if value is None and name not in declared else []
    if near:
        context.screen.line(
            context.screen.faint(f"(the bot's on_command got {name!r}: did you mean its command {near[0]}?)")
        )
    return Done(answer)


@remote_command
@click.argument("outage", type=click.IntRange(min=0), default=0, metavar="[ID]")
@_why
def acknowledge(context: CommandContext, outage: int, why: str) -> Done:
    """Acknowledge outage ID, or without ID all that are over: `status` no longer shows them.

    The history keeps them, with who acknowledged them and why.
    """
    with context.client() as client:
        result = _object(client.ask(Acknowledge(outage=outage, why=why)))
    ids = [str(outage["id"]) for outage in cast("list[dict[str, Any]]", result["acknowledged"])]
    acknowledged = f"outage {', '.join(ids)}" if ids else "there was nothing to acknowledge"
    context.screen.line(f"{context.screen.good('acknowledged')}  {acknowledged}")
    return Done(result)


@remote_command
@_why
@click.option(
    "--within", default="60s", show_default=True, help="How long to wait for the bot's last boundary."
)
@click.option(
    "--leave-workers",
    is_flag=True,
    help="End only the supervisor: the bot keeps running, and `up` adopts it.",
)
def down(context: CommandContext, why: str, within: str, leave_workers: bool) -> Done:
    """Stop the bot for good at its next boundary (its on_stop runs), then the supervisor.

    A decision that is open is finished first. Ctrl-C in the terminal of `up` does the same. When this returns, you can
    run `up` again.
    """
    begun, requested_at = time.monotonic(), time.time_ns()

    def meanwhile(status: dict[str, Any]) -> None:
        context.screen.line(context.screen.faint(_still(status, time.monotonic() - begun)))

    with context.client() as client:
        try:
            result = _object(
                client.ask(Down(why=why, leave_workers=leave_workers), seconds(within), meanwhile)
            )
        except Unfinished as late:
            if late.pid:
                late.message += f". `kill -INT {late.pid}` ends the bot immediately"
            raise
        except Unreachable:
            # libzmq drops an unread answer when the connection ends, and the supervisor ends at once.
            noted = _noted_down(context, requested_at, leave_workers=leave_workers)
            if noted is None:
                raise
            result = noted
        gone = client.wait_gone(_LEAVES_WITHIN)
    if leave_workers:
        left = ", ".join(result.get("left", ())) or "no worker"
        context.screen.line(
            f"{context.screen.warn('left')}  the supervisor ends, {left} keeps running; `neverblink up` adopts it"
        )
    else:
        context.screen.line(f"{context.screen.good('down')}  the bot has stopped")
    if not gone:
        context.screen.line(
            f"its supervisor has not ended within {_LEAVES_WITHIN:g}s; `up` is refused until it has: see supervisor.log"
        )
    return Done(result)


def _noted_down(context: CommandContext, since: int, *, leave_workers: bool) -> dict[str, Any] | None:
    """The result of a `down` requested at `since` (wall ns), from the history of the home; None if there is none.

    Raises `CommandFault` when it failed.
    """
    if context.server:
        return None
    try:
        with open_history(context.home) as history:
            noted = next((row for row in history.commands(1) if row.op == "down" and row.at >= since), None)
    except NeverblinkError:
        return None
    if noted is None:
        return None
    if not noted.ok:
        raise CommandFault(Fault(cast("Code", noted.outcome), noted.detail))
    if not leave_workers:
        return {"stopped": True}
    return {"stopped": False, "left": [worker.worker for worker in alive_in(context.home)]}


def arguments(
    pairs: tuple[str, ...], args_json: str, wants: Schema | None = None, option: str = "--args"
) -> dict[str, Any]:
    """Parse arguments given as KEY=VALUE, or as JSON with `option`. Raises `BadInput`.

    `wants` is the JSON Schema of the arguments, if known.
    """
    args: dict[str, Any] = {}
    if args_json:
        try:
            args = msgspec.json.decode(args_json, type=dict[str, Any])
        except UNDECODABLE as problem:
            raise BadInput(
                f"{option} is not a JSON object: {reason(problem)}; expected one such as '{{\"pct\": 2.5}}'"
            ) from None
        refuse_equal_keys(args_json, option)
    given = read(pairs, wants)
    twice = next((key for key in given if key in args), None)
    if twice is not None:
        raise BadInput(f"{twice} is given twice, in {option} and as {twice}=…: give it once")
    return args | given


def _declared(client: Client) -> dict[str, Schema]:
    """The schemas of the bot's declared commands by name, if they are known."""
    try:
        answer = _object(client.ask(Commands()))
    except CommandFault:
        # The command can still be sent: to the next leader, or to a worker that cannot describe its commands.
        return {}
    return {
        offered.name: offered.args for offered in convert(answer.get("commands", ()), tuple[Offered, ...])
    }


def seconds(text: str) -> float:
    """Parse a duration. Raises `DurationError`."""
    return max(duration.parse(text), 0) / 1e9


def _still(status: dict[str, Any], waited: float) -> str:
    """What a `down` is waiting for, from the status of the bot."""
    decisions = [str(decision.get("name")) for decision in status.get("decisions", ())]
    retired = any(worker.get("role") == "retired" for worker in status.get("workers", ()))
    if retired:
        what = "the bot's on_stop is still running"
    elif decisions:
        what = f"decision {', '.join(decisions)} is still open and is finished first"
    else:
        what = "the bot has not reached a boundary yet"
    return f"waiting for {waited:.0f}s: {what}"


def _object(result: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", result) if isinstance(result, dict) else {"result": result}


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()
