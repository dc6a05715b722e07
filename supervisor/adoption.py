"""Adoption: a supervisor that comes to a home whose workers are alive, because the one before it was killed or left.

Nothing is begun and nothing is ended by it. The workers, known by pid *and* start time from the history, and whoever
has the lease, are watched from now on; they connect to the new socket by themselves and tell all that is to be known of
them. Who leads is their word and the kernel's, and never what the supervisor before had noted. Only then is a
deployment that was under way picked up, and what is needed for nothing is asked to leave.
"""

from __future__ import annotations

from collections.abc import Callable

from ..protocol.errors import NeverblinkError
from . import arrival
from .archive import Archive
from .arrival import HomeInUse, Survivor
from .bot import Bot
from .config import Config
from .deployments import Deployments
from .home import Home
from .roster import Ended, Member

__all__ = ["adopt"]

_ANSWER_WITHIN = 2_000_000_000
"""How long is waited for the workers to say what they are; one that is in a handler that blocks cannot."""


async def adopt(
    found: list[Survivor],
    home: Home,
    config: Config,
    bot: Bot,
    deployments: Deployments,
    archive: Archive,
    say: Callable[[str], None],
) -> bool:
    """Look after the workers in `found`, of the bot that `config` is about.

    Returns whether the bot goes on with them; else none is left.

    Raises `HomeInUse` when one has the lease that is none of this bot's.
    """
    members = [_member(one) for one in found]
    for member in members:
        if not bot.crew.adopt(member):
            # Not on the roster, so nobody waits for it.
            member.ended = Ended(None, "it ended while no supervisor looked", bot.news.now())
            say(f"worker {member.worker} has just ended")
    await _recall_leader(home, bot, archive)
    await bot.waiting.until(lambda: bot.stopping or all(map(_has_answered, members)), _ANSWER_WITHIN)
    for one, member in zip(found, members, strict=True):
        if member.alive and not member.release:
            bot.crew.forget(member.worker)
            raise HomeInUse(
                home.path,
                [one],
                f"It has the lease, and does not answer as a worker of bot {bot.news.bot}: end it with "
                f"`kill {one.pid}`, or use another home",
            )
    await _know_releases(bot, deployments)
    if bot.stopping:
        return True
    await deployments.take_up(config)
    _dismiss_the_rest(bot)
    # Who follows without being part of a deployment does not come to lead; so this ends, one way or the other.
    await bot.waiting.until(lambda: bot.stopping or bot.driver or bot.leading or not bot.roster.alive())
    leading = bot.leading
    if leading is None and bot.driver is None:
        return bool(bot.stopping)
    if leading is not None:
        say(
            f"adopted the bot: worker {leading.worker} (pid {leading.pid}) leads on release {leading.release}"
        )
        if bot.driver is None:
            deployments.lead_now(leading.release)
    bot.adopted()
    return True


async def _recall_leader(home: Home, bot: Bot, archive: Archive) -> None:
    """Let the bot know who led last. What the history has already is not told again."""
    last = arrival.last_leader(home)
    if last is None:
        return
    noted = await archive.ask(lambda history: history.leaders(1))
    known = bool(noted) and (noted[0].worker, noted[0].epoch) == (last.holder, last.epoch)
    bot.recall(last.holder, last.epoch if known else last.epoch - 1)


def _member(one: Survivor) -> Member:
    member = Member(one.worker, one.release, one.log, one.since)
    member.pid, member.started = one.pid, one.started
    return member


def _has_answered(member: Member) -> bool:
    return not member.alive or (member.hello is not None and member.report is not None)


async def _know_releases(bot: Bot, deployments: Deployments) -> None:
    """Find again what each of them runs, so that it can be started again."""
    for release in {member.release for member in bot.roster.alive()}:
        try:
            bot.know(*await deployments.run_of(release))
        except NeverblinkError as problem:
            bot.news.trouble(f"release {release} runs, and could not be started again: {problem.message}")


def _dismiss_the_rest(bot: Bot) -> None:
    needed = {bot.leader}
    if bot.driver is not None:
        needed |= {bot.driver.handoff.old, bot.driver.handoff.new}
    for member in bot.roster.alive():
        if member.worker not in needed:
            bot.crew.dismiss(member.worker, "an earlier supervisor left it behind")
