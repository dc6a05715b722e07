"""What a command works on: the project, its home, and the home's supervisor.

The home is `--home`, else NEVERBLINK_HOME, else found as git finds a repository: from the working directory upwards,
the first directory with a .neverblink or with a configuration, beside which it will be made. Everything is looked up on
demand: `status --home X` needs no project, and `init` has none yet.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..api.client import Client
from ..config.config import FILE_NAME, Config, NoConfig, load
from ..sockets.supervisor_connection import OnServer
from ..store.state_dir import DIRECTORY, VARIABLE, Home, HomeError, home_path
from ..system.account import expanded
from ..system.permissions import no_access
from ..system.text import clean, is_encodable
from ..terminal.screen import Screen
from .exit_codes import BadInput

__all__ = ["CommandContext", "NoProject"]


class NoProject(NoConfig):
    """No configuration was found: in `path` and above it, or with `named` in `path` itself, given by --project."""

    def __init__(self, path: Path, *, named: bool = False) -> None:
        super().__init__(path)
        if not named:
            self.message = (
                f"no {FILE_NAME} in {path} or above it: go to the bot's directory, name it with --project, "
                "or create one with `neverblink init`"
            )
        elif path.is_dir():
            self.message = f"--project {path}: it has no {FILE_NAME}: name a bot's directory"
        else:
            self.message = f"--project {path}: there is no such directory"


class CommandContext:
    """The project, home and screen of one run."""

    def __init__(
        self,
        *,
        as_json: bool,
        home_option: Path | None,
        project_option: Path | None,
        environment: Mapping[str, str],
        cwd: Path,
        screen: Screen,
        server: str = "",
        key: Path | None = None,
    ) -> None:
        self.as_json = as_json
        self.environment = environment
        self.cwd = cwd
        self.screen = screen
        self.server = server
        """The address of a remote supervisor, "" for the one of the home."""
        self._key = key
        self._home_option = home_option
        self._project_option = project_option
        self._also: tuple[Path, ...] = ()

    def look_near(self, directory: Path) -> None:
        """Also search from `directory` upwards: deployed code may lie beside the home, wherever this command runs."""
        self._also = (directory,)

    @functools.cached_property
    def project(self) -> Path:
        """The project directory. Raises `NoProject`."""
        if self._project_option is not None:
            return _named(self.path(self._project_option))
        for directory in self._upwards():
            if _is_project(directory):
                return _named(directory)
        raise NoProject(self.cwd)

    @functools.cached_property
    def config(self) -> Config:
        """The project's configuration. Raises `ConfigError`."""
        return load(self.project)

    @functools.cached_property
    def home(self) -> Home:
        """The home, for reading its files; it need not exist. Raises `NoProject` when it cannot be located, `HomeError`
        when
        this user has no access to it.
        """
        home = Home(self._home_path)
        closed = no_access(home.path)
        if closed:
            raise HomeError(home.path, closed)
        return home

    @functools.cached_property
    def _home_path(self) -> Path:
        if self._home_option is not None:
            return _named(self.path(self._home_option))
        if self.environment.get(VARIABLE):
            return _named(home_path(self.cwd, self.environment))
        for directory in self._upwards():
            if (directory / DIRECTORY).is_dir() or _is_project(directory):
                return _named(directory / DIRECTORY)
        if self._project_option is not None:
            raise NoProject(self.path(self._project_option), named=True)
        raise NoProject(self.cwd)

    def home_of(self, project: Path) -> Home:
        """The home that the bot in `project` has or will have, regardless of the working directory."""
        if self._home_option is not None:
            return Home(_named(self.path(self._home_option)))
        return Home(_named(home_path(project, self.environment)))

    def client(self) -> Client:
        """A client of the home's supervisor, or of the remote one; close it, or use it with `with`."""
        if not self.server:
            # Without the check of `home`: the client reports a closed home itself.
            return Client(Home(self._home_path))
        if self._key is None:
            raise BadInput(
                f"--server {self.server} needs a key: name its file with --key, or in NEVERBLINK_KEY"
            )
        return Client(OnServer(self.server, self.path(self._key)))

    def path(self, path: Path) -> Path:
        """`path` relative to the working directory, with ~ expanded."""
        return (self.cwd / expanded(path)).resolve()

    def _upwards(self) -> Iterator[Path]:
        if self._project_option is not None:
            yield self.path(self._project_option)
            return
        for start in (self.cwd, *self._also):
            yield from (start, *start.parents)


def _named(path: Path) -> Path:
    """`path`, which will be sent to other processes in JSON. Raises `BadInput` when it is not UTF-8."""
    if not is_encodable(str(path)):
        raise BadInput(f"{clean(str(path))}: the path is not UTF-8: rename the directory")
    return path


def _is_project(directory: Path) -> bool:
    if (directory / FILE_NAME).is_file():
        return True
    try:
        return b"[tool.neverblink" in (directory / "pyproject.toml").read_bytes()
    except OSError:
        return False
