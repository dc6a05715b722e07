"""A bot's configuration: neverblink.toml in its directory, or [tool.neverblink] in its pyproject.toml.

It travels with the code, so each release is run with its own. Nothing is guessed and nothing is ignored: an unknown key
is an error that suggests the key that was probably meant, and an invalid value is an error that names the key and the
mend. All of that is checked here, before any process is started.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal, cast, get_args

import msgspec

from ...protocol import size
from ...protocol.logline import Format
from ...protocol.text import NotText, decode_file
from ..system.account import expanded
from ..system.build_environment import is_name
from ..system.crash_backoff import AT_MOST
from ..system.text import NAME_RULE, is_valid_name
from . import notify_settings as telling
from .addresses import ListenAddress, WebSettings, trouble
from .feed_settings import FeedSettings, read_feeds
from .hang_limits import HangLimits
from .socket_settings import SocketSettings, read_sockets
from .toml_table import ConfigError, TomlTable, shown

__all__ = [
    "AUTO",
    "FILE_NAME",
    "NO_ENVIRONMENT",
    "Config",
    "ConfigError",
    "DeploySettings",
    "Durability",
    "FileLayer",
    "HandoffSettings",
    "JournalSettings",
    "KeepSettings",
    "LogSettings",
    "NoConfig",
    "RestartSettings",
    "load",
    "read_toml",
    "secret_files",
]

FILE_NAME = "neverblink.toml"

AUTO = "auto"
NO_ENVIRONMENT = "none"

Durability = Literal["process", "interval", "always"]

_DURABILITIES: tuple[Durability, ...] = ("process", "interval", "always")
_BOT = re.compile(r"(?:[^\W\d]\w*\.)*[^\W\d]\w*:[^\W\d]\w*")
_MOST_RELEASES = 10_000
_FASTEST = 20_000_000
"""The shortest pace of writing and polling files."""
_LARGEST = 64 * 1024 * 1024
_DEEPEST_KEY = 100
_LEAST_SEGMENT = 64 * 1024
_MOST_SEGMENT = 1024**3
_MOST_KEPT = 1024**5
_LEAST_LOG = 64 * 1024
_MOST_LOG = 1024**4
_MOST_LOGS = 1000


class NoConfig(ConfigError):
    """There is no configuration in the directory `path`."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            "",
            f"no {FILE_NAME} here, and no [tool.neverblink] in a pyproject.toml: run `neverblink init`",
        )


class HandoffSettings(msgspec.Struct, frozen=True):
    """The bounds of a deployment, ns."""

    start_within: int = 60_000_000_000
    """From starting the new worker until it is ready."""
    rehearse_within: int = 60_000_000_000
    """For copying, migrating and loading the live state."""
    boundary_within: int = 60_000_000_000
    """For the old worker to reach a boundary outside every protected window."""
    lease_within: int = 250_000_000
    """From the old worker's last frame until the new one leads; after that the old one takes the lease back."""
    probation: int = 20_000_000_000
    """How long the old worker follows after the handoff."""
    hang_after: int = 2_000_000_000
    """A leader in probation that is silent this long past a due tick is rolled back."""


class DeploySettings(msgspec.Struct, frozen=True):
    """The preparation of a release before a worker is started on it; ns."""

    check: str = ""
    """A command that must succeed in the release, with its environment."""
    check_within: int = 120_000_000_000
    build_within: int = 600_000_000_000
    """For building the environment."""
    build_env: tuple[str, ...] = ()
    """Further variables that a build sees; `NAME_*` means all with that prefix."""


class KeepSettings(msgspec.Struct, frozen=True):
    """What is kept of the past."""

    releases: int = 5


class JournalSettings(msgspec.Struct, frozen=True):
    """The limits of the journal. Sizes in bytes, times in ns."""

    segment: int = 16 * 1024 * 1024
    """A new segment begins after so many bytes."""
    keep: int = 1024 * 1024 * 1024
    """The limit of all segments together. The newest two always stay."""
    keep_for: int = 30 * 86_400_000_000_000
    """How long a segment is kept after its last record."""


class RestartSettings(msgspec.Struct, frozen=True):
    """How a crashing bot is restarted; ns."""

    pause_at_most: int = AT_MOST
    """The longest pause between restarts."""


