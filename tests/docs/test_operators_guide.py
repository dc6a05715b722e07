"""The operator's guide and reference say what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

from neverblink.protocol import commands, duration, events, size
from neverblink.protocol.feed_assignment import BUFFER
from neverblink.protocol.feed_named import STALE_AFTER
from neverblink.supervisor.cli.command_group import COMMANDS
from neverblink.supervisor.cli.exit_codes import MEANING, Exit, exit_of_fault
from neverblink.supervisor.config.config import (
    Config,
    DeploySettings,
    FileLayer,
    HandoffSettings,
    JournalSettings,
    KeepSettings,
    LogSettings,
    RestartSettings,
)
from neverblink.supervisor.config.feed_settings import FeedSettings
from neverblink.supervisor.config.hang_limits import HangLimits
from neverblink.supervisor.config.notify_settings import KINDS, NotifyPace

ROOT = Path(__file__).resolve().parents[2]


def read(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table on a page whose first column has this heading."""
    table = read(page).split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def words(cell: str) -> list[str]:
    return re.findall(r"`([a-z-]+)", cell)


def test_a_checkout_installs_everything_that_the_guide_describes() -> None:
    """What `bin/neverblink` installs beside the command itself: every extra but those for working on neverblink."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert re.search(r"^environment live ", (ROOT / "bin" / "neverblink").read_text(), re.MULTILINE)
    pinned = re.search(r"^pin live (.*)", (ROOT / "bin" / "lock").read_text(), re.MULTILINE)
    assert pinned is not None
    live = set(re.findall(r"--extra (\w+)", pinned[1]))
    # Each of the others comes with the supervisor's.
    assert live == set(extras) - {"test", "bench", "frames", "fuzz", "browser", "dev"} - {"supervisor"}
    assert all("neverblink[supervisor]" in extras[one] for one in live)
    for extra in re.findall(
        r"neverblink\[([\w,]+)\]", (ROOT / "README.md").read_text() + read("notifications.md")
    ):
        assert set(extra.split(",")) <= live


def test_every_exit_code_is_documented() -> None:
    assert {Exit(int(row[0])): row[1] for row in rows("commands.md", "code")} == MEANING
    assert set(MEANING) == set(Exit)


def test_every_fault_is_documented_with_its_exit_code() -> None:
    found = {row[0].strip("`"): int(row[1].strip("`")) for row in rows("socket.md", "fault")}
    assert found == {code: exit_of_fault(code) for code in get_args(commands.Code)}


def test_every_command_is_documented() -> None:
    assert {word for row in rows("commands.md", "command") for word in words(row[0])} == set(COMMANDS)


def test_every_key_of_the_configuration_is_documented_with_its_default() -> None:
    found = {row[0].strip("`"): row[1].strip("`") for row in rows("configuration.md", "key")}
    keys = set(Config.__struct_fields__) - {
        "path",
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
        "sockets",
        "web",
        "feeds",
    }
    keys |= {"sockets.NAME", *(f"sockets.NAME.{key}" for key in ("address", "accept", "backlog", "mode"))}
    keys |= {f"feeds.NAME.{key}" for key in FeedSettings.__struct_fields__ if key != "name"}
    keys |= {"listen.tcp", "web.listen", "web.cert", "web.key", "web.plain", "web.names"}
    keys |= {f"log.{key}" for key in LogSettings.__struct_fields__}
    keys |= {f"notify.{key}" for key in ("events", "burst", "per", "retry_for")}
    keys |= {f"notify.targets.NAME.{key}" for key in ("url", "url_file", "events")}
    keys |= {f"handoff.{key}" for key in HandoffSettings.__struct_fields__}
    keys |= {f"deploy.{key}" for key in DeploySettings.__struct_fields__}
    keys |= {f"journal.{key}" for key in JournalSettings.__struct_fields__}
    keys |= {f"watchdog.{key}" for key in HangLimits.__struct_fields__}
    keys |= {f"restart.{key}" for key in RestartSettings.__struct_fields__}
    keys |= {f"files.{key}" for key in FileLayer.__struct_fields__}
    keys |= {f"keep.{key}" for key in KeepSettings.__struct_fields__}
    assert set(found) == keys
    for key in HandoffSettings.__struct_fields__:
        assert duration.parse(found[f"handoff.{key}"].strip('"')) == getattr(HandoffSettings(), key)
    for key in ("check_within", "build_within"):
        assert duration.parse(found[f"deploy.{key}"].strip('"')) == getattr(DeploySettings(), key)
    assert size.parse(found["journal.segment"].strip('"')) == JournalSettings().segment
    assert size.parse(found["journal.keep"].strip('"')) == JournalSettings().keep
    assert duration.parse(found["journal.keep_for"].strip('"')) == JournalSettings().keep_for
    for key in HangLimits.__struct_fields__:
        assert duration.parse(found[f"watchdog.{key}"].strip('"')) == getattr(HangLimits(), key)
    assert duration.parse(found["restart.pause_at_most"].strip('"')) == RestartSettings().pause_at_most
    for key in ("pace", "poll"):
        assert duration.parse(found[f"files.{key}"].strip('"')) == getattr(FileLayer(), key)
    for key in ("per", "retry_for"):
        assert duration.parse(found[f"notify.{key}"].strip('"')) == getattr(NotifyPace(), key)
    assert duration.parse(found["feeds.NAME.stale_after"].strip('"')) == STALE_AFTER
    assert size.parse(found["feeds.NAME.buffer"].strip('"')) == BUFFER
    assert int(found["notify.burst"]) == NotifyPace().burst
    assert int(found["keep.releases"]) == KeepSettings().releases
    assert size.parse(found["log.size"].strip('"')) == LogSettings().size
    assert int(found["log.keep"]) == LogSettings().keep


def test_every_kind_of_notification_is_documented() -> None:
    assert {row[0].strip("`"): row[1] for row in rows("notifications.md", "kind")} == {**KINDS}


def test_every_request_is_documented() -> None:
    documented = {word for row in rows("socket.md", "op") for word in words(row[0])}
    assert documented == {str(kind.__struct_config__.tag) for kind in get_args(commands.Command)}
    keys = {word for row in rows("socket.md", "op") for word in re.findall(r"`([a-z_]+)`", row[1])} - {"why"}
    common = set(commands.Request.__struct_fields__)
    assert keys == {key for kind in get_args(commands.Command) for key in kind.__struct_fields__} - common


def test_every_event_is_documented() -> None:
    documented = {word for row in rows("socket.md", "type") for word in words(row[0])}
    assert documented == {str(kind.__struct_config__.tag) for kind in get_args(events.Event)}
