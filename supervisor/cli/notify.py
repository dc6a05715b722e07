"""notify: where notifications go, and whether they arrive."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Literal

import click
import msgspec

from ..config.notify_settings import NotifyTarget
from ..notify.apprise_sender import SendResult
from ..notify.queue import QueuedMessage
from ..notify.secret_urls import Unresolved, scheme_of, url_of
from ..notify.sender_process import SenderProcess
from ..system.format import last
from ..terminal.screen import columns
from .command import Done, local_command
from .context import CommandContext
from .exit_codes import BadInput, Exit

__all__ = ["notify"]


class _Tried(msgspec.Struct, frozen=True):
    name: str
    scheme: str
    arrived: bool
    reason: str
    took: int


@local_command
@click.argument("action", type=click.Choice(["list", "test"]), default="list")
@click.argument("target", default="")
def notify(context: CommandContext, action: Literal["list", "test"], target: str) -> Done:
    """Show where notifications go, or send a test message.

    \b
    notify                  shows the targets, and what each is told
    notify test             sends a message to each of them, and says which arrived
    notify test TARGET      sends one to this target alone

    The targets are in [notify.targets] of the project's configuration. The test needs no supervisor; what it takes from
    the environment it takes from yours. Ends with 1 when a message did not arrive.
    """
    settings = context.config.notify
    if not settings.targets:
        raise BadInput(
            f"{context.config.path}: no notification targets: add [notify.targets.NAME] with a url or a url_file"
        )
    if action == "list":
        if target:
            raise BadInput(f"to send a message: neverblink notify test {target}")
        return _list(context, settings.targets)
    chosen = [known for known in settings.targets if target in ("", known.name)]
    if not chosen:
        names = ", ".join(known.name for known in settings.targets)
        raise BadInput(f"there is no target {target!r} in [notify.targets]: expected one of {names}")
    tried = asyncio.run(_try_all(context, chosen))
    screen = context.screen
    for line in columns(
        [
            (
                screen.good("✓") if attempt.arrived else screen.bad("✗"),
                attempt.name,
                attempt.scheme,
                f"arrived in {last(attempt.took)}" if attempt.arrived else attempt.reason,
            )
            for attempt in tried
        ]
    ):
        screen.line(line)
    result = {"targets": msgspec.to_builtins(tried)}
    return Done(result, Exit.DONE if all(attempt.arrived for attempt in tried) else Exit.BROKEN)


def _list(context: CommandContext, targets: tuple[NotifyTarget, ...]) -> Done:
    rows: list[tuple[str, str, str]] = []
    result: list[dict[str, object]] = []
    for target in targets:
        try:
            scheme, problem = scheme_of(url_of(target, context.environment)), ""
        except Unresolved as unresolved:
            scheme, problem = "", unresolved.message
        rows.append((target.name, scheme or "?", problem or ", ".join(target.events)))
        result.append({"name": target.name, "scheme": scheme, "problem": problem, "events": target.events})
    for line in columns(rows):
        context.screen.line(line)
    return Done({"targets": result})


async def _try_all(context: CommandContext, targets: list[NotifyTarget]) -> list[_Tried]:
    """Send to all of them at once: one that hangs does not delay the others."""
    where = f"{context.config.name} on {socket.gethostname()}"
    message = QueuedMessage(
        f"{where}: a test", "If you can read this, neverblink can tell you.", "info", 1, time.monotonic_ns()
    )
    return await asyncio.gather(*(_try(context, target, message) for target in targets))


async def _try(context: CommandContext, target: NotifyTarget, message: QueuedMessage) -> _Tried:
    try:
        url = url_of(target, context.environment)
    except Unresolved as problem:
        return _Tried(target.name, "", False, problem.message, 0)
    began = time.monotonic_ns()
    done = asyncio.get_running_loop().create_future()
    sender_process = SenderProcess(context.environment, done.set_result)
    sender_process.send(message, url)
    receipt: SendResult = await done
    took = time.monotonic_ns() - began
    await sender_process.close(None, "", 1.0)
    return _Tried(target.name, scheme_of(url), receipt.arrived, receipt.reason, took)