class FileLayer(msgspec.Struct, frozen=True):
    """The two files of the home; times in ns."""

    status: bool = True
    """Whether status.json is written."""
    control: bool = True
    """Whether control.json is read."""
    pace: int = 1_000_000_000
    """The greatest age of status.json."""
    poll: int = 1_000_000_000
    """How often control.json is polled where inotify does not report changes."""


class LogSettings(msgspec.Struct, frozen=True):
    """How logs are written, and their limits. Sizes in bytes."""

    format: Format = "text"
    """Lines of text, or one JSON object per line."""
    size: int = 16 * 1024 * 1024
    """The size at which a log file is rotated."""
    keep: int = 4
    """How many rotated files of each log are kept."""


class Config(msgspec.Struct, frozen=True):
    """How one bot is run."""

    path: Path
    """The file it was read from."""
    name: str
    bot: str
    """MODULE:NAME."""
    python: str
    """The interpreter: an absolute path, or a name to look up on PATH."""
    environment: str = AUTO
    """Where its environment comes from: "auto", by the files it has; "none", `python` as it is; or requirements."""
    env_file: Path | None = None
    """A file with more of the bot's environment: see `workers.env_file`."""
    data: Path | None = None
    """The directory of the bot's own files; None for the one in the home."""
    durability: Durability = "process"
    standby: int = 0
    """How many spare workers follow the leader and take over when it dies: 0 or 1."""
    handoff: HandoffSettings = HandoffSettings()
    deploy: DeploySettings = DeploySettings()
    keep: KeepSettings = KeepSettings()
    journal: JournalSettings = JournalSettings()
    watchdog: HangLimits = HangLimits()
    restart: RestartSettings = RestartSettings()
    files: FileLayer = FileLayer()
    listen: ListenAddress | None = None
    """The address for operators on other machines."""
    web: WebSettings | None = None
    """Where the web page listens, None when it is off."""
    feeds: tuple[FeedSettings, ...] = ()
    """The feeds that run beside its workers."""
    sockets: tuple[SocketSettings, ...] = ()
    """The listening sockets that its workers inherit."""
    log: LogSettings = LogSettings()
    notify: telling.NotifySettings = telling.NotifySettings()
    """The targets of notifications."""
    command: tuple[str, ...] = ()
    """The program that is a worker, in place of `python -m neverblink.worker BOT`: a bot in another language."""

    @property
    def module(self) -> str:
        """`bot`, where it is Python code that a release must have; "" for a bot with a command."""
        return "" if self.command else self.bot

    @property
    def directory(self) -> Path:
        """The directory the configuration lies in."""
        return self.path.parent


def load(directory: Path, project: Path | None = None) -> Config:
    """The configuration in `directory`.

    `project` is the directory its relative words are relative to: for a release, the directory it was made of
    (default: `directory`). Raises `NoConfig` when there is none, `ConfigError` when it can't be used.
    """
    directory = directory.absolute()
    project = (project or directory).absolute()
    path, table = _read(directory)
    root = TomlTable(path, "", table)
    root.allow(
        "name",
        "bot",
        "command",
        "python",
        "environment",
        "env_file",
        "data",
        "durability",
        "standby",
        "handoff",
        "deploy",
        "journal",
        "keep",
        "listen",
        "log",
        "notify",
        "watchdog",
        "restart",
        "files",
        "feeds",
        "sockets",
        "web",
    )
    handoff = _handoff(root.table("handoff"))
    keep = root.table("keep")
    keep.allow("releases")
    return Config(
        path=path,
        name=_name(root, project),
        bot=_bot(root),
        python=_python(root, project),
        # A named interpreter is used as it is, with what is installed in it.
        # So is another program.
        environment=root.text("environment")
        or (NO_ENVIRONMENT if root.text("python") or root.texts("command") else AUTO),
        env_file=_path(root, "env_file", project),
        data=_path(root, "data", project),
        durability=_durability(root),
        standby=root.integer("standby", 0, 0, 1),
        handoff=handoff,
        deploy=_deploying(root.table("deploy")),
        keep=KeepSettings(keep.integer("releases", KeepSettings().releases, 1, _MOST_RELEASES)),
        journal=_journal(root.table("journal")),
        watchdog=_watchdog(root.table("watchdog")),
        restart=_restart(root.table("restart")),
        files=_files(root.table("files")),
        listen=_listen(root.table("listen")),
        web=_web(root.table("web"), project),
        feeds=read_feeds(root.table("feeds")),
        sockets=read_sockets(root.table("sockets"), project),
        command=_command(root),
        log=_logging(root.table("log")),
        notify=telling.read(root.table("notify"), project),
    )


