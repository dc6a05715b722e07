"""systemd: the unit that runs the supervisor."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from ...protocol import duration
from ...protocol.duration import SECOND
from ..config.config import Config
from ..system.account import account_name
from ..system.text import visible
from ..terminal.screen import put
from .command import Done, local_command
from .context import CommandContext

__all__ = ["Unit", "systemd", "unit_of"]

_SPARE = 60 * SECOND


class Unit(msgspec.Struct, frozen=True):
    """`text` is the file, `path` where it belongs; `commands` install it."""

    name: str
    path: str
    text: str
    commands: list[str]


def unit_of(
    config: Config, home: Path, command: Sequence[str], *, account: str, user: bool, search: str = ""
) -> Unit:
    """The unit of the bot of `config` in `home`, for the system's manager or (`user`) for the manager of `account`.

    `command` is how neverblink is called, by its full path; `search` the PATH that it is called with.
    """
    name = f"neverblink-{config.name}.service"
    ctl = "systemctl --user" if user else "sudo systemctl"
    path = f"~/.config/systemd/user/{name}" if user else f"/etc/systemd/system/{name}"
    commands = [
        *([] if home.is_dir() else [f"mkdir -m 700 -p {home}"]),
        f"neverblink systemd --user > {path}"
        if user
        else f"neverblink systemd | sudo tee {path} > /dev/null",
        f"{ctl} daemon-reload && {ctl} enable --now {name.removesuffix('.service')}",
        *([f"loginctl enable-linger {account}     # or all of it ends when you log out"] if user else []),
    ]
    words = _Words(config, home, command)
    sections = [
        *_head(name, commands),
        "[Unit]",
        f"Description=neverblink: the bot {config.name}",
        *([] if user else ["Wants=network-online.target", "After=network-online.target"]),
        "# However often it has to be started again: the bot still runs, and needs a supervisor.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *([] if user else [f"User={account}"]),
        f"WorkingDirectory={_path(config.directory)}",
        *([f"Environment={_word(f'PATH={search}')}"] if search else []),
        *_service(words, config, "systemctl --user" if user else "systemctl"),
        "",
        *(_USER_SANDBOX if user else _system_sandbox(config.directory, home)),
        "",
        "[Install]",
        f"WantedBy={'default' if user else 'multi-user'}.target",
    ]
    return Unit(name, path, "\n".join(sections) + "\n", commands)


class _Words:
    """The commands of the unit, quoted as systemd reads them."""

    def __init__(self, config: Config, home: Path, command: Sequence[str]) -> None:
        self._program = " ".join(map(_word, command))
        self._home = _word(str(home))
        self._project = _word(str(config.directory))

    def call(self, verb: str, *more: str) -> str:
        return " ".join([self._program, verb, "--home", self._home, *more])

    def up(self) -> str:
        return self.call("up", "--project", self._project)

    def deploy(self) -> str:
        return self.call("deploy", "-m", _word("systemctl reload"), self._project)


def _head(name: str, commands: list[str]) -> list[str]:
    unit = name.removesuffix(".service")
    return [
        f"# {name}, as `neverblink systemd` prints it. To install it:",
        "#",
        *(f"#   {command}" for command in commands),
        "#",
        f"# systemctl restart {unit}",
        "#     a new supervisor: the bot ticks on and does not notice",
        f"# systemctl reload {unit}",
        "#     hands the bot over to the code that is in the project now, as `neverblink deploy` does",
        f"# systemctl stop {unit}",
        "#     stops the supervisor alone: the bot ticks on without a supervisor",
        "# neverblink down",
        "#     stops the bot for good, and the supervisor; the same is done when the machine shuts down",
        "",
    ]


def _service(words: _Words, config: Config, ctl: str) -> list[str]:
    bounds = config.handoff
    deploy = bounds.start_within + bounds.rehearse_within + bounds.boundary_within + bounds.probation
    stop = bounds.boundary_within + _SPARE
    within = _word(duration.show(bounds.boundary_within))
    shutdown = f"""'test "$$({ctl} is-system-running)" != stopping || exec "$$@"'"""
    return [
        "# Started means that the bot ticks: only the supervisor itself may report it.",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={words.up()}",
        f"ExecReload={words.deploy()}",
        "# When the machine shuts down, the bot is stopped at a boundary, and its on_stop runs.",
        f"ExecStop=-/bin/sh -c {shutdown} sh " + words.call("down", "--within", within, "-m", "shutdown"),
        "# Otherwise only the supervisor leaves. (With - in front: it may have left already.)",
        f"ExecStop=-{words.call('down', '--leave-workers')}",
        f"# As long as a whole deployment may take, by {config.path.name}: a reload is one.",
        f"TimeoutStartSec={_seconds(deploy + _SPARE)}",
        f"TimeoutStopSec={_seconds(stop)}",
        "",
        "# The workers outlive the supervisor: systemd stops the main process alone, and lets them be.",
        "# The next start finds them in the unit's control group, calls them left-over processes in",
        "# its log, and the supervisor takes them over.",
        "KillMode=process",
        "# A supervisor that does not leave when asked is killed at once: SIGTERM would stop the bot.",
        "KillSignal=SIGKILL",
        "# If the kernel kills a worker for its memory, the supervisor starts it again. Without this,",
        "# systemd would stop the unit.",
        "OOMPolicy=continue",
        "# Supervisor and workers raise the first number to the second by themselves. What a bot starts keeps",
        "# the first, because programs that use select() fail with more.",
        "LimitNOFILE=1024:524288",
        "",
        "# A supervisor that crashes or hangs is replaced, and the bot does not notice. Not so after",
        "# `neverblink down` (exit 0), with a bad configuration (2), or when another supervisor has the",
        "# home (5): trying again mends none of these.",
        "Restart=on-failure",
        "RestartSec=5s",
        "RestartPreventExitStatus=2 5",
        "# The ping comes from the supervisor's own loop.",
        "WatchdogSec=30s",
    ]


def _system_sandbox(project: Path, home: Path) -> list[str]:
    writable = [project] if home.is_relative_to(project) else [project, home]
    return [
        "# The sandbox holds for the workers too. One life of the unit and the next have to see the same",
        "# files, because the workers of the one meet the supervisor of the other: so no PrivateTmp,",
        "# whose /tmp is another one after each restart, and no PrivateUsers, PrivateIPC, RootDirectory.",
        "PrivateTmp=no",
        "# All is read-only but what is named here: the project, the home with its locks, sockets and",
        "# journal, and what programs expect. Name what the bot writes elsewhere, too.",
        "ProtectSystem=strict",
        f"ReadWritePaths={' '.join(_word(str(path)) for path in writable)} /tmp /var/tmp",
        *_ANYWHERE,
        "# What no bot has any business with. Left out on purpose: PrivateDevices, for bots that compute",
        "# on a GPU, and MemoryDenyWriteExecute, for those that compile at run time.",
        "# Should the unit end with 226/NAMESPACE, as in some containers, leave out what that host can't do.",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "CapabilityBoundingSet=",
    ]


_ANYWHERE = [
    "# Nothing here gains rights, by set-uid or otherwise.",
    "NoNewPrivileges=yes",
    "RestrictSUIDSGID=yes",
    "# Builds and checks get a user and a mount namespace, in which the home's keys are hidden.",
    "RestrictNamespaces=user mnt",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "# The home's sockets are AF_UNIX; AF_NETLINK is for looking up names.",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
]

_USER_SANDBOX = [
    "# What a user's own manager can do without namespaces, which would be new ones after a restart.",
    *_ANYWHERE,
]


def _seconds(ns: int) -> str:
    return f"{-(-ns // SECOND)}s"


def _word(text: str) -> str:
    """One word of a command line, as systemd reads it: quoted if need be, nothing in it expanded."""
    text = text.replace("%", "%%").replace("$", "$$")
    if text and not any(mark in text for mark in " \t\"'\\;"):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _path(path: Path) -> str:
    """A path where systemd takes the rest of the line for it."""
    return str(path).replace("%", "%%")


@local_command
@click.option("--user", is_flag=True, help="For your own manager (systemctl --user), not for the system's.")
def systemd(context: CommandContext, user: bool) -> Done:
    """Print a systemd unit for the bot's supervisor, and in it how to install it.

    The bot ticks on when the unit is restarted, and when its supervisor crashes. The unit runs as the user
    who prints it.
    """
    unit = unit_of(
        context.config,
        context.home.path,
        _command(),
        account=account_name(),
        user=user,
        search=context.environment.get("PATH", ""),
    )
    if not context.as_json:
        put(sys.stdout, visible(unit.text))
    return Done(msgspec.to_builtins(unit))


def _command() -> list[str]:
    """How neverblink is called, from anywhere."""
    script = Path(sys.executable).with_name("neverblink")
    return (
        [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "neverblink.supervisor.cli"]
    )
