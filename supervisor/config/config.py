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
from ..system.names import NAME_RULE, is_valid_name
from . import notify_settings as telling
from . import web_settings as web
from .addresses import ListenAddress
from .hang_limits import HangLimits
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
"""No file is written, or looked at, more often than so."""
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
    """From spawning the new worker to its being ready."""
    rehearse_within: int = 60_000_000_000
    """For copying, migrating and loading the real state."""
    boundary_within: int = 60_000_000_000
    """For the old worker to come to a boundary outside every protected window."""
    lease_within: int = 250_000_000
    """From the old worker's yielding to the new one's leading, else the old one takes the lease back."""
    probation: int = 20_000_000_000
    """How long the old worker follows along after the cutover."""
    hang_after: int = 2_000_000_000
    """A leader in probation that is silent this long past a due tick is rolled back."""


class DeploySettings(msgspec.Struct, frozen=True):
    """What is done with a release before a worker is started on it; ns."""

    check: str = ""
    """A command that has to succeed in the release, with its environment."""
    check_within: int = 120_000_000_000
    build_within: int = 600_000_000_000
    """For making the environment."""
    build_env: tuple[str, ...] = ()
    """Names of variables that a build sees beside the usual ones; `NAME_*` stands for all that begin so."""


class KeepSettings(msgspec.Struct, frozen=True):
    """What is kept of the past."""

    releases: int = 5


class JournalSettings(msgspec.Struct, frozen=True):
    """How the journal is kept within bounds. Sizes in bytes, times in ns."""

    segment: int = 16 * 1024 * 1024
    """With so many bytes after its snapshot a segment is followed by a new one."""
    keep: int = 1024 * 1024 * 1024
    """What all segments together may have. The newest two stay, however large they are."""
    keep_for: int = 30 * 86_400_000_000_000
    """How long a segment is kept after its last record."""


class RestartSettings(msgspec.Struct, frozen=True):
    """How a bot is started again that does not stay up; ns."""

    pause_at_most: int = AT_MOST
    """The longest pause between two starts."""


class FileLayer(msgspec.Struct, frozen=True):
    """The two files of the home; times in ns."""

    status: bool = True
    """Whether status.json is written."""
    control: bool = True
    """Whether control.json is obeyed."""
    pace: int = 1_000_000_000
    """How old status.json gets at most."""
    poll: int = 1_000_000_000
    """How often control.json is looked at, should the kernel not tell."""


class LogSettings(msgspec.Struct, frozen=True):
    """How logs are written and kept within bounds. Sizes in bytes."""

    format: Format = "text"
    """A line of text, or a JSON object a line."""
    size: int = 16 * 1024 * 1024
    """At so many bytes a log file is rotated."""
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
    """Where the bot keeps files of its own; None: in the home."""
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
    """Where operators may ask from elsewhere."""
    web: web.WebSettings | None = None
    """Where the web page is, if there is to be one."""
    log: LogSettings = LogSettings()
    notify: telling.NotifySettings = telling.NotifySettings()
    """The targets of notifications."""

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
    said = TomlTable(path, "", table)
    said.allow(
        "name",
        "bot",
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
        "web",
    )
    handoff = _handoff(said.table("handoff"))
    keep = said.table("keep")
    keep.allow("releases")
    return Config(
        path=path,
        name=_name(said, project),
        bot=_bot(said),
        python=_python(said, project),
        # Who names an interpreter means that one, with what is installed in it.
        environment=said.text("environment") or (NO_ENVIRONMENT if said.text("python") else AUTO),
        env_file=_path(said, "env_file", project),
        data=_path(said, "data", project),
        durability=_durability(said),
        standby=said.integer("standby", 0, 0, 1),
        handoff=handoff,
        deploy=_deploying(said.table("deploy")),
        keep=KeepSettings(keep.integer("releases", KeepSettings().releases, 1, _MOST_RELEASES)),
        journal=_journal(said.table("journal")),
        watchdog=_watchdog(said.table("watchdog")),
        restart=_restart(said.table("restart")),
        files=_files(said.table("files")),
        listen=_listen(said.table("listen")),
        web=_web(said.table("web"), project),
        log=_logging(said.table("log")),
        notify=telling.read(said.table("notify"), project),
    )


def secret_files(config: Config) -> list[Path]:
    """The files with secrets that the configuration names: the bot's keys, the web page's key, where messages go."""
    named = [target.url_file for target in config.notify.targets]
    if config.web is not None:
        named.append(config.web.key)
    return [*([config.env_file] if config.env_file is not None else []), *(Path(one) for one in named if one)]


def _files(said: TomlTable) -> FileLayer:
    said.allow(*FileLayer.__struct_fields__)
    usual = FileLayer()
    return FileLayer(
        status=said.flag("status", usual.status),
        control=said.flag("control", usual.control),
        pace=max(said.span("pace", usual.pace), _FASTEST),
        poll=max(said.span("poll", usual.poll), _FASTEST),
    )


def _listen(said: TomlTable) -> ListenAddress | None:
    said.allow("tcp")
    value = said.text("tcp")
    if value is None:
        return None
    listen = ListenAddress.parse(value)
    if listen is None:
        raise said.error("tcp", f'is {shown(value)}: expected ADDRESS:PORT, as in "127.0.0.1:7777"')
    return listen