def secret_files(config: Config) -> list[Path]:
    """The files with secrets that the configuration names: env_file, the web page's key, the targets' URLs."""
    named = [target.url_file for target in config.notify.targets]
    if config.web is not None:
        named.append(config.web.key)
    return [
        *([config.env_file] if config.env_file is not None else []),
        *(Path(name) for name in named if name),
    ]


def _files(table: TomlTable) -> FileLayer:
    table.allow(*FileLayer.__struct_fields__)
    usual = FileLayer()
    return FileLayer(
        status=table.flag("status", usual.status),
        control=table.flag("control", usual.control),
        pace=max(table.span("pace", usual.pace), _FASTEST),
        poll=max(table.span("poll", usual.poll), _FASTEST),
    )


def _listen(table: TomlTable) -> ListenAddress | None:
    table.allow("tcp")
    value = table.text("tcp")
    if value is None:
        return None
    listen = ListenAddress.parse(value)
    if listen is None:
        raise table.error("tcp", f'is {shown(value)}: expected ADDRESS:PORT, as in "127.0.0.1:7777"')
    return listen


def _web(table: TomlTable, project: Path) -> WebSettings | None:
    table.allow("listen", "cert", "key", "plain", "names")
    value = table.text("listen")
    if value is None:
        return None
    listen = WebSettings.parse(value)
    if listen is None:
        raise table.error("listen", f'is {shown(value)}: expected ADDRESS:PORT, as in "127.0.0.1:8780"')
    files = [table.text(key) for key in ("cert", "key")]
    cert, key = (os.path.normpath(project / expanded(Path(file))) if file else "" for file in files)
    settings = msgspec.structs.replace(
        listen, cert=cert, key=key, plain=table.flag("plain", False), names=table.texts("names")
    )
    problem = trouble(settings)
    if problem is not None:
        raise table.error(*problem)
    return settings


def _journal(table: TomlTable) -> JournalSettings:
    table.allow(*JournalSettings.__struct_fields__)
    usual = JournalSettings()
    segment = table.amount("segment", usual.segment, _LEAST_SEGMENT, _MOST_SEGMENT)
    keep = table.amount("keep", max(usual.keep, 2 * segment), 2 * segment, _MOST_KEPT)
    return JournalSettings(segment, keep, table.span("keep_for", usual.keep_for))


def _read(directory: Path) -> tuple[Path, dict[str, Any]]:
    if not directory.is_dir():
        problem = "it is a file" if directory.exists() else "there is no such directory"
        raise ConfigError(directory, "", f"{problem}: expected the bot's directory")
    own = directory / FILE_NAME
    shared = directory / "pyproject.toml"
    table = read_toml(own)
    tools: Any = (read_toml(shared) or {}).get("tool", {})
    inside: Any = cast("dict[str, Any]", tools).get("neverblink") if isinstance(tools, dict) else None
    if table is not None and inside is not None:
        raise ConfigError(own, "", "pyproject.toml has a [tool.neverblink] too: keep one of the two")
    if table is not None:
        return own, table
    if inside is None:
        raise NoConfig(directory)
    if not isinstance(inside, dict):
        raise ConfigError(shared, "tool.neverblink", f"is {shown(inside)}: expected a table")
    return shared, cast("dict[str, Any]", inside)


