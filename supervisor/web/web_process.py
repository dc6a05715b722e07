"""The supervisor's side of the web process. See `system.helper_process`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable

import msgspec

from ..config.addresses import WebSettings
from ..config.config import LogSettings
from ..store.state_dir import Home
from ..system.helper_process import SILENT_FOR, HelperProcess
from ..system.install_hint import install_command

__all__ = ["WebProcess", "WebProcessSettings"]

LIBRARIES = ("aiohttp", "prometheus_client")


class WebProcessSettings(msgspec.Struct, frozen=True):
    """The process's configuration, on its command line; contains no secrets."""

    home: str
    bot: str
    version: str
    settings: WebSettings
    log: LogSettings = LogSettings()


class WebProcess:
    """Keeps a web process with these settings running; `tell` logs a line. Must be closed."""

    def __init__(
        self,
        settings: WebProcessSettings,
        home: Home,
        tell: Callable[[str], None],
        command: tuple[str, ...] = (sys.executable, "-P", "-m", "neverblink.supervisor.web"),
        silent_for: float = SILENT_FOR,
    ) -> None:
        self._process: HelperProcess | None = None
        missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
        if missing:
            # A missing library of the page must not keep the bot from running.
            tell(
                f"no web page: [web] is configured, and {' and '.join(missing)} cannot be found here: "
                f"`{install_command('web')}`"
            )
            return
        self._process = HelperProcess(
            "web process",
            (*command, msgspec.json.encode(settings).decode()),
            home.path,
            home.logs / "http.err",
            tell,
            silent_for,
        )
        tell(
            f"web page on {settings.settings.url} (`neverblink token add NAME --role operator` creates a token)"
        )

    @property
    def pid(self) -> int:
        """The pid of the process, 0 when none runs."""
        return self._process.pid if self._process is not None else 0

    async def close(self) -> None:
        """End the process, and wait for its end."""
        if self._process is not None:
            await self._process.close()