def _web(said: TomlTable, project: Path) -> web.WebSettings | None:
    said.allow("listen", "cert", "key", "plain", "names")
    value = said.text("listen")
    if value is None:
        return None
    listen = web.WebSettings.parse(value)
    if listen is None:
        raise said.error("listen", f'is {shown(value)}: expected ADDRESS:PORT, as in "127.0.0.1:8780"')
    files = [said.text(key) for key in ("cert", "key")]
    cert, key = (os.path.normpath(project / expanded(Path(file))) if file else "" for file in files)
    settings = msgspec.structs.replace(
        listen, cert=cert, key=key, plain=said.flag("plain", False), names=said.texts("names")
    )
    problem = web.trouble(settings)
    if problem is not None:
        raise said.error(*problem)
    return settings


def _journal(said: TomlTable) -> JournalSettings:
    said.allow(*JournalSettings.__struct_fields__)
    usual = JournalSettings()
    segment = said.amount("segment", usual.segment, _LEAST_SEGMENT, _MOST_SEGMENT)
    keep = said.amount("keep", max(usual.keep, 2 * segment), 2 * segment, _MOST_KEPT)
    return JournalSettings(segment, keep, said.span("keep_for", usual.keep_for))


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
            # A key of thousands of parts takes more memory than a machine has.
            raise RecursionError
        return tomllib.loads(text)
    except FileNotFoundError:
        return None
    except RecursionError:
        raise ConfigError(path, "", "is nested too deeply") from None
    except NotText as problem:
        raise ConfigError(path, "", str(problem)) from None
    except ValueError as problem:
        # tomllib's own error is one; another is a number with more digits than Python takes.
        raise ConfigError(path, "", f"is not valid TOML: {problem}") from None
    except OSError as problem:
        raise ConfigError(path, "", f"can't be read: {problem.strerror}") from None


def _depth(line: str) -> int:
    """Of how many parts the key is that a line begins with, if it begins with one."""
    return re.split("[\"'=#,{]", line, maxsplit=1)[0].count(".")


def _name(said: TomlTable, project: Path) -> str:
    name = said.text("name")
    if name is None:
        name = project.name
        if not is_valid_name(name):
            mend = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "bot"
            raise said.error(
                "name",
                f'the directory\'s name "{name}" is not a valid name for a bot: write name = "{mend[:64]}"',
            )
    elif not is_valid_name(name):
        raise said.error("name", f"is {shown(name)}: expected {NAME_RULE}")
    return name


def _bot(said: TomlTable) -> str:
    bot = said.text("bot")
    if bot is None:
        raise said.error("bot", 'is missing: say where the bot is, as in bot = "bot:Foresight" (MODULE:NAME)')
    if not _BOT.fullmatch(bot):
        raise said.error("bot", f'is {shown(bot)}: expected MODULE:NAME, as in "bot:Foresight"')
    return bot


def _python(said: TomlTable, project: Path) -> str:
    python = said.text("python")
    if python is None:
        return sys.executable
    if "/" not in python:
        return python
    # Not resolved: an environment's interpreter is a link, and only under its own name does it know its environment.
    return os.path.normpath(project / expanded(Path(python)))


def _path(said: TomlTable, key: str, project: Path) -> Path | None:
    value = said.text(key)
    return Path(os.path.normpath(project / Path(value).expanduser())) if value else None


def _durability(said: TomlTable) -> Durability:
    value = said.text("durability") or "process"
    for known in _DURABILITIES:
        if value == known:
            return known
    raise said.error("durability", f"is {shown(value)}: expected one of {', '.join(_DURABILITIES)}")


def _logging(said: TomlTable) -> LogSettings:
    said.allow(*LogSettings.__struct_fields__)
    usual = LogSettings()
    value = said.text("format") or usual.format
    formats = get_args(Format)
    if value not in formats:
        raise said.error("format", f"is {shown(value)}: expected one of {', '.join(formats)}")
    return LogSettings(
        format=formats[formats.index(value)],
        size=said.amount("size", usual.size, _LEAST_LOG, _MOST_LOG),
        keep=said.integer("keep", usual.keep, 1, _MOST_LOGS),
    )


def _handoff(said: TomlTable) -> HandoffSettings:
    said.allow(*HandoffSettings.__struct_fields__)
    usual = HandoffSettings()
    return HandoffSettings(
        **{key: said.span(key, getattr(usual, key)) for key in HandoffSettings.__struct_fields__}
    )


def _deploying(said: TomlTable) -> DeploySettings:
    said.allow(*DeploySettings.__struct_fields__)
    usual = DeploySettings()
    check = said.text("check") or ""
    try:
        shlex.split(check)
    except ValueError as problem:
        raise said.error("check", f"is {shown(check)}: {problem}") from None
    build_env = said.texts("build_env")
    for name in build_env:
        if not is_name(name):
            raise said.error(
                "build_env",
                f'has {shown(name)}: expected names of variables, as in ["PIP_INDEX_URL", "NPM_*"]',
            )
    return DeploySettings(
        check=check,
        build_env=build_env,
        check_within=said.span("check_within", usual.check_within),
        build_within=said.span("build_within", usual.build_within),
    )


def _restart(said: TomlTable) -> RestartSettings:
    said.allow(*RestartSettings.__struct_fields__)
    return RestartSettings(said.span("pause_at_most", RestartSettings().pause_at_most))


def _watchdog(said: TomlTable) -> HangLimits:
    said.allow(*HangLimits.__struct_fields__)
    usual = HangLimits()
    return HangLimits(**{key: said.span(key, getattr(usual, key)) for key in HangLimits.__struct_fields__})