def read_toml(path: Path) -> dict[str, Any] | None:
    """What a TOML file says, None when there is none. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            large = os.fstat(file.fileno()).st_size > _LARGEST
            text = "" if large else decode_file(file.read())
        if large:
            raise ConfigError(path, "", f"is larger than {size.show(_LARGEST)}: is it the right file?")
        if any(_depth(line) > _DEEPEST_KEY for line in text.splitlines()):
            # A key with thousands of parts takes more memory than the machine has.
            raise RecursionError
        return tomllib.loads(text)
    except FileNotFoundError:
        return None
    except RecursionError:
        raise ConfigError(path, "", "is nested too deeply") from None
    except NotText as problem:
        raise ConfigError(path, "", str(problem)) from None
    except ValueError as problem:
        # tomllib's own errors, and numbers with more digits than Python converts.
        raise ConfigError(path, "", f"is not valid TOML: {problem}") from None
    except OSError as problem:
        raise ConfigError(path, "", f"can't be read: {problem.strerror}") from None


def _depth(line: str) -> int:
    """The number of parts of the key at the start of a line, if there is one."""
    return re.split("[\"'=#,{]", line, maxsplit=1)[0].count(".")


def _name(table: TomlTable, project: Path) -> str:
    name = table.text("name")
    if name is None:
        name = project.name
        if not is_valid_name(name):
            mend = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "bot"
            raise table.error(
                "name",
                f'the directory\'s name "{name}" is not a valid name for a bot: write name = "{mend[:64]}"',
            )
    elif not is_valid_name(name):
        raise table.error("name", f"is {shown(name)}: expected {NAME_RULE}")
    return name


def _command(table: TomlTable) -> tuple[str, ...]:
    command = table.texts("command")
    if command and table.text("python"):
        raise table.error("command", "cannot stand beside python: the command is the program that runs")
    return command


def _bot(table: TomlTable) -> str:
    bot = table.text("bot")
    if bot is None:
        raise table.error(
            "bot", 'is missing: say where the bot is, as in bot = "bot:Foresight" (MODULE:NAME)'
        )
    if not _BOT.fullmatch(bot):
        raise table.error("bot", f'is {shown(bot)}: expected MODULE:NAME, as in "bot:Foresight"')
    return bot


def _python(table: TomlTable, project: Path) -> str:
    python = table.text("python")
    if python is None:
        return sys.executable
    if "/" not in python:
        return python
    # Not resolved: an environment's interpreter is a link, and only under its own name does it know its environment.
    return os.path.normpath(project / expanded(Path(python)))


def _path(table: TomlTable, key: str, project: Path) -> Path | None:
    value = table.text(key)
    return Path(os.path.normpath(project / Path(value).expanduser())) if value else None


def _durability(table: TomlTable) -> Durability:
    value = table.text("durability") or "process"
    for known in _DURABILITIES:
        if value == known:
            return known
    raise table.error("durability", f"is {shown(value)}: expected one of {', '.join(_DURABILITIES)}")


def _logging(table: TomlTable) -> LogSettings:
    table.allow(*LogSettings.__struct_fields__)
    usual = LogSettings()
    value = table.text("format") or usual.format
    formats = get_args(Format)
    if value not in formats:
        raise table.error("format", f"is {shown(value)}: expected one of {', '.join(formats)}")
    return LogSettings(
        format=formats[formats.index(value)],
        size=table.amount("size", usual.size, _LEAST_LOG, _MOST_LOG),
        keep=table.integer("keep", usual.keep, 1, _MOST_LOGS),
    )


def _handoff(table: TomlTable) -> HandoffSettings:
    table.allow(*HandoffSettings.__struct_fields__)
    usual = HandoffSettings()
    return HandoffSettings(
        **{key: table.span(key, getattr(usual, key)) for key in HandoffSettings.__struct_fields__}
    )


def _deploying(table: TomlTable) -> DeploySettings:
    table.allow(*DeploySettings.__struct_fields__)
    usual = DeploySettings()
    check = table.text("check") or ""
    try:
        shlex.split(check)
    except ValueError as problem:
        raise table.error("check", f"is {shown(check)}: {problem}") from None
    build_env = table.texts("build_env")
    for name in build_env:
        if not is_name(name):
            raise table.error(
                "build_env",
                f'has {shown(name)}: expected names of variables, as in ["PIP_INDEX_URL", "NPM_*"]',
            )
    return DeploySettings(
        check=check,
        build_env=build_env,
        check_within=table.span("check_within", usual.check_within),
        build_within=table.span("build_within", usual.build_within),
    )


def _restart(table: TomlTable) -> RestartSettings:
    table.allow(*RestartSettings.__struct_fields__)
    return RestartSettings(table.span("pause_at_most", RestartSettings().pause_at_most))


def _watchdog(table: TomlTable) -> HangLimits:
    table.allow(*HangLimits.__struct_fields__)
    usual = HangLimits()
    return HangLimits(**{key: table.span(key, getattr(usual, key)) for key in HangLimits.__struct_fields__})
